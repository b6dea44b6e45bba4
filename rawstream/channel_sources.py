"""A channel's sources as what can be opened: sessions on engines, streams of the web.

Owns: which of the two a source is. Must not know: which of them is tried when (`supply`), channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import ContentRef
from rawstream.engine_pool import EnginePool
from rawstream.fetch_policy import FetchPolicy
from rawstream.hls_source import WebSource
from rawstream.http1_client import Headers
from rawstream.records import ChannelSource
from rawstream.sources import EngineSource, Source, ref_of, spellings
from rawstream.web_resource import WebResource

_PLAYLIST: Final = re.compile(r"\.m3u8?$", re.I)


class ChannelSources:
    """Makes them. `policy`: where a direct one may lead."""

    def __init__(
        self, pool: EnginePool, policy: FetchPolicy, timeouts: Timeouts, limits: Limits
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._timeouts = timeouts
        self._limits = limits

    def made(
        self, ref: ContentRef, infohash: str | None, ways: Sequence[ChannelSource]
    ) -> Sequence[Source]:
        """Those of a content with this infohash, if it is known; or, of a channel of the line-up
        that begins with it, all its `ways`.
        """
        if not ways:
            return (self._source(ref, infohash),)
        found = []
        for way in ways:
            way_ref = ref_of(way)
            known = infohash if way_ref == ref else self._pool.known_infohash(way_ref)
            found.append(self._source(way_ref, known, way.headers, playlist=way.kind == "hls"))
        return found

    def _source(
        self,
        ref: ContentRef,
        infohash: str | None,
        headers: Headers = (),
        *,
        playlist: bool = False,
    ) -> Source:
        if ref.kind == "direct":
            return WebSource(
                WebResource(ref.value, self._policy, self._timeouts, self._limits, headers),
                playlist=playlist or _PLAYLIST.search(urlsplit(ref.value).path) is not None,
            )
        return EngineSource(self._pool, spellings(ref, infohash), self._timeouts)
