"""Who may watch, and how many at once: logins, and the count of players (design §6).

Owns: the accounts in memory, the pairs that were found right, who guesses too often, leases and
whose turn it is when an account is at its limit. Must not know: HTTP, SQL, how a stream is carried;
a lease is given the way to cut its viewer.

Counting is by player, not by socket. A player is an account, an address and a User-Agent; a stream
of his counts once it is `count_after_seconds` old, so that probes and the overlap of a zap (Xtream
reference §9.4) never trip a limit of one. Time is an argument: seconds on the monotonic clock; only
dates of expiry are on the calendar's.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from rawstream.config import Config
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.passwords import Passwords
from rawstream.records import Account

_PAIRS: Final = 10_000  # verified pairs remembered
_PAIR_SECONDS: Final = 600.0
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

    __slots__ = ("_accounts", "account", "channel", "cut", "key", "leaving_at", "over", "since")

    def __init__(self, accounts: Accounts, account: Account, key: PlayerKey, channel: str) -> None:
        self._accounts = accounts
        self.account = account
        self.key = key
        self.channel = channel
        self.since: float | None = None  # the first byte of its body
        self.cut: Callable[[], None] | None = None
        self.leaving_at: float | None = None  # superseded: when it is cut if it has not gone
        self.over = False

    def started(self, cut: Callable[[], None], now: float) -> None:
        """The first byte of the stream is on its way; `cut` ends it."""
        self.since, self.cut = now, cut

    def ended(self, sent: int = 0) -> None:
        """The stream is over after `sent` bytes, or never came. A second call does nothing."""
        if not self.over:
            self.over = True
            self.cut = None
            self._accounts.forget(self, sent)


class Accounts:
    """All accounts of this process. `calendar`: seconds since 1970, for dates of expiry."""

    def __init__(
        self,
        source: AccountSource,
        passwords: Passwords,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        calendar: Callable[[], float] = time.time,
    ) -> None:
        # -- collaborators --
        self._source = source
        self._passwords = passwords
        self._config = config
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
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._nobody = ""
        # -- players --
        self._leases: dict[int, dict[Lease, None]] = defaultdict(dict)
        self._superseded: dict[tuple[PlayerKey, str], float] = {}
        self._streams = 0
        self._bytes: dict[int, int] = {}
        # -- counters --
        self.logins_refused = 0
        self.logins_throttled = 0
        self.taken_over = 0

    # -- accounts ----------------------------------------------------------------------------------

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

    def current(self, account: Account) -> Account | None:
        """The account as it is now, None when it was deleted."""
        return self._by_id.get(account.id)

    # -- logins ------------------------------------------------------------------------------------

    def verified(self, username: str, password: str) -> Account | None:
        """The account, if this very pair was found right lately. Costs no hash."""
        account = self._by_name.get(self._folded(username))
        if account is None:
            return None
        pair = self._pair(account, password)
        known = self._pairs.get(pair)
        if known is None or known <= self._clock():
            return None
        self._pairs.move_to_end(pair)
        return account

    async def verify(self, username: str, password: str, address: str) -> Account:
        """The account of this pair. Raises LoginRefused, Throttled, ViewerError 503 (too many at
        once).
        """
        account = self.verified(username, password)
        if account is not None:
            return account
        places = (f"address {_network(address)}", f"name {self._folded(username)[:64]}")
        self._throttle(places)
        account = self._by_name.get(self._folded(username))
        right = False
        if account is not None:
            right = await self._checked(account, password)
        else:
            await self._passwords.verify(self._nobody, password)
        if not right or account is None:
            self._failed(places)
            raise LoginRefused
        self._remember(account, password)
        return account

    async def _checked(self, account: Account, password: str) -> bool:
        """One check for all who ask for the same pair at once: players open many requests."""
        pair = self._pair(account, password)
        task = self._checking.get(pair)
        if task is None:
            task = asyncio.create_task(
                self._passwords.verify(account.password_hash, password), name="check of a password"
            )
            self._checking[pair] = task
            task.add_done_callback(lambda _task: self._checking.pop(pair, None))
        return await asyncio.shield(task)

    def by_token(self, token: str, address: str) -> Account | None:
        """The account that this token stands for. Raises Throttled."""
        account = self._by_token.get(token)
        if account is None:
            places = (f"address {_network(address)}",)
            self._throttle(places)
            self._failed(places)
        return account

    def _pair(self, account: Account, password: str) -> bytes:
        text = f"{account.id}\0{account.password_hash}\0{password}"
        return hmac.digest(self._pepper, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def _remember(self, account: Account, password: str) -> None:
        until = self._clock() + _PAIR_SECONDS
        self._pairs[self._pair(account, password)] = until
        if len(self._pairs) > _PAIRS:
            self._pairs.popitem(last=False)

    def _throttle(self, places: tuple[str, ...]) -> None:
        now = self._clock()
        window = self._config.timeouts.login_window_seconds
        for place in places:
            failures = [at for at in self._failures.get(place, ()) if now - at < window]
            if len(failures) >= self._config.limits.login_failures:
                self.logins_throttled += 1
                raise Throttled(failures[0] + window - now)

    def _failed(self, places: tuple[str, ...]) -> None:
        self.logins_refused += 1
        now = self._clock()
        window = self._config.timeouts.login_window_seconds
        for place in places:
            failures = [at for at in self._failures.pop(place, ()) if now - at < window]
            self._failures[place] = [*failures, now][-self._config.limits.login_failures :]
            if len(self._failures) > _FAILURES:
                self._failures.popitem(last=False)

    # -- players -----------------------------------------------------------------------------------

    def lease(
        self, account: Account, *, address: str, user_agent: str, channel: str, now: float
    ) -> Lease:
        """Ask for a stream. Raises ChannelUnavailable: this player was just taken over on this
        channel, opens too many sockets, or the limit is reached and limits refuse.
        """
        key = PlayerKey(account.id, address, user_agent)
        until = self._superseded.get((key, channel))
        if until is not None and until > now:
            raise ChannelUnavailable("another player took this account's place", retry_after=5)
        leases = self._leases[account.id]
        limits = self._config.limits
        if self._streams >= limits.viewers:
            raise ChannelUnavailable("too many viewers", retry_after=10)
        sockets = sum(lease.key == key for lease in leases)
        if sockets >= limits.sockets_per_player:
            raise ChannelUnavailable("this player has too many streams open", retry_after=2)
        allowed = account.max_connections
        if allowed and self._config.limit_policy == "refuse":
            others = {lease.key for lease in self._counted(account.id, now)} - {key}
            if len(others) >= allowed:
                raise ChannelUnavailable("the account's players are all in use", retry_after=5)
        if allowed and len(leases) >= limits.sockets_per_player * allowed:
            raise ChannelUnavailable("this account has too many streams open", retry_after=2)
        lease = Lease(self, account, key, channel)
        leases[lease] = None
        self._streams += 1
        return lease

    def forget(self, lease: Lease, sent: int) -> None:
        """For the lease: it is over."""
        if sent:
            account_id = lease.key.account_id
            self._bytes[account_id] = self._bytes.get(account_id, 0) + sent
        leases = self._leases.get(lease.key.account_id)
        if leases is not None and lease in leases:
            del leases[lease]
            self._streams -= 1
            if not leases:
                del self._leases[lease.key.account_id]

    def _counted(self, account_id: int, now: float) -> list[Lease]:
        """The streams that count, the oldest first."""
        after = self._config.timeouts.count_after_seconds
        found = [
            lease
            for lease in self._leases.get(account_id, ())
            if lease.since is not None and now - lease.since >= after and lease.leaving_at is None
        ]
        return sorted(found, key=lambda lease: lease.since or 0.0)

    def active(self, account_id: int) -> int:
        """How many players of this account watch: `active_cons`."""
        return len(self._groups(self._counted(account_id, self._clock())))

    @staticmethod
    def _groups(counted: list[Lease]) -> list[list[Lease]]:
        """Streams by what counts as one player: the same key on the same channel."""
        groups: dict[tuple[PlayerKey, str], list[Lease]] = {}
        for lease in counted:
            groups.setdefault((lease.key, lease.channel), []).append(lease)
        return list(groups.values())

    def tick(self, now: float) -> None:
        """Some times a second: end what is not allowed any more, and keep each account's limit."""
        for key in [key for key, until in self._superseded.items() if until <= now]:
            del self._superseded[key]
        for account_id, leases in list(self._leases.items()):
            account = self._by_id.get(account_id)
            for lease in list(leases):
                if account is None or self.status_of(account) != "Active":
                    self._cut(lease)
                elif account.password_hash != lease.account.password_hash:
                    self._cut(lease)  # a new password is meant for those who have the old one
                elif lease.leaving_at is not None and lease.leaving_at <= now:
                    self._cut(lease)
            if account is not None and account.max_connections:
                self._keep_limit(account, now)

    def _keep_limit(self, account: Account, now: float) -> None:
        """At the limit the newest wins: over his own former stream first, then over one from the
        same address, then over the oldest (Xtream reference §11).
        """
        groups = self._groups(self._counted(account.id, now))
        while len(groups) > account.max_connections:
            groups.sort(key=lambda group: group[0].since or 0.0)
            newest = groups[-1][0]
            others = groups[:-1]
            same_key = [group for group in others if group[0].key == newest.key]
            same_address = [g for g in others if g[0].key.address == newest.key.address]
            loser = (same_key or same_address or others)[0]
            groups.remove(loser)
            zapped = loser[0].key == newest.key
            self.taken_over += not zapped
            for lease in loser:
                if zapped:
                    overlap = self._config.timeouts.zap_overlap_seconds
                    lease.leaving_at = (newest.since or now) + overlap
                else:
                    until = now + self._config.timeouts.superseded_seconds
                    self._superseded[lease.key, lease.channel] = until
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
            until = now + self._config.timeouts.superseded_seconds
            self._superseded[key, lease.channel] = until
            self._cut(lease)
        return len(kicked)

    @staticmethod
    def _cut(lease: Lease) -> None:
        cut = lease.cut
        if cut is not None:
            cut()
            lease.ended()


def _network(address: str) -> str:
    """What counts as one address: of IPv6 the /64 that one customer has."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
