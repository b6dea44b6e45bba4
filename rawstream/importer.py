"""Refreshes in a process of their own: the server's side of it, and the child's.

Owns: when which list has its turn, one child at a time, its priority and the bound on its memory,
what is said in the log. Must not know: what a refresh does.

A guide of some hundred megabytes is minutes of parsing. In a process with the lowest priority no
stream feels that; what the child changes in the database the server sees as anybody's change.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import math
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rawstream.config import Config
from rawstream.errors import RawstreamError, StateError
from rawstream.lineup import OnProgress, due_at, refresh, retry_seconds, try_out
from rawstream.records import ListSource
from rawstream.store import Store

logger = logging.getLogger(__name__)

_NICE: Final = 19
_LOOK_SECONDS: Final = 30.0  # at least so often, whatever the clock was set to meanwhile
_TELL_SECONDS: Final = 0.2
_LINE_BYTES: Final = 8 * 1024 * 1024  # of a child: a report with names and warnings
_PROGRESS: Final = re.compile(rb"@ (fetching|reading) ([0-9]+) ([0-9]+|-)")
_FAILED: Final = 3  # the child's status when it has noted the failure itself

_UNCHANGED: Final = "unchanged"  # what the child says of it


class Outcome(NamedTuple):
    """`noted`: the child could write down what came of it."""

    ok: bool
    text: str
    noted: bool = True


def _to_nobody(_step: str, _done_bytes: int, _all_bytes: int | None) -> None:
    """How far it is, told to nobody."""


# -- the server's side -----------------------------------------------------------------------------


class ListProgress(NamedTuple):
    """How far a list is. `step`: waiting, fetching, reading, and at the end done or failed, then
    with a line that says what came of it. `all_bytes` None: nobody knows.
    """

    list_id: int
    step: str
    done_bytes: int = 0
    all_bytes: int | None = None
    text: str = ""


async def import_in_child(
    config: Config, list_id: int, force: bool = False, progress: OnProgress = _to_nobody
) -> Outcome:
    """Refresh one list in a child; cancelled, the child is ended."""
    return await _in_child(config, {"list_id": list_id, "force": force}, progress)


async def try_in_child(config: Config, source: ListSource, place: str = "") -> Outcome:
    """What an import would do, as the JSON of its report; see `lineup.try_out`."""
    wanted = {"source": dataclasses.asdict(source), "place": place}
    return await _in_child(config, wanted, _to_nobody)


async def _in_child(config: Config, wanted: Mapping[str, Any], progress: OnProgress) -> Outcome:
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rawstream.importer"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES,
        )
    except OSError as error:  # no memory for one, no descriptors
        reason = (error.strerror or "refused").lower()
        return Outcome(False, f"no process can be started for it: {reason}", noted=False)
    assert process.stdin and process.stdout and process.stderr, "pipes"
    order = json.dumps({"config": config.model_dump(mode="json"), **wanted})
    try:
        _, text, err = await asyncio.gather(
            _send(process.stdin, order.encode()),
            _hear(process.stdout, progress),
            process.stderr.read(),
        )
        await process.wait()
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode in (0, _FAILED):
        return Outcome(process.returncode == 0, text)
    reason = _last_line(err) or f"status {process.returncode}"
    return Outcome(False, f"the import ended before its time ({reason})", noted=False)


async def _send(pipe: asyncio.StreamWriter, order: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end says why
        pipe.write(order)
        await pipe.drain()
    pipe.close()


async def _hear(pipe: asyncio.StreamReader, progress: OnProgress) -> str:
    """The child's last line; what it says before is how far it is."""
    last = b""
    async for line in pipe:
        told = _PROGRESS.fullmatch(line.rstrip())
        if told is not None:
            size = None if told[3] == b"-" else int(told[3])
            progress(told[1].decode(), int(told[2]), size)
        elif line.strip():
            last = line
    return last.decode("utf-8", "replace").strip()


def _result(outcome: Outcome) -> str:
    """In the words of the metrics."""
    if not outcome.ok:
        return "failed"
    return "unchanged" if outcome.text == _UNCHANGED else "read"


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
        run: Callable[[Config, int, bool, OnProgress], Awaitable[Outcome]] = import_in_child,
        tell: Callable[[str], None] = lambda _line: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._run = run
        self._tell = tell
        self._clock = clock
        self._failures: dict[int, int] = {}
        self._failed: dict[int, tuple[float, str]] = {}  # the last failure: when, and why
        self._asked: dict[int, bool] = {}  # by an operator; whether he insists
        self._wake = asyncio.Event()
        self._trying = asyncio.Lock()
        self.running: int | None = None  # the list that has its turn
        self._at: ListProgress | None = None  # how far that is
        self.on_progress: Callable[[ListProgress], None] = lambda _progress: None
        self.results: Counter[tuple[str, str]] = Counter()  # by kind of list, and how it ended

    @property
    def failing(self) -> int:
        """How many lists could not be refreshed the last time."""
        return len(self._failures)

    def ask(self, list_id: int, *, force: bool = False) -> None:
        """Read a list as soon as no other has its turn. `force`: also if it has not changed."""
        self._asked[list_id] = force or self._asked.get(list_id, False)
        self.on_progress(ListProgress(list_id, "waiting"))
        self._wake.set()

    def progress_of(self, list_id: int) -> ListProgress | None:
        """How far a list is that is being read or waits for it; None for any other."""
        if self._at is not None and self._at.list_id == list_id:
            return self._at
        return ListProgress(list_id, "waiting") if list_id in self._asked else None

    def error_of(self, source: ListSource) -> str:
        """Why it could not be refreshed the last time; '' if it could. On a full disk that is noted
        nowhere else.
        """
        failed_at, why = self._failed.get(source.id, (-math.inf, ""))
        return why if failed_at >= (source.refreshed_at or 0) else source.last_error

    async def try_out(self, source: ListSource, place: str = "") -> Outcome:
        """See `try_in_child`; one at a time."""
        async with self._trying:
            return await try_in_child(self._config, source, place)

    def engines_are(self, urls: Sequence[str]) -> None:
        """Where no list may lead."""
        self._config = self._config.model_copy(update={"engines": tuple(urls)})

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
            except Exception:  # a bug of ours is not to end all refreshing
                logger.exception("a turn of the lists failed")
            try:
                await asyncio.wait_for(self._wake.wait(), max(wait, 0.1))
            except TimeoutError:
                pass

    async def turn(self) -> float:
        """Refresh the lists that are due now or asked for; returns seconds until the next one is.
        Raises StateError.
        """
        had: set[int] = set()
        while (source := await self._next(had)) is not None:
            had.add(source.id)
            await self._refresh(source)
        remaining = await self._store.lineup.lists()
        for gone in self._failures.keys() - {source.id for source in remaining}:
            del self._failures[gone]
        after = [due for source in remaining if (due := self._due(source)) is not None]
        return min(after, default=float("inf")) - self._clock()

    async def _next(self, had: Collection[int]) -> ListSource | None:
        """What somebody waits for comes first."""
        lists = await self._store.lineup.lists()
        self._asked = {one.id: self._asked[one.id] for one in lists if one.id in self._asked}
        now = self._clock()
        for source in lists:
            if source.id in self._asked:
                return source
        for source in lists:
            due = self._due(source)
            if source.id not in had and due is not None and due <= now:
                return source
        return None

    def _due(self, source: ListSource) -> float | None:
        now, failures = self._clock(), self._failures.get(source.id, 0)
        due = due_at(source, failures, now)
        failed_at, _why = self._failed.get(source.id, (math.inf, ""))
        if due is None or failed_at > now:
            return due
        # on a full disk a child can't note its failure: the list would be due again at once
        return max(due, failed_at + retry_seconds(source, failures))

    async def _refresh(self, source: ListSource) -> None:
        self.running = source.id
        force = self._asked.pop(source.id, False)
        self._tell_progress(ListProgress(source.id, "fetching"))
        try:
            outcome = await self._run(
                self._config,
                source.id,
                force,
                lambda step, done, size: self._tell_progress(
                    ListProgress(source.id, step, done, size)
                ),
            )
        finally:
            self.running = self._at = None
        self.results[source.kind, _result(outcome)] += 1
        name = source.name or f"{source.kind} {source.id}"
        self._tell(f"{name}: {outcome.text}")
        await self._note(source, outcome, name)
        step = "done" if outcome.ok else "failed"
        self.on_progress(ListProgress(source.id, step, text=outcome.text))

    def _tell_progress(self, progress: ListProgress) -> None:
        self._at = progress
        self.on_progress(progress)

    async def _note(self, source: ListSource, outcome: Outcome, name: str) -> None:
        if outcome.ok:
            self._failures.pop(source.id, None)
            self._failed.pop(source.id, None)
            logger.info("%s: %s", name, outcome.text)
            return
        failures = self._failures[source.id] = self._failures.get(source.id, 0) + 1
        self._failed[source.id] = (self._clock(), outcome.text)
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
        print(asyncio.run(_try_out(config, order) if "source" in order else _import(config, order)))
    except RawstreamError as error:
        print(error)
        return _FAILED
    return 0


class _Teller:
    """Tells whoever started us how far we are, not too often. From any thread."""

    def __init__(self) -> None:
        self._step = ""
        self._next = 0.0

    def at(self, step: str, done_bytes: int, all_bytes: int | None) -> None:
        now = time.monotonic()
        if step == self._step and now < self._next:
            return
        self._step, self._next = step, now + _TELL_SECONDS
        print(f"@ {step} {done_bytes} {'-' if all_bytes is None else all_bytes}", flush=True)


async def _import(config: Config, order: Mapping[str, Any]) -> str:
    store = await Store.open(config.data, create=False)
    try:
        source = await store.lineup.list_source(order["list_id"])
        if source is None:
            return "it is gone"
        progress = _Teller().at
        report = await refresh(store, source, config, force=order["force"], progress=progress)
        return _UNCHANGED if report is None else report.summary()
    finally:
        await store.close()


async def _try_out(config: Config, order: Mapping[str, Any]) -> str:
    report = await try_out(ListSource(**order["source"]), config, place=order["place"])
    return report.to_json()


if __name__ == "__main__":
    sys.exit(main())
