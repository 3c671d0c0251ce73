"""How smoothly a page moves, and what it holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Page

BEGIN: Final = """
() => {
  window.gaps = [];
  let last = performance.now();
  const step = (now) => {
    gaps.push(now - last);
    last = now;
    window.drawing = requestAnimationFrame(step);
  };
  window.drawing = requestAnimationFrame(step);
}
"""
END: Final = "() => { cancelAnimationFrame(drawing); return gaps.sort((a, b) => a - b); }"


@asynccontextmanager
async def frame_gaps(page: Page) -> AsyncIterator[list[float]]:
    """Milliseconds between the frames that are drawn within the block, sorted, once it has ended."""
    gaps: list[float] = []
    await page.evaluate(BEGIN)
    yield gaps
    gaps.extend(await page.evaluate(END))


def most(gaps: list[float], share: float = 0.95) -> float:
    """What so many of the gaps stay within; what else the machine does is no fault of the page's."""
    return gaps[int(len(gaps) * share)]


async def heap(page: Page) -> int:
    """Bytes that the page's scripts hold, once what nobody holds is gone."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("HeapProfiler.collectGarbage")
    used = await devtools.send("Runtime.getHeapUsage")
    return int(used["usedSize"])
