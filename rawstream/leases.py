"""A lease: one stream of one player, from its request to its end.

Owns: what is known of it while it lasts, and that it ends once. Must not know: who may have one,
how many there may be, HTTP; it is given the way to cut its viewer.

A player is an account, an address and a User-Agent. Time is an argument: seconds on the monotonic
clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rawstream.records import Account


class PlayerKey(NamedTuple):
    account_id: int
    address: str
    user_agent: str


class LeaseKeeper(Protocol):
    """Who gives leases, and is told of them."""

    def began(self, lease: Lease) -> None: ...
    def forget(self, lease: Lease, sent: int) -> None: ...


class Lease:
    """One stream of one player, from its request to its end."""

    __slots__ = (
        "_keeper",
        "account",
        "asked_at",
        "channel",
        "cut",
        "drop",
        "film",
        "key",
        "leaving_at",
        "number",
        "over",
        "revoked",
        "since",
    )

    def __init__(
        self,
        keeper: LeaseKeeper,
        number: int,
        account: Account,
        key: PlayerKey,
        channel: str,
        *,
        film: bool = False,
    ) -> None:
        self._keeper = keeper
        self.number = number  # the order in which streams were asked for
        self.account = account  # as it was then
        self.key = key
        self.channel = channel
        self.film = film
        self.since: float | None = None  # the first byte of its body
        self.asked_at = -math.inf  # by requests: when he last asked for the channel itself
        self.cut: Callable[[], None] | None = None
        # of one who holds no connection: ends it as if he had left
        self.drop: Callable[[], None] | None = None
        self.leaving_at: float | None = None  # zapped away from: when it is cut if it has not gone
        self.revoked = False  # ends as soon as there is something to cut
        self.over = False

    def started(self, cut: Callable[[], None], now: float) -> None:
        """The first byte of the stream is on its way; `cut` ends it."""
        self.since, self.cut = now, cut
        self._keeper.began(self)

    def by_requests(self, drop: Callable[[], None]) -> None:
        """The player renews it with each request, and does not say when he leaves. `drop` ends it;
        who is there all the same asks again, and gets another.
        """
        self.drop = drop

    def asked(self, now: float) -> bool:
        """By requests: he has asked for the channel once more. False if he had zapped away from it:
        then he is to ask for another lease, with which he counts as the newest again.
        """
        self.asked_at = now
        return self.leaving_at is None

    def ended(self, sent: int = 0) -> None:
        """The stream is over after `sent` bytes, or never came. A second call does nothing."""
        if not self.over:
            self.over = True
            self.cut = self.drop = None
            self._keeper.forget(self, sent)


def since(lease: Lease) -> float:
    """When its first byte was sent; one that has not begun is younger than all others."""
    return math.inf if lease.since is None else lease.since
