"""The architecture: who may import whom."""

import os
import subprocess
import sys

import grimp
import pytest
from importlinter.cli import lint_imports

from tests.house.exceptions import check
from tests.house.source import PRODUCT, ROOT, modules

# Each engine and the only modules (with what is below them) that may import it. What isn't named here
# can't be imported at all: a new dependency is first given its place.
EVERYWHERE = PRODUCT
ENGINES: dict[str, tuple[str, ...]] = {
    "aiohttp": ("gateway.sessions", "gateway.server"),
    "celery": ("gateway.server.celery_broker",),
    "dotenv": ("gateway.server.env_file",),
    "asyncpg": ("gateway.state.postgresql",),
    "jsonschema_rs": ("gateway.agents.schemas",),
    "jwt": ("gateway.sessions.auth", "gateway.sessions.keys", "gateway.sessions.pairing", "gateway.server"),
    # aiohttp's headers, as yarl is its addresses
    "multidict": ("gateway.server", "gateway.sessions.endpoint", "gateway.sessions.upgrade"),
    "orjson": EVERYWHERE,
    "prometheus_client": ("gateway.metrics", "gateway.server"),
    "pydantic": EVERYWHERE,
    "pydantic_core": EVERYWHERE,
    "pydantic_settings": ("gateway.settings", "sandbox_bridge.settings"),
    "redis": ("gateway.bus.redis",),
    "sqlite3": ("gateway.state.sqlite",),
    "structlog": EVERYWHERE,
    "surrealdb": ("gateway.state.surrealdb",),
    "typer": ("gateway.server", "gateway.__main__", "sandbox_bridge.__main__"),
    "uvloop": ("gateway.server", "sandbox_bridge.__main__"),
    "yarl": ("gateway.server.previews.forward",),
    "websockets": (
        "sandbox_bridge.connection",
        "sandbox_bridge.local",
        "gateway.client",
        "gateway.sessions.reading",  # its mask, which is in C
    ),
}

# What of the bridge the gateway as a whole may know; the rest is for those who hold sandboxes.
BRIDGE_WORDS = (
    "sandbox_bridge",
    "sandbox_bridge.protocol",
    "sandbox_bridge.errors",
    "sandbox_bridge.settings",
)
BRIDGE_HOLDERS = ("gateway.agents", "gateway.server.app", "gateway.server.sandboxes")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of the product, of third parties and the standard library, too."""
    return grimp.build_graph(*PRODUCT, include_external_packages=True, cache_dir=None)


def test_layers_hold(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The contracts of .importlinter hold."""
    monkeypatch.chdir(ROOT)
    status = lint_imports(no_cache=True)
    assert status == 0, capsys.readouterr().out


def test_modules_import_in_no_circle(graph: grimp.ImportGraph) -> None:
    """No module reaches itself through its imports."""
    circles = {
        name: graph.find_upstream_modules(name) & graph.find_downstream_modules(name) for name in _own(graph)
    }
    found = {name: f"reaches itself through {sorted(circle)}" for name, circle in circles.items() if circle}
    check("import cycle", found)


def test_engines_have_their_place(graph: grimp.ImportGraph) -> None:
    """A third party's package is imported only by the modules that stand for it."""
    found = {
        f"{importer} -> {engine}": "is not its place (see ENGINES)"
        for importer in _own(graph)
        for engine in graph.find_modules_directly_imported_by(importer)
        if _is_engine(engine) and not _is_below(importer, ENGINES.get(engine, ()))
    }
    check("engine", found)


def test_bridge_is_met_by_its_holders_alone(graph: grimp.ImportGraph) -> None:
    """Of the gateway, only the agents and the wiring touch the bridge; the rest may know its words."""
    found = {
        f"{importer} -> {imported}": "knows the bridge"
        for importer in _own(graph)
        for imported in graph.find_modules_directly_imported_by(importer)
        if importer.startswith("gateway")
        and imported.startswith("sandbox_bridge")
        and imported not in BRIDGE_WORDS
        and not _is_below(importer, BRIDGE_HOLDERS)
    }
    check("bridge", found)


def test_nouns_are_synchronous(graph: grimp.ImportGraph) -> None:
    """What is spoken of (the modules right below gateway) knows no event loop."""
    found = {
        name: "imports asyncio"
        for name in _own(graph)
        if name.startswith("gateway.")
        and name.count(".") == 1
        and not graph.find_children(name)
        and "asyncio" in graph.find_modules_directly_imported_by(name)
    }
    check("noun", found)


COMMANDS = ("explain", "failures", "orders", "pair", "tasks", "workflows")


def test_client_is_used_by_the_command_line_alone(graph: grimp.ImportGraph) -> None:
    """The Python client is a product of its own: of the gateway, only the command line stands on it."""
    users = {
        f"{importer} -> {imported}": "uses the client"
        for importer in _own(graph)
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.startswith("gateway.client")
        and not _is_below(importer, ("gateway.client", *(f"gateway.server.cli.{part}" for part in COMMANDS)))
    }
    check("client", users)


def test_modules_import_without_a_warning() -> None:
    """Each module can be imported, and warns of nothing; since there are no circles, in any order."""
    names = [module.name for module in modules(*PRODUCT)]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(f"import {name}" for name in names)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("program", "allowed"),
    [
        ("from gateway.server.cli.app import app; app(['--help'], standalone_mode=False)", {"typer"}),
        ("import gateway.server.serve", set(ENGINES) - {"asyncpg", "celery", "redis", "surrealdb"}),
    ],
    ids=["help", "serve"],
)
def test_start_loads_what_it_needs(program: str, allowed: set[str]) -> None:
    """Help loads no engine but the command line's, a gateway none that its settings did not choose."""
    loaded = f"import sys; {program}\nsys.stderr.write(' '.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=60, check=True
    )
    assert {name for name in run.stderr.split() if name in ENGINES} - allowed == set()


def _own(graph: grimp.ImportGraph) -> list[str]:
    return sorted(name for name in graph.modules if name.partition(".")[0] in PRODUCT)


def _is_engine(name: str) -> bool:
    top = name.partition(".")[0]
    return top not in PRODUCT and (top in ENGINES or top not in sys.stdlib_module_names)


def _is_below(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
