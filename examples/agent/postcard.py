"""Writes a postcard, asks whom it is for, and puts it up as a page."""

from html import escape

from pydantic import BaseModel, Field

from gateway.agents.base import AsyncBaseAgent
from sandbox_bridge.tool import WebContainerToolInput


class Card(BaseModel):
    words: int = Field(50, ge=1, le=200, description="At most so many")


class Postcard(AsyncBaseAgent):
    input_model = Card

    def __init__(self, sandbox_tool):
        super().__init__("postcard", sandbox_tool)

    async def stream_execution(self, task):
        async with self.execution_context(task) as context:
            text = context.get("text")
            if text is None:
                yield {"phase": "write", "status": "writing", "progress": 10}
                text = " ".join(task.task.split()[: task.input["words"]])
                await self.create_checkpoint({"phase": "written", "text": text})

            name = await self.ask("Whom is it for?", key="to")
            await self._check_pause()

            yield {"phase": "post", "status": f"on its way to {name}", "progress": 60}
            page = f"<!doctype html><title>A card</title><p>Dear {escape(str(name))},<p>{escape(text)}"
            card = WebContainerToolInput(files={"index.html": page}, commands=["serve"])
            posted = await self.sandbox_tool.run_async(card)
            yield {"phase": "there", "progress": 100, "result": {"to": name, "url": posted["url"]}}
