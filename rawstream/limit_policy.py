"""How many players watch with an account, and who of them gives way at its limit.

Owns: what counts as one player, when a stream counts, whose turn it is when there are more than may
be, who zapped away from what, and who may not come back for a while (Xtream reference §11, design
§6). Must not know: accounts and logins, how a stream is ended: whoever asks is told which are to be
cut.

Counting is by player, not by socket. A player is an account, an address, a User-Agent and a
channel; what it opens within `player_burst_seconds` is one, what comes later from there is an equal
box behind the same address. A stream counts once it is `count_after_seconds` old, so that probes
and the overlap of a zap (Xtream reference §9.4) never trip a limit of one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from rawstream.config import Config
from rawstream.leases import Lease, PlayerKey, since

Player = list[Lease]  # what counts as one player: his streams, the oldest first


class _Refusal(NamedTuple):
    """A player may not have a channel again until then. `winner`: who took the place, by his stream
    `number`; without one he was kicked.
    """

    until: float
    winner: PlayerKey | None = None
    number: int = 0


class LimitPolicy:
    """One per process. `taken_over`: how many players were cut for newer ones so far."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._refusals: dict[tuple[PlayerKey, str], _Refusal] = {}
        self.taken_over = 0

    def set_config(self, config: Config) -> None:
        """Live by other limits from now on."""
        self._config = config

    @property
    def _refuses(self) -> bool:
        """Whether newcomers are refused, and take nobody's place."""
        return self._config.limit_policy == "refuse"

    # -- counting ----------------------------------------------------------------------------------

    def counts(self, lease: Lease, now: float) -> bool:
        old_enough = now - since(lease) >= self._config.timeouts.count_after_seconds
        return old_enough and lease.leaving_at is None and not lease.revoked

    def players(self, leases: Iterable[Lease], now: float) -> list[Player]:
        """Streams by what counts as one player: one key on one channel, begun within
        `player_burst_seconds` (Xtream reference §11), and on one film at any time.
        """
        counted = sorted((lease for lease in leases if self.counts(lease, now)), key=since)
        burst = self._config.timeouts.player_burst_seconds
        newest: dict[tuple[PlayerKey, str], Player] = {}
        found: list[Player] = []
        for lease in counted:
            player = newest.get((lease.key, lease.channel))
            late = player is not None and since(lease) - since(player[0]) > burst
            if player is None or (late and not lease.film):
                player = newest[lease.key, lease.channel] = []
                found.append(player)
            player.append(lease)
        return found

    # -- at the limit ------------------------------------------------------------------------------

    def turns_away(
        self,
        key: PlayerKey,
        channel: str,
        leases: Iterable[Lease],
        allowed: int,
        now: float,
        *,
        film: bool,
    ) -> bool:
        """Whether one who asks is refused, as so many others watch as may. Who zaps, who opens one
        more socket at once, or seeks in a film is no other.
        """
        if not self._refuses:
            return False
        burst = self._config.timeouts.player_burst_seconds
        others = [
            player
            for player in self.players(leases, now)
            if player[0].key != key
            or (not film and player[0].channel == channel and now - since(player[0]) > burst)
        ]
        return len(others) >= allowed

    def too_many(self, leases: Collection[Lease], allowed: int, now: float) -> list[Lease]:
        """The streams that are to be cut, so that no more than `allowed` players watch. Who has
        only zapped leaves later, by himself if he likes.
        """
        players = self.players(leases, now)
        cut: list[Lease] = []
        while len(players) > allowed:
            winner, loser = _first_stays(players) if self._refuses else _newest_stays(players)
            if _has_come_back(loser, winner):
                winner, loser = loser, winner
            players.remove(loser)
            newest = winner[-1]
            if loser[0].key == newest.key and loser[0].channel != newest.channel:
                overlap = self._config.timeouts.zap_overlap_seconds
                for lease in loser:
                    lease.leaving_at = since(newest) + overlap
                continue
            if not self._refuses:  # there, asking again is refused anyway
                self.taken_over += 1
                for lease in loser:
                    self._bar(lease, now, newest)
            cut += loser
        return cut

    # -- coming back -------------------------------------------------------------------------------

    def kicked(self, lease: Lease, now: float) -> None:
        """Its player can't come back to this channel at once."""
        self._bar(lease, now)

    def _bar(self, lease: Lease, now: float, winner: Lease | None = None) -> None:
        until = now + self._config.timeouts.superseded_seconds
        refusal = _Refusal(until)
        if winner is not None:
            refusal = _Refusal(until, winner.key, winner.number)
        self._refusals[lease.key, lease.channel] = refusal

    def refused(self, key: PlayerKey, channel: str, leases: Collection[Lease], now: float) -> str:
        """Why not, '' if it may: it would only push out again who took its place here. A zap never
        does: it comes from another channel that this key opened later. `leases`: of the account.
        """
        refusal = self._refusals.get((key, channel))
        if refusal is None or refusal.until <= now:
            return ""
        if refusal.winner is None:
            return "this stream was ended by the operator"
        zapped = any(
            lease.key == key and lease.channel != channel and lease.number > refusal.number
            for lease in leases
        )
        if zapped or all(lease.key != refusal.winner for lease in leases):
            return ""
        return "another player took this account's place"

    def tick(self, now: float) -> None:
        """Forget who may come back by now."""
        for key in [key for key, refusal in self._refusals.items() if refusal.until <= now]:
            del self._refusals[key]


def _newest_stays(players: list[Player]) -> tuple[Player, Player]:
    """Winner and loser where the newest takes over: from his own former channel first, then from
    an equal box on his own, then from the same address, then from the oldest (Xtream reference
    §11).
    """
    *others, winner = sorted(players, key=lambda player: since(player[-1]))
    newest = winner[-1]
    same_key = [player for player in others if player[0].key == newest.key]
    zapped = [player for player in same_key if player[0].channel != newest.channel]
    same_address = [player for player in others if player[0].key.address == newest.key.address]
    return winner, (zapped or same_key or same_address or others)[0]


def _has_come_back(loser: Player, winner: Player) -> bool:
    """Whether a player by requests zapped away from a channel, and back before the other counted:
    he holds no connection that would tell, but he has asked for its playlist later.
    """
    old, new = loser[-1], winner[-1]
    if old.key != new.key or old.channel == new.channel or old.drop is None or new.drop is None:
        return False
    return old.asked_at > new.asked_at


def _first_stays(players: list[Player]) -> tuple[Player, Player]:
    """Winner and loser where newcomers are refused: who came last goes, unless he has only zapped;
    then his former channel does.
    """
    came: dict[PlayerKey, float] = {}
    for player in players:
        key = player[0].key
        came[key] = min(since(player[0]), came.get(key, math.inf))
    order = sorted(players, key=lambda player: (came[player[0].key], since(player[0])))
    last = order[-1]
    own = [player for player in players if player[0].key == last[0].key]
    own = [player for player in own if player is last or player[0].channel != last[0].channel]
    if len(own) == 1:
        return order[0], last
    own.sort(key=lambda player: since(player[-1]))
    return own[-1], own[-2]
