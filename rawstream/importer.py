"""Refreshes in a process of their own: the server's side of it, and the child's.

Owns: when which list has its turn, one child at a time, its priority and the bound on its memory,
what is said in the log. Must not know: what a refresh does.

A guide of some hundred megabytes is minutes of parsing. In a process with the lowest priority no
stream feels that; what the child changes in the database the server sees as anybody's change.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from rawstream.config import Config
from rawstream.errors import RawstreamError, StateError
from rawstream.lineup import due_at, refresh, retry_seconds
from rawstream.records import ListSource
from rawstream.store import Store

logger = logging.getLogger(__name__)

_NICE: Final = 19
_LOOK_SECONDS: Final = 30.0  # at least so often, whatever the clock was set to meanwhile
_FAILED: Final = 3  # the child's status when it has noted the failure itself


class Outcome(NamedTuple):
    """`noted`: the child could write down what came of it."""

    ok: bool
    text: str
    noted: bool = True


# -- the server's side -----------------------------------------------------------------------------


async def import_in_child(config: Config, list_id: int) -> Outcome:
    """Refresh one list in a child; cancelled, the child is ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rawstream.importer"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    order = json.dumps({"config": config.model_dump(mode="json"), "list_id": list_id})
    try:
        out, err = await process.communicate(order.encode())
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    text = _last_line(out)
    if process.returncode in (0, _FAILED):
        return Outcome(process.returncode == 0, text)
    reason = _last_line(err) or f"status {process.returncode}"
    return Outcome(False, f"the import ended before its time ({reason})", noted=False)


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else ""


class Refresher:
    """Keeps all lists fresh, one after the other. `tell` gets a line for each that was read."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        run: Callable[[Config, int], Awaitable[Outcome]] = import_in_child,
        tell: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._run = run
        self._tell = tell
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._failed_at: dict[int, float] = {}
        self._wake = asyncio.Event()
        self.running: int | None = None  # the list that has its turn

    def wake(self) -> None:
        """Lists were changed: look again."""
        self._wake.set()

    async def watch(self) -> None:
        """For ever. What fails is logged and tried again."""
        while True:
            self._wake.clear()
            wait = _LOOK_SECONDS
            try:
                wait = min(await self.turn(), _LOOK_SECONDS)
            except StateError as error:
                logger.error("lists can't be refreshed: %s", error)
            try:
                await asyncio.wait_for(self._wake.wait(), max(wait, 0.1))
            except TimeoutError:
                pass

    async def turn(self) -> float:
        """Refresh the lists that are due now; returns seconds until the next one is. Raises
        StateError.
        """
        for source in await self._store.lineup.lists():
            due = self._due(source)
            if due is not None and due <= self._clock():
                await self._refresh(source)
        after = [
            due
            for source in await self._store.lineup.lists()
            if (due := self._due(source)) is not None
        ]
        return min(after, default=float("inf")) - self._clock()

    def _due(self, source: ListSource) -> float | None:
        now, failures = self._clock(), self._failures.get(source.id, 0)
        due = due_at(source, failures, now)
        failed_at = self._failed_at.get(source.id)
        if due is None or failed_at is None or failed_at > now:
            return due
        # on a full disk a child can't note its failure: the list would be due again at once
        return max(due, failed_at + retry_seconds(source, failures))

    async def _refresh(self, source: ListSource) -> None:
        self.running = source.id
        try:
            outcome = await self._run(self._config, source.id)
        finally:
            self.running = None
        name = source.name or f"{source.kind} {source.id}"
        self._tell(f"{name}: {outcome.text}")
        if outcome.ok:
            self._failures.pop(source.id, None)
            self._failed_at.pop(source.id, None)
            logger.info("%s: %s", name, outcome.text)
            return
        failures = self._failures[source.id] = self._failures.get(source.id, 0) + 1
        self._failed_at[source.id] = self._clock()
        if not outcome.noted:
            now = int(self._clock())
            await self._store.lineup.note_refresh(source.id, now=now, error=outcome.text)
        level = logging.WARNING if failures == 1 else logging.INFO
        logger.log(level, "%s: not refreshed: %s", name, outcome.text)


# -- the child's side ------------------------------------------------------------------------------


def main() -> int:
    """Take an order from the standard input, do it, print one line of what came of it."""
    order = json.loads(sys.stdin.read())
    config = Config(**order["config"])
    os.nice(_NICE)
    limit = config.limits.import_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        print(asyncio.run(_import(config, order["list_id"])))
    except RawstreamError as error:
        print(error)
        return _FAILED
    return 0


async def _import(config: Config, list_id: int) -> str:
    store = await Store.open(config.data, create=False)
    try:
        source = await store.lineup.list_source(list_id)
        if source is None:
            return "it is gone"
        report = await refresh(store, source, config)
        return "unchanged" if report is None else report.summary()
    finally:
        await store.close()


if __name__ == "__main__":
    sys.exit(main())
