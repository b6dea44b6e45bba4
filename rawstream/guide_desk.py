"""All guides there are, ready to be matched against while a server runs: a channel at a time.

Owns: one index, made anew when a guide has changed, and what is asked of it. Must not know: how
names are matched, who asks. All that reckons is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rawstream.epg import GuideChannel
from rawstream.extinf import writable
from rawstream.guide_match import GuideIndex
from rawstream.store import Store

_CANDIDATES: Final = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """A channel for which a guide is looked for: what its list calls it in guides, its names."""

    guide_id: str
    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A guide that a channel might have. `name`: the first of its names, '' without one; `score`: 0
    to 100.
    """

    guide_id: str
    name: str
    score: int


class _Edition:
    """The guides of one moment."""

    def __init__(self, key: Hashable, channels: Sequence[GuideChannel]) -> None:
        self.key = key
        self.channels = channels
        self.index = GuideIndex(channels)
        self.names = {one.id: one.names[0].text if one.names else "" for one in channels}

    def candidates(self, wanted: Sequence[Wanted]) -> list[list[Candidate]]:
        return [
            [
                Candidate(key, self.names[key], score)
                for key, score in self.index.candidates(
                    writable(one.guide_id), one.names, _CANDIDATES
                )
            ]
            for one in wanted
        ]


class GuideDesk:
    """The guides of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._edition: _Edition | None = None
        self._making = asyncio.Lock()

    async def channels(self) -> Sequence[GuideChannel]:
        """Those that have programmes, the preferred list's first. Raises StateError."""
        return (await self._current()).channels

    async def names(self) -> Mapping[str, str]:
        """By id the first of its names, '' without one. Raises StateError."""
        return (await self._current()).names

    async def candidates(self, wanted: Sequence[Wanted]) -> list[list[Candidate]]:
        """For each the guides that it might have, the likeliest first. Raises StateError."""
        edition = await self._current()
        return await asyncio.to_thread(edition.candidates, wanted)

    async def rematch(self, channel_id: int) -> None:
        """Match one channel anew, after its names have changed. Raises StateError."""
        channel = await self._store.lineup.channel(channel_id)
        match = None
        if channel is not None and channel.kind == "live" and channel.retired_at is None:
            edition = await self._current()
            names = [channel.guide_name, channel.name]
            match = await asyncio.to_thread(edition.index.match, writable(channel.guide_id), names)
        await self._store.guide.set_match(channel_id, match)

    async def _current(self) -> _Edition:
        async with self._making:
            key = await self._store.guide.edition()
            if self._edition is None or self._edition.key != key:
                channels = await self._store.guide.channels()
                self._edition = await asyncio.to_thread(_Edition, key, channels)
            return self._edition
