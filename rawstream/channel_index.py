"""Which channel runs which content: one channel per content, however it was spelled.

Owns: the channels on air by everything they are called, the single flight per canonical infohash.
Must not know: how a channel is made, when it ends.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from rawstream.channels import LiveChannel, Superseded
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.records import ChannelSource
from rawstream.sources import ref_of

_SPELLINGS: Final = 16  # of one content on air, remembered for its next viewers


class ChannelIndex:
    """The channels on air. `pool` knows the infohashes of contents, and is told of new ones."""

    def __init__(self, pool: EnginePool) -> None:
        self._pool = pool
        self._channels: dict[LiveChannel, None] = {}
        self._by_ref: dict[ContentRef, LiveChannel] = {}
        self._by_infohash: dict[str, LiveChannel] = {}
        self._by_id: dict[int, LiveChannel] = {}  # of the line-up: those whose sources they have

    def __iter__(self) -> Iterator[LiveChannel]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)

    def add(self, channel: LiveChannel) -> None:
        """A new one. Nobody runs its content."""
        ref = channel.refs[0]
        self._channels[channel] = None
        self._by_ref[ref] = channel
        self._note_ways(channel)
        infohash = self._pool.known_infohash(ref)
        if infohash is not None:
            self.claim(channel, infohash)

    def remove(self, channel: LiveChannel) -> None:
        """It is over."""
        self._channels.pop(channel, None)
        for ref in channel.refs:
            if self._by_ref.get(ref) is channel:
                del self._by_ref[ref]
        if self._by_id.get(channel.ways_of) is channel:
            del self._by_id[channel.ways_of]
        self._drop_infohash(channel)

    @property
    def ids(self) -> Collection[int]:
        """The channels of the line-up whose sources are on air."""
        return list(self._by_id)

    def find(self, ref: ContentRef, line_up_id: int = 0) -> LiveChannel | None:
        """The channel that runs this content. `line_up_id`: it is asked for as this channel of the
        line-up, and the one with its sources is meant, though the first may be another by now.
        """
        channel = self._by_id.get(line_up_id) or self._by_ref.get(ref)
        if channel is None:
            infohash = self._pool.known_infohash(ref)
            if infohash is None and ref.kind == "unknown":
                infohash = ref.value  # an infohash that is on air is not asked for as an id
            if infohash is not None:
                channel = self._by_infohash.get(infohash)
        return channel

    def note_spelling(self, channel: LiveChannel, ref: ContentRef) -> None:
        """One more way in which a content on air is asked for."""
        if ref not in channel.refs and len(channel.refs) < _SPELLINGS:
            channel.refs.append(ref)
            self._by_ref[ref] = channel

    def add_ways(
        self, channel: LiveChannel, ways: Sequence[ChannelSource], ways_of: int = 0
    ) -> None:
        """See `LiveChannel.add_ways`."""
        before = channel.ways_of
        channel.add_ways(ways, ways_of)
        if channel.ways_of != before:
            if self._by_id.get(before) is channel:
                del self._by_id[before]
            self._note_ways(channel)

    def _note_ways(self, channel: LiveChannel) -> None:
        if channel.ways_of:
            self._by_id[channel.ways_of] = channel

    def rename(self, channel: LiveChannel, sources: Sequence[ContentRef]) -> None:
        """Somebody has decided that these are its sources. Where what it was asked for first is
        none of them, it is called by the best one: who wants the other by itself is to have that.
        """
        infohash = self._pool.known_infohash(channel.refs[0])
        known = {self._pool.known_infohash(ref) or ref.value for ref in sources}
        if infohash in known or not known or not set(channel.refs).isdisjoint(sources):
            return
        for former in channel.refs:
            if self._by_ref.get(former) is channel:
                del self._by_ref[former]
        channel.refs[:] = [sources[0]]
        self._by_ref.setdefault(sources[0], channel)
        if channel.infohash is None or channel.infohash == infohash:
            self._drop_infohash(channel)
            channel.infohash = None
            channel.key = str(sources[0])

    def claim(self, channel: LiveChannel, infohash: str, asked: Sequence[ContentRef] = ()) -> None:
        """The channel is this content. `asked`: what was started, if that may be another source
        than the channel's first. Raises Superseded when another channel runs it.
        """
        first = channel.refs[0]
        values = {ref.value for ref in asked}
        fallback = bool(asked) and first.value not in values and channel.infohash not in values
        for ref in asked if fallback else channel.refs:
            self._pool.learn(ref, infohash)
        other = self._by_infohash.get(infohash)
        if other is not None and other is not channel and other.running:
            if not fallback:
                self.add_ways(other, channel.ways, channel.ways_of)
            raise Superseded(other, fallback=fallback)
        if channel.infohash is not None and channel.infohash != infohash:
            self._drop_infohash(channel)
        self._by_infohash[infohash] = channel
        channel.infohash = infohash
        channel.key = infohash

    def _drop_infohash(self, channel: LiveChannel) -> None:
        if channel.infohash is not None and self._by_infohash.get(channel.infohash) is channel:
            del self._by_infohash[channel.infohash]


def contents_of(channel: LiveChannel) -> frozenset[ContentRef]:
    """All that a channel's content is called, and asked for by those who want its channel of the
    line-up: by the first source that this has now.
    """
    known = [ContentRef("infohash", channel.infohash)] if channel.infohash is not None else []
    return frozenset((*channel.refs, *known, *map(ref_of, channel.ways[:1])))
