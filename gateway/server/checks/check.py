"""`gateway check`: reads the configuration, tries every part, and says what is wrong and what mends it."""

import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import ValidationError

from gateway.server import logs
from gateway.server.checks.agents import agents
from gateway.server.checks.audit import audit
from gateway.server.checks.bus import bus
from gateway.server.checks.celery import celery
from gateway.server.checks.database import database
from gateway.server.checks.keys import keys
from gateway.server.checks.parts import (
    Finding,
    data_directory,
    environment,
    networks,
    open_files,
    passed_over,
    set_by_hand,
    who_may_come_in,
)
from gateway.server.checks.sandboxes import sandboxes
from gateway.server.configuration import mistakes, settings_of
from gateway.server.env_file import names_in_file, problem
from gateway.settings import Settings

MARKS: Final = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def run(*, as_json: bool, **flags: Any) -> int:
    """Try everything; 1 where something failed, else 0. `flags` are settings by field; None means not given."""
    logs.configure("auto", "error")
    failed = False
    for finding in _findings(flags):
        _print(finding, as_json=as_json)
        failed = failed or finding.state == "fail"
    if not as_json:
        sys.stdout.write("\nsomething is wrong\n" if failed else "\nall is well\n")
    return int(failed)


def _findings(flags: dict[str, Any]) -> Iterator[Finding]:
    if (unread := problem()) is not None:
        yield Finding("settings", "fail", unread, "write it anew, as UTF-8 that this user may read")
        return
    yield from environment({*names_in_file(), *os.environ})
    try:
        settings = settings_of(flags)
    except ValidationError as error:
        for mistake in mistakes(error):
            yield Finding("settings", "fail", mistake, "correct it; every setting is in docs/settings.md")
        return
    yield from _tried(settings)


def _tried(settings: Settings) -> Iterable[Finding]:
    yield from passed_over(settings)
    yield from set_by_hand(settings)
    yield from who_may_come_in(settings)
    yield from asyncio.run(keys(settings))
    yield from audit(settings)
    yield from data_directory(settings)
    yield from asyncio.run(database(settings))
    yield from networks(settings)
    yield from open_files(settings)
    yield asyncio.run(bus(settings))
    yield from agents(settings)
    yield from celery(settings)
    yield from asyncio.run(sandboxes(settings))


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(dataclasses.asdict(finding), ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(f"{MARKS[finding.state]} {finding.part}: {finding.message}\n")
        if finding.fix is not None:
            sys.stdout.write(f"     -> {finding.fix}\n")
    sys.stdout.flush()
