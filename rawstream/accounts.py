"""Who may watch, and how many at once: logins, and the count of players (design §6).

Owns: the accounts in memory, the pairs that were found right, who guesses too often, leases and
whose turn it is when an account is at its limit. Must not know: HTTP, SQL, how a stream is carried;
a lease is given the way to cut its viewer.

Counting is by player, not by socket. A player is an account, an address, a User-Agent and a
channel; what it opens within `player_burst_seconds` is one, what comes later from there is an equal
box behind the same address. A stream counts once it is `count_after_seconds` old, so that probes
and the overlap of a zap (Xtream reference §9.4) never trip a limit of one. Time is an argument:
seconds on the monotonic clock; only dates of expiry are on the calendar's.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import itertools
import math
import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Set
from typing import Final, NamedTuple, Protocol

from rawstream.config import Config
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.passwords import Passwords
from rawstream.records import Account

_PAIRS: Final = 10_000  # verified pairs remembered
_PAIR_SECONDS: Final = 600.0
_SITTING_SECONDS: Final = 15.0  # a player who opens the same film again before has sought in it
_FAILURES: Final = 10_000  # addresses and names whose failures are counted


class AccountSource(Protocol):
    async def accounts(self) -> list[Account]: ...


class PlayerKey(NamedTuple):
    account_id: int
    address: str
    user_agent: str


class LoginRefused(ViewerError):
    """Wrong user or password, which of them is not said."""

    def __init__(self) -> None:
        super().__init__(403, "wrong username or password")


class Throttled(ViewerError):
    """Too many failures from this address or for this name."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(429, "too many failed logins", retry_after=max(1, round(retry_after)))


class Lease:
    """One stream of one player, from its request to its end."""

    __slots__ = (
        "_accounts",
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
        accounts: Accounts,
        number: int,
        account: Account,
        key: PlayerKey,
        channel: str,
        *,
        film: bool = False,
    ) -> None:
        self._accounts = accounts
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
        self._accounts.began(self)

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
            self._accounts.forget(self, sent)


class _Sitting:
    """One player on one film: a row of streams, one for each place he seeks to."""

    __slots__ = ("lease", "left_at", "sent", "streams")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease  # the first
        self.streams = 0  # open now
        self.sent = 0
        self.left_at = 0.0


class _Refusal(NamedTuple):
    """A player may not have a channel again until then. `winner`: who took the place, by his stream
    `number`; without one he was kicked.
    """

    until: float
    winner: PlayerKey | None = None
    number: int = 0


class Accounts:
    """All accounts of this process. `calendar`: seconds since 1970, for dates of expiry. `crowded`:
    whether there is bandwidth for players who watch already only.
    """

    def __init__(
        self,
        source: AccountSource,
        passwords: Passwords,
        config: Config,
        *,
        crowded: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        # -- collaborators --
        self._source = source
        self._passwords = passwords
        self._config = config
        self._crowded = crowded
        self._clock = clock
        self._calendar = calendar
        # -- accounts --
        self._by_name: dict[str, Account] = {}
        self._by_id: dict[int, Account] = {}
        self._by_token: dict[str, Account] = {}
        # -- logins --
        self._pepper = secrets.token_bytes(32)
        self._pairs: OrderedDict[bytes, float] = OrderedDict()
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._in_flight: dict[str, set[asyncio.Task[bool]]] = defaultdict(set)
        self._queueing = 0
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._nobody = ""
        # -- players --
        self._leases: dict[int, dict[Lease, None]] = {}
        # the same by player: thousands may watch with one account
        self._own: dict[PlayerKey, dict[Lease, None]] = {}
        self._numbers = itertools.count(1)
        self._refusals: dict[tuple[PlayerKey, str], _Refusal] = {}
        self._sittings: dict[tuple[PlayerKey, str], _Sitting] = {}
        self._streams = 0
        self._bytes: dict[int, int] = {}
        # told of what happens: a kind of `records.Activity`, and its fields by name
        self.on_activity: Callable[..., None] = lambda _kind, **_fields: None
        # -- counters --
        self.logins_refused = 0
        self.logins_throttled = 0
        self.taken_over = 0

    # -- accounts ----------------------------------------------------------------------------------

    def set_config(self, config: Config) -> None:
        """Live by other limits and policies from now on; who watches, watches on."""
        self._config = config

    async def reload(self) -> None:
        """Read all accounts again. Streams that are not allowed any more end at the next tick."""
        found = await self._source.accounts()
        self._by_name = {self._folded(account.username): account for account in found}
        self._by_id = {account.id: account for account in found}
        self._by_token = {account.token: account for account in found if account.token}
        if not self._nobody:
            # a name that nobody has costs as much as one that somebody has
            self._nobody = await self._passwords.hash(secrets.token_urlsafe())

    def _folded(self, name: str) -> str:
        return name if self._config.case_sensitive_names else name.casefold()

    def status_of(self, account: Account) -> str:
        """One of the panels' words (Xtream reference §3.1)."""
        if not account.enabled:
            return "Disabled"
        if account.expires_at is not None and account.expires_at <= self._calendar():
            return "Expired"
        return "Active"

    def by_id(self, account_id: int) -> Account | None:
        """The account as it is now."""
        return self._by_id.get(account_id)

    def current(self, account: Account) -> Account | None:
        """The account as it is now, None when it was deleted."""
        return self._by_id.get(account.id)

    # -- logins ------------------------------------------------------------------------------------

    def verified(self, username: str, password: str) -> Account | None:
        """The account, if this very pair was found right lately, or if the password is its token.
        Costs no hash.
        """
        account = self._by_name.get(self._folded(username))
        if account is None:  # players built their URLs from a login by token
            account = self._by_token.get(username)
            return account if account is not None and _same(username, password) else None
        if account.token and _same(account.token, password):
            return account
        pair = self._pair(username, password, account)
        known = self._pairs.get(pair)
        if known is None or known <= self._clock():
            return None
        self._remember(pair)
        return account

    async def verify(self, username: str, password: str, address: str) -> Account:
        """The account of this pair. Raises LoginRefused, Throttled, ViewerError 503 (too many at
        once).
        """
        if not username:  # a probe or a page opened by hand guesses nothing
            raise LoginRefused
        places = (f"address {_network(address)}", f"name {self._folded(username)[:64]}")
        while True:
            account = self.verified(username, password)
            if account is not None:
                return account
            account = self._by_name.get(self._folded(username))
            pair = self._pair(username, password, account)
            check = self._checking.get(pair)
            if check is not None:
                break
            others = self._unsettled(places)
            if not others:
                check = self._begin_check(pair, account, password, places)
                break
            await self._wait_for_one(others)
        if await asyncio.shield(check) and account is not None:
            # it may have been disabled, kicked or deleted meanwhile
            now = self.current(account)
            if now is not None and now.password_hash == account.password_hash:
                return now
        raise LoginRefused

    def _begin_check(
        self, pair: bytes, account: Account | None, password: str, places: tuple[str, ...]
    ) -> asyncio.Task[bool]:
        """One check for all who ask for the same pair at once: players open many requests. It goes
        on, and counts, when they leave.
        """
        hashed = self._nobody if account is None else account.password_hash
        check = asyncio.create_task(
            self._passwords.verify(hashed, password), name="check of a password"
        )
        self._checking[pair] = check
        for place in places:
            self._in_flight[place].add(check)

        def settle(check: asyncio.Task[bool]) -> None:
            del self._checking[pair]
            for place in places:
                self._in_flight[place].discard(check)
                if not self._in_flight[place]:
                    del self._in_flight[place]
            if check.cancelled() or check.exception() is not None:
                return  # nothing was found out
            if check.result() and account is not None:
                self._remember(pair)
                address = places[0].removeprefix("address ")
                self.on_activity("login", account=account.username, address=address)
            else:
                self._failed(places)

        check.add_done_callback(settle)
        return check

    async def _wait_for_one(self, checks: Set[asyncio.Task[bool]]) -> None:
        if self._queueing >= self._config.limits.password_queue:
            raise ViewerError(503, "too many logins at once", retry_after=2)
        self._queueing += 1
        try:
            await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._queueing -= 1

    def by_token(self, token: str, address: str) -> Account | None:
        """The account that this token stands for. Raises Throttled."""
        account = self._by_token.get(token)
        if account is None:
            places = (f"address {_network(address)}",)
            self._unsettled(places)
            self._failed(places)
        return account

    def _pair(self, username: str, password: str, account: Account | None) -> bytes:
        who = f"\0{username}" if account is None else f"{account.id}\0{account.password_hash}"
        text = f"{who}\0{password}"
        return hmac.digest(self._pepper, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def _remember(self, pair: bytes) -> None:
        self._pairs[pair] = self._clock() + _PAIR_SECONDS
        self._pairs.move_to_end(pair)
        if len(self._pairs) > _PAIRS:
            self._pairs.popitem(last=False)

    def _unsettled(self, places: tuple[str, ...]) -> Set[asyncio.Task[bool]]:
        """Checks to wait for: if all that run fail, there are as many failures as may be. Raises
        Throttled when there are already.
        """
        now = self._clock()
        window = self._config.timeouts.login_window_seconds
        allowed = self._config.limits.login_failures
        found: set[asyncio.Task[bool]] = set()
        for place in places:
            failures = [at for at in self._failures.get(place, ()) if now - at < window]
            if len(failures) >= allowed:
                self.logins_throttled += 1
                raise Throttled(failures[0] + window - now)
            checks = self._in_flight.get(place, set())
            if len(failures) + len(checks) >= allowed:
                found |= checks
        return found

    def _failed(self, places: tuple[str, ...]) -> None:
        self.logins_refused += 1
        # a name that nobody has may be a password that was typed in the wrong field
        name = places[-1].removeprefix("name ") if len(places) > 1 else ""
        known = self._by_name.get(name)
        self.on_activity(
            "login refused",
            account=known.username if known is not None else "",
            address=places[0].removeprefix("address "),
        )
        now = self._clock()
        window = self._config.timeouts.login_window_seconds
        for place in places:
            failures = [at for at in self._failures.pop(place, ()) if now - at < window]
            self._failures[place] = [*failures, now][-self._config.limits.login_failures :]
            if len(self._failures) > _FAILURES:
                self._failures.popitem(last=False)

    # -- players -----------------------------------------------------------------------------------

    def lease(
        self,
        account: Account,
        *,
        address: str,
        user_agent: str,
        channel: str,
        now: float,
        by_requests: bool = False,
        film: bool = False,
    ) -> Lease:
        """Ask for a stream. `by_requests`: for HLS. Of a `film` a player has as many at a time as
        he likes to seek with: they are one, whenever he opens them. Raises ChannelUnavailable: this
        player was just taken over on this channel, opens too many sockets, there are too many
        viewers or too little bandwidth, or the limit is reached and limits refuse.
        """
        key = PlayerKey(account.id, address, user_agent)
        refused = self._refused(key, channel, now)
        if refused:
            raise ChannelUnavailable(refused, retry_after=5)
        self._drop_left(key, channel, now, by_requests=by_requests)
        leases, own = self._leases.get(account.id, {}), self._own.get(key, {})
        limits = self._config.limits
        if self._streams >= limits.viewers:
            raise ChannelUnavailable("too many viewers", retry_after=10)
        if self._crowded() and not any(lease.cut for lease in own):
            raise ChannelUnavailable("the bandwidth is used up", retry_after=10)
        if sum(not self._counts(lease, now) for lease in own) >= limits.sockets_per_player:
            raise ChannelUnavailable("this player has too many streams open", retry_after=2)
        allowed = account.max_connections
        if allowed and self._config.limit_policy == "refuse":
            burst = self._config.timeouts.player_burst_seconds
            others = [
                group
                for group in self._groups(self._counted(account.id, now))
                if group[0].key != key
                or (not film and group[0].channel == channel and now - _since(group[0]) > burst)
            ]
            if len(others) >= allowed:
                raise ChannelUnavailable("the account's players are all in use", retry_after=5)
        if allowed and len(leases) >= limits.sockets_per_player * allowed:
            raise ChannelUnavailable("this account has too many streams open", retry_after=2)
        lease = Lease(self, next(self._numbers), account, key, channel, film=film)
        lease.asked_at = now
        self._leases.setdefault(account.id, {})[lease] = None
        self._own.setdefault(key, {})[lease] = None
        self._streams += 1
        return lease

    def _drop_left(self, key: PlayerKey, channel: str, now: float, *, by_requests: bool) -> None:
        """Who watched by requests leaves without a word: by another channel, before he counted, or
        by another way to the same one.
        """
        for lease in list(self._own.get(key, ())):
            if lease.drop is None:
                continue
            same = lease.channel == channel
            if (same and not by_requests) or (not same and not self._counts(lease, now)):
                lease.drop()

    def _refused(self, key: PlayerKey, channel: str, now: float) -> str:
        """Why not, '' if it may: it would only push out again who took its place here. A zap never
        does: it comes from another channel that this key opened later.
        """
        refusal = self._refusals.get((key, channel))
        if refusal is None or refusal.until <= now:
            return ""
        if refusal.winner is None:
            return "this stream was ended by the operator"
        leases = self._leases.get(key.account_id, {})
        zapped = any(
            lease.key == key and lease.channel != channel and lease.number > refusal.number
            for lease in leases
        )
        if zapped or all(lease.key != refusal.winner for lease in leases):
            return ""
        return "another player took this account's place"

    def began(self, lease: Lease) -> None:
        """For the lease: its player gets bytes. A seek is no new play."""
        if lease.film:
            place = lease.key, lease.channel
            sitting = self._sittings.get(place)
            if sitting is None:
                sitting = self._sittings[place] = _Sitting(lease)
            sitting.streams += 1
            if sitting.lease is not lease:
                return
        self._tell("play", lease, lease.key.user_agent)

    def settle(self, now: float) -> None:
        """Tell of the films that were left `_SITTING_SECONDS` before `now`."""
        for place, sitting in list(self._sittings.items()):
            if not sitting.streams and now - sitting.left_at >= _SITTING_SECONDS:
                del self._sittings[place]
                since = sitting.lease.since or sitting.left_at
                seconds = max(0, round(sitting.left_at - since))
                self._tell("stop", sitting.lease, f"{sitting.sent} bytes in {seconds} s")

    def _tell(self, kind: str, lease: Lease, text: str) -> None:
        name, address = lease.account.username, lease.key.address
        self.on_activity(kind, account=name, channel=lease.channel, address=address, text=text)

    def forget(self, lease: Lease, sent: int) -> None:
        """For the lease: it is over."""
        sitting = self._sittings.get((lease.key, lease.channel)) if lease.film else None
        if sitting is not None and lease.since is not None:
            sitting.streams -= 1
            sitting.sent += sent
            sitting.left_at = self._clock()
        elif lease.since is not None:
            seconds = max(0, round(self._clock() - lease.since))
            self._tell("stop", lease, f"{sent} bytes in {seconds} s")
        if sent:
            account_id = lease.key.account_id
            self._bytes[account_id] = self._bytes.get(account_id, 0) + sent
        leases = self._leases.get(lease.key.account_id)
        if leases is not None and lease in leases:
            del leases[lease]
            self._streams -= 1
            if not leases:
                del self._leases[lease.key.account_id]
            own = self._own[lease.key]
            del own[lease]
            if not own:
                del self._own[lease.key]

    def _counted(self, account_id: int, now: float) -> list[Lease]:
        """The streams that count, the oldest first."""
        leases = self._leases.get(account_id, ())
        return sorted((lease for lease in leases if self._counts(lease, now)), key=_since)

    def _counts(self, lease: Lease, now: float) -> bool:
        old_enough = now - _since(lease) >= self._config.timeouts.count_after_seconds
        return old_enough and lease.leaving_at is None and not lease.revoked

    def active(self, account_id: int) -> int:
        """How many players of this account watch: `active_cons`. Never above its limit."""
        if account_id not in self._leases:
            return 0
        now = self._clock()
        account = self._by_id.get(account_id)
        if account is not None and account.max_connections:
            self._keep_limit(account, now)
        return len(self._groups(self._counted(account_id, now)))

    def _groups(self, counted: list[Lease]) -> list[list[Lease]]:
        """Streams by what counts as one player: one key on one channel, begun within
        `player_burst_seconds` (Xtream reference §11), and on one film at any time. In each group
        the oldest is first.
        """
        burst = self._config.timeouts.player_burst_seconds
        newest: dict[tuple[PlayerKey, str], list[Lease]] = {}
        groups: list[list[Lease]] = []
        for lease in counted:
            group = newest.get((lease.key, lease.channel))
            late = group is not None and _since(lease) - _since(group[0]) > burst
            if group is None or (late and not lease.film):
                group = newest[lease.key, lease.channel] = []
                groups.append(group)
            group.append(lease)
        return groups

    def tick(self, now: float) -> None:
        """Some times a second: end what is not allowed any more, and keep each account's limit."""
        for key in [key for key, refusal in self._refusals.items() if refusal.until <= now]:
            del self._refusals[key]
        self.settle(now)
        for account_id, leases in list(self._leases.items()):
            account = self._by_id.get(account_id)
            for lease in list(leases):
                if lease.revoked or account is None or self.status_of(account) != "Active":
                    self._cut(lease)
                elif _secrets_of(account) != _secrets_of(lease.account):
                    self._cut(lease)  # a new secret is meant for those who have the old one
                elif account.kicked_at > lease.account.kicked_at:
                    self._kick(lease, now)
                elif lease.leaving_at is not None and lease.leaving_at <= now:
                    self._cut(lease)
            if account is not None and account.max_connections:
                self._keep_limit(account, now)

    def _keep_limit(self, account: Account, now: float) -> None:
        groups = self._groups(self._counted(account.id, now))
        refuse = self._config.limit_policy == "refuse"
        while len(groups) > account.max_connections:
            winner, loser = _first_stays(groups) if refuse else _newest_stays(groups)
            if _has_come_back(loser, winner):
                winner, loser = loser, winner
            groups.remove(loser)
            newest = winner[-1]
            zapped = loser[0].key == newest.key and loser[0].channel != newest.channel
            self.taken_over += not zapped and not refuse
            for lease in loser:
                if zapped:
                    overlap = self._config.timeouts.zap_overlap_seconds
                    lease.leaving_at = _since(newest) + overlap
                    continue
                if not refuse:  # there, asking again is refused anyway
                    until = now + self._config.timeouts.superseded_seconds
                    refusal = _Refusal(until, newest.key, newest.number)
                    self._refusals[lease.key, lease.channel] = refusal
                self._cut(lease)

    def take_bytes(self) -> dict[int, int]:
        """Bytes of streams that ended since the last call, by account id."""
        taken, self._bytes = self._bytes, {}
        return taken

    def kick(self, key: PlayerKey, now: float) -> int:
        """End all streams of a player; he can't come back to these channels at once. Returns how
        many.
        """
        kicked = [lease for lease in self._leases.get(key.account_id, ()) if lease.key == key]
        for lease in kicked:
            self._kick(lease, now)
        return len(kicked)

    def kick_stream(self, lease: Lease, now: float) -> int:
        """As `kick`, of this stream and the others of the same player on the same channel: a film
        is many, and a box that was cut opens the next one at once.
        """
        own = [one for one in self._own.get(lease.key, ()) if one.channel == lease.channel]
        for one in own:
            self._kick(one, now)
        return len(own)

    def _kick(self, lease: Lease, now: float) -> None:
        until = now + self._config.timeouts.superseded_seconds
        self._refusals[lease.key, lease.channel] = _Refusal(until)
        self._cut(lease)

    @staticmethod
    def _cut(lease: Lease) -> None:
        """End a stream; one that has not begun yet ends at the tick after it has."""
        lease.revoked = True
        cut = lease.cut
        if cut is not None:
            cut()
            lease.ended()


def _since(lease: Lease) -> float:
    return math.inf if lease.since is None else lease.since


def _newest_stays(groups: list[list[Lease]]) -> tuple[list[Lease], list[Lease]]:
    """Winner and loser where the newest takes over: from his own former channel first, then from
    an equal box on his own, then from the same address, then from the oldest (Xtream reference
    §11).
    """
    *others, winner = sorted(groups, key=lambda group: _since(group[-1]))
    newest = winner[-1]
    same_key = [group for group in others if group[0].key == newest.key]
    zapped = [group for group in same_key if group[0].channel != newest.channel]
    same_address = [group for group in others if group[0].key.address == newest.key.address]
    return winner, (zapped or same_key or same_address or others)[0]


def _has_come_back(loser: list[Lease], winner: list[Lease]) -> bool:
    """Whether a player by requests zapped away from a channel, and back before the other counted:
    he holds no connection that would tell, but he has asked for its playlist later.
    """
    old, new = loser[-1], winner[-1]
    if old.key != new.key or old.channel == new.channel or old.drop is None or new.drop is None:
        return False
    return old.asked_at > new.asked_at


def _first_stays(groups: list[list[Lease]]) -> tuple[list[Lease], list[Lease]]:
    """Winner and loser where newcomers are refused: who came last goes, unless he has only zapped;
    then his former channel does.
    """
    came: dict[PlayerKey, float] = {}
    for group in groups:
        key = group[0].key
        came[key] = min(_since(group[0]), came.get(key, math.inf))
    order = sorted(groups, key=lambda group: (came[group[0].key], _since(group[0])))
    last = order[-1]
    own = [group for group in groups if group[0].key == last[0].key]
    own = [group for group in own if group is last or group[0].channel != last[0].channel]
    if len(own) == 1:
        return order[0], last
    own.sort(key=lambda group: _since(group[-1]))
    return own[-1], own[-2]


def _secrets_of(account: Account) -> tuple[str, str]:
    return account.password_hash, account.token


def _same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))


def _network(address: str) -> str:
    """What counts as one address: of IPv6 the /64 that one customer has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
