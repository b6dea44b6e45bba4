"""Who sat before what: told when a player begins, and how much it was when he has left.

Owns: that a player who seeks in a film, which is a stream for each place, is told of once. Must not
know: where it is told, how many may watch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rawstream.leases import Lease, PlayerKey

_SITTING_SECONDS: Final = 15.0  # a player who opens the same film again before has sought in it


class _FilmSitting:
    """One player on one film: a row of streams, one for each place he seeks to."""

    __slots__ = ("lease", "left_at", "sent", "streams")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease  # the first
        self.streams = 0  # open now
        self.sent = 0
        self.left_at = 0.0


class Sittings:
    """Those of one process. `tell`: takes a kind of `records.Activity`, and its fields by name."""

    def __init__(self, tell: Callable[..., None]) -> None:
        self._told = tell
        self._films: dict[tuple[PlayerKey, str], _FilmSitting] = {}

    def began(self, lease: Lease) -> None:
        """Its player gets bytes. A seek is no new play."""
        if lease.film:
            place = lease.key, lease.channel
            sitting = self._films.get(place)
            if sitting is None:
                sitting = self._films[place] = _FilmSitting(lease)
            sitting.streams += 1
            if sitting.lease is not lease:
                return
        self._tell("play", lease, lease.key.user_agent)

    def ended(self, lease: Lease, sent: int, now: float) -> None:
        """It is over after `sent` bytes. One that never began is not told of."""
        if lease.since is None:
            return
        sitting = self._films.get((lease.key, lease.channel)) if lease.film else None
        if sitting is not None:
            sitting.streams -= 1
            sitting.sent += sent
            sitting.left_at = now
        else:
            self._stopped(lease, sent, now - lease.since)

    def settle(self, now: float) -> None:
        """Tell of the films that were left `_SITTING_SECONDS` before `now`."""
        for place, sitting in list(self._films.items()):
            if not sitting.streams and now - sitting.left_at >= _SITTING_SECONDS:
                del self._films[place]
                since = sitting.lease.since or sitting.left_at
                self._stopped(sitting.lease, sitting.sent, sitting.left_at - since)

    def _stopped(self, lease: Lease, sent: int, seconds: float) -> None:
        self._tell("stop", lease, f"{sent} bytes in {max(0, round(seconds))} s")

    def _tell(self, kind: str, lease: Lease, text: str) -> None:
        name, address = lease.account.username, lease.key.address
        self._told(kind, account=name, channel=lease.channel, address=address, text=text)
