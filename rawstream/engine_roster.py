"""Which engines there are: those of the configuration, and what operators have changed of them.

Owns: the numbers by which engines are called, that what was added, removed, drained or given
another capacity while we run is so after the next start. Must not know: HTTP, how an engine is
asked.

A number belongs to an address for ever, so that a page that was open over a restart means the same
engine. What an operator has removed stays away, though the configuration names it, until it is
added again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from rawstream.config import DEFAULT_ENGINE, Config, EngineUrl
from rawstream.engine_client import Engine
from rawstream.errors import ConfigError
from rawstream.hub import ChannelHub
from rawstream.store import Store

logger = logging.getLogger(__name__)

SETTING: Final = "engines"
ENTRIES: Final = 1000  # numbers that are remembered
_URL: Final = TypeAdapter(EngineUrl)


@dataclass(frozen=True, slots=True)
class EngineEntry:
    """One engine. `capacity` None: that of the configuration. `added`: by an operator, whatever
    the configuration says. `unnamed`: the default that nobody named, and that had never answered
    when an operator added another; it is used once the configuration names it.
    """

    number: int
    url: str
    capacity: int | None = None
    draining: bool = False
    added: bool = False
    removed: bool = False
    unnamed: bool = False


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """What an address answers when it is asked as an engine. `error`: why it does not."""

    ok: bool
    url: str
    version: str | None
    error: str | None


class EngineRoster:
    """The engines of this process."""

    def __init__(self, store: Store, hub: ChannelHub, config: Config) -> None:
        self._store = store
        self._hub = hub
        self._config = config
        self._entries: list[EngineEntry] = []
        # told of those that are `guarded`, whenever engines come or go
        self.on_change: Callable[[Sequence[str]], None] = lambda _urls: None
        self._changing = asyncio.Lock()

    # -- what there is -----------------------------------------------------------------------------

    def all(self) -> list[tuple[EngineEntry, Engine]]:
        """Each engine that is used, by number."""
        engines = {engine.url: engine for engine in self._hub.pool.engines}
        return [
            (entry, engines[entry.url])
            for entry in sorted(self._entries, key=lambda one: one.number)
            if self._is_used(entry) and entry.url in engines
        ]

    def find(self, number: int) -> tuple[EngineEntry, Engine] | None:
        return next((found for found in self.all() if found[0].number == number), None)

    def is_configured(self, entry: EngineEntry) -> bool:
        return entry.url in self._config.engines

    def _is_used(self, entry: EngineEntry) -> bool:
        if entry.removed or (entry.unnamed and not self._is_named):
            return False
        return entry.added or self.is_configured(entry)

    @property
    def _is_named(self) -> bool:
        """Whether the configuration's engines are somebody's word, not our default."""
        config = self._config
        return config.origin("engines") != "default" or config.engines != (DEFAULT_ENGINE,)

    # -- changes -----------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read what is kept, and let it be so. Raises StateError."""
        async with self._changing:
            first = not self._entries
            kept = _read(await self._store.get_setting(SETTING))
            self._entries = self._with_configured(kept)
            if self._entries != kept:
                await self._write()
            for entry in self._entries:
                if first and entry.removed and self.is_configured(entry):
                    logger.warning("engine %s was removed by an operator", entry.url)
            self._apply()

    async def add(self, url: str, capacity: int | None = None) -> EngineEntry:
        """An engine at this address, in whatever spelling. Raises ConfigError, StateError."""
        url = engine_url(url)
        async with self._changing:
            known = next((one for one in self._entries if one.url == url), None)
            if known is not None and self._is_used(known):
                raise ConfigError("url", f"'{url}' is there already")
            if known is None and len(self._entries) >= ENTRIES:
                raise ConfigError("url", "there are too many engines")
            number = known.number if known is not None else _next_number(self._entries)
            entry = EngineEntry(number, url, capacity, added=True)
            await self._put(entry)
            logger.info("engine %s added by an operator", url)
            await self._leave_the_default()
            return entry

    async def change(self, number: int, **values: Any) -> bool:
        """`capacity`, `draining`. Whether there is such an engine. Raises StateError."""
        return await self._change(number, lambda entry: dataclasses.replace(entry, **values))

    async def remove(self, number: int) -> bool:
        """Its channels go on from others, or until they end. Whether there was one. Raises
        StateError.
        """

        def removed(entry: EngineEntry) -> EngineEntry:
            logger.info("engine %s removed by an operator", entry.url)
            return EngineEntry(entry.number, entry.url, removed=True)

        return await self._change(number, removed)

    async def check(self, url: str) -> EngineCheck:
        """Ask an address as one asks an engine; nothing is changed. Raises ConfigError."""
        url = engine_url(url)
        engine = Engine(url, 1, timeouts=self._config.timeouts, limits=self._config.limits)
        version = await engine.probe()
        return EngineCheck(version is not None, url, version, engine.last_error)

    async def _change(self, number: int, change: Callable[[EngineEntry], EngineEntry]) -> bool:
        async with self._changing:
            found = self.find(number)
            if found is None:
                return False
            await self._put(change(found[0]))
            return True

    async def _put(self, entry: EngineEntry) -> None:
        """First in the store: what can't be kept is not done."""
        before = self._entries
        others = [one for one in before if one.number != entry.number]
        self._entries = [*others, entry]
        try:
            await self._write()
        except BaseException:
            self._entries = before
            raise
        self._apply()

    async def _leave_the_default(self) -> None:
        """Once an operator has said where an engine is, none is looked for where one might be."""
        for entry, engine in self.all():
            if not (self._is_named or entry.added or engine.version is not None):
                logger.info("engine %s was a guess, and never answered: left", entry.url)
                await self._put(dataclasses.replace(entry, unnamed=True))

    def _with_configured(self, kept: Sequence[EngineEntry]) -> list[EngineEntry]:
        found = list(kept)
        known = {entry.url for entry in kept}
        for url in self._config.engines:
            if url not in known:
                found.append(EngineEntry(_next_number(found), url))
        return found

    async def _write(self) -> None:
        entries = [dataclasses.asdict(entry) for entry in self._entries]
        await self._store.set_setting(SETTING, json.dumps(entries))

    # -- what is so --------------------------------------------------------------------------------

    def _apply(self) -> None:
        """The pool as it is to be; what is right already is left alone."""
        used = {entry.url: entry for entry in self._entries if self._is_used(entry)}
        for engine in list(self._hub.pool.engines):
            if engine.url not in used:
                self._hub.pool.remove(engine)
        there = {engine.url: engine for engine in self._hub.pool.engines}
        for url, entry in used.items():
            capacity = entry.capacity or self._config.engine_capacity
            engine = there.get(url) or self._hub.pool.add(url, capacity)
            engine.capacity = capacity
            if entry.draining:
                engine.drain()
            else:
                engine.undrain()
        self.on_change(self.guarded)

    @property
    def guarded(self) -> tuple[str, ...]:
        """Where nothing that a list or a viewer names may lead: what is used, and what the
        configuration names.
        """
        used = [entry.url for entry in self._entries if self._is_used(entry)]
        return tuple(dict.fromkeys((*self._config.engines, *used)))


def _next_number(entries: Sequence[EngineEntry]) -> int:
    return max((entry.number for entry in entries), default=0) + 1


def engine_url(text: str) -> str:
    """An engine's address in the one spelling that it is known by. Raises ConfigError."""
    try:
        return _URL.validate_python(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError("url", problem) from None


def _read(text: str | None) -> list[EngineEntry]:
    """What can't be read is as good as nothing: the configuration has engines as well."""
    if text is None:
        return []
    try:
        return TypeAdapter(list[EngineEntry]).validate_json(text)
    except ValidationError as error:
        logger.error("the engines that were kept can't be read: %d faults", error.error_count())
        return []
