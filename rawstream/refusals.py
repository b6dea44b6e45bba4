"""Who is refused for a moment: contents that have just failed or were stopped, players sent away.

Owns: for how long each is remembered, what it is told. Must not know: why a channel failed, who has
an account. Times are on the clock of `time.monotonic`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from rawstream.config import Timeouts
from rawstream.engine_client import ContentRef
from rawstream.errors import ChannelUnavailable

_CONTENTS: Final = 1000
_PLAYERS: Final = 1000  # without an account
_STOPPED: Final = "this channel was stopped by the operator"


class Refusals:
    """Contents and players, each with its time. `known_infohash`: of a content, so that it is known
    by whatever it is called.
    """

    def __init__(
        self, timeouts: Timeouts, known_infohash: Callable[[ContentRef], str | None]
    ) -> None:
        self._timeouts = timeouts
        self._known_infohash = known_infohash
        self._contents: dict[ContentRef, tuple[float, str]] = {}  # until when, and why
        # by address and User-Agent: until when, and which contents
        self._players: dict[tuple[str, str], tuple[float, frozenset[ContentRef]]] = {}

    def note_failed(self, contents: Collection[ContentRef], reason: str, now: float) -> None:
        """This content, by all its names, could not be had."""
        until = now + self._timeouts.failure_memory_seconds
        if len(self._contents) < _CONTENTS:
            for ref in contents:
                self._contents[ref] = (until, reason)

    def note_stopped(self, contents: Collection[ContentRef], now: float) -> None:
        """The operator has stopped it: players who ask for it again at once are not to begin it."""
        until = now + self._timeouts.superseded_seconds
        for ref in contents:
            self._contents[ref] = (until, _STOPPED)

    def allow(self, ref: ContentRef) -> None:
        """What the operator has stopped may be watched again."""
        for one in self._names(ref):
            if one in self._contents and self._contents[one][1] == _STOPPED:
                del self._contents[one]

    def note_sent_away(
        self, address: str, user_agent: str, contents: frozenset[ContentRef], now: float
    ) -> None:
        """The operator has sent this player away from this content. What he was sent away from
        before is refused as long.
        """
        player, until = (address, user_agent), now + self._timeouts.superseded_seconds
        if (before := self._players.get(player)) is not None:
            self._players[player] = until, before[1] | contents
        elif len(self._players) < _PLAYERS:
            self._players[player] = until, contents

    def check_content(self, ref: ContentRef, now: float) -> None:
        """Raises ChannelUnavailable, with the reason and how long it stays so."""
        found = next(
            (self._contents[one] for one in self._names(ref) if one in self._contents), None
        )
        if found is not None and found[0] > now:
            raise ChannelUnavailable(found[1], retry_after=max(1, round(found[0] - now)))

    def check_player(self, address: str, user_agent: str, ref: ContentRef, now: float) -> None:
        """Raises ChannelUnavailable."""
        if not self._players:
            return
        until, contents = self._players.get((address, user_agent), (0.0, frozenset()))
        if until > now and any(one in contents for one in self._names(ref)):
            raise ChannelUnavailable("this stream was ended by the operator", retry_after=5)

    def _names(self, ref: ContentRef) -> tuple[ContentRef, ...]:
        infohash = self._known_infohash(ref)
        return (ref,) if infohash is None else (ref, ContentRef("infohash", infohash))

    def forget(self, now: float) -> None:
        """Once a second: whose time is over."""
        for ref in [ref for ref, (until, _why) in self._contents.items() if until <= now]:
            del self._contents[ref]
        for player in [player for player, (until, _) in self._players.items() if until <= now]:
            del self._players[player]
