"""Who may watch, and how many at once: accounts in memory, their logins and leases (design §6).

Owns: the accounts as they are now, which of them a login or a token means, the leases that are
open, and that those end which are not allowed any more. Must not know: HTTP, SQL, how a stream is
carried, how a check of a password is paid for (`login_guard`), who gives way to whom
(`limit_policy`).

Time is an argument: seconds on the monotonic clock; only dates of expiry are on the calendar's.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import time
from collections.abc import Callable, Collection
from typing import Protocol

from rawstream.config import Config
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.leases import Lease, PlayerKey
from rawstream.limit_policy import LimitPolicy
from rawstream.login_guard import Attempt, LoginGuard, Place
from rawstream.passwords import Passwords
from rawstream.records import Account
from rawstream.sittings import Sittings


class AccountSource(Protocol):
    async def accounts(self) -> list[Account]: ...


class LoginRefused(ViewerError):
    """Wrong user or password, which of them is not said."""

    def __init__(self) -> None:
        super().__init__(403, "wrong username or password")


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
        self._config = config
        self._crowded = crowded
        self._clock = clock
        self._calendar = calendar
        self._policy = LimitPolicy(config)
        self._guard = LoginGuard(
            passwords, config, clock, passed=self._logged_in, failed=self._login_failed
        )
        self._sittings = Sittings(lambda kind, **fields: self.on_activity(kind, **fields))
        # -- accounts --
        self._by_name: dict[str, Account] = {}
        self._by_id: dict[int, Account] = {}
        self._by_token: dict[str, Account] = {}
        # -- players --
        self._leases: dict[int, dict[Lease, None]] = {}
        # the same by player: thousands may watch with one account
        self._own: dict[PlayerKey, dict[Lease, None]] = {}
        self._numbers = itertools.count(1)
        self._streams = 0
        self._bytes: dict[int, int] = {}
        # told of what happens: a kind of `records.Activity`, and its fields by name
        self.on_activity: Callable[..., None] = lambda _kind, **_fields: None

    # -- accounts ----------------------------------------------------------------------------------

    def set_config(self, config: Config) -> None:
        """Live by other limits and policies from now on; who watches, watches on."""
        self._config = config
        self._policy.set_config(config)
        self._guard.set_config(config)

    async def reload(self) -> None:
        """Read all accounts again. Streams that are not allowed any more end at the next tick."""
        found = await self._source.accounts()
        self._by_name = {self._folded(account.username): account for account in found}
        self._by_id = {account.id: account for account in found}
        self._by_token = {account.token: account for account in found if account.token}
        await self._guard.prepare()

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
        return account if self._guard.knows(username, password, account) else None

    async def verify(self, username: str, password: str, address: str) -> Account:
        """The account of this pair. Raises LoginRefused, Throttled, ViewerError 503 (too many at
        once).
        """
        if not username:  # a probe or a page opened by hand guesses nothing
            raise LoginRefused
        place = Place.of(address, self._folded(username))
        while True:
            account = self.verified(username, password)
            if account is not None:
                return account
            account = self._by_name.get(self._folded(username))
            check = self._guard.check(Attempt(username, password, account, place))
            if check is not None:
                break
            await self._guard.turn(place)
        if await asyncio.shield(check) and account is not None:
            # it may have been disabled, kicked or deleted meanwhile
            now = self.current(account)
            if now is not None and now.password_hash == account.password_hash:
                return now
        raise LoginRefused

    def by_token(self, token: str, address: str) -> Account | None:
        """The account that this token stands for. Raises Throttled."""
        account = self._by_token.get(token)
        if account is None:
            self._guard.guessed(Place.of(address))
        return account

    def _logged_in(self, account: Account, place: Place) -> None:
        self.on_activity("login", account=account.username, address=place.network)

    def _login_failed(self, place: Place) -> None:
        # a name that nobody has may be a password that was typed in the wrong field
        known = self._by_name.get(place.name)
        name = known.username if known is not None else ""
        self.on_activity("login refused", account=name, address=place.network)

    @property
    def logins_refused(self) -> int:
        return self._guard.refused

    @property
    def logins_throttled(self) -> int:
        return self._guard.throttled

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
        refused = self._policy.refused(key, channel, self._of(account.id), now)
        if refused:
            raise ChannelUnavailable(refused, retry_after=5)
        self._drop_left(key, channel, now, by_requests=by_requests)
        leases, own = self._of(account.id), self._own.get(key, {})
        limits = self._config.limits
        if self._streams >= limits.viewers:
            raise ChannelUnavailable("too many viewers", retry_after=10)
        if self._crowded() and not any(lease.cut for lease in own):
            raise ChannelUnavailable("the bandwidth is used up", retry_after=10)
        if sum(not self._policy.counts(lease, now) for lease in own) >= limits.sockets_per_player:
            raise ChannelUnavailable("this player has too many streams open", retry_after=2)
        allowed = account.max_connections
        if allowed and self._policy.turns_away(key, channel, leases, allowed, now, film=film):
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
            if (same and not by_requests) or (not same and not self._policy.counts(lease, now)):
                lease.drop()

    def _of(self, account_id: int) -> Collection[Lease]:
        return self._leases.get(account_id, ())

    def began(self, lease: Lease) -> None:
        """For the lease: its player gets bytes."""
        self._sittings.began(lease)

    def settle(self, now: float) -> None:
        """Tell of the films that were left a while before `now`."""
        self._sittings.settle(now)

    def forget(self, lease: Lease, sent: int) -> None:
        """For the lease: it is over."""
        self._sittings.ended(lease, sent, self._clock())
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

    def active(self, account_id: int) -> int:
        """How many players of this account watch: `active_cons`. Never above its limit."""
        if account_id not in self._leases:
            return 0
        now = self._clock()
        account = self._by_id.get(account_id)
        if account is not None and account.max_connections:
            self._keep_limit(account, now)
        return len(self._policy.players(self._of(account_id), now))

    @property
    def taken_over(self) -> int:
        """How many players were cut for newer ones."""
        return self._policy.taken_over

    def tick(self, now: float) -> None:
        """Some times a second: end what is not allowed any more, and keep each account's limit."""
        self._policy.tick(now)
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
        leases = self._of(account.id)
        for lease in self._policy.too_many(leases, account.max_connections, now):
            self._cut(lease)

    def take_bytes(self) -> dict[int, int]:
        """Bytes of streams that ended since the last call, by account id."""
        taken, self._bytes = self._bytes, {}
        return taken

    def kick(self, key: PlayerKey, now: float) -> int:
        """End all streams of a player; he can't come back to these channels at once. Returns how
        many.
        """
        kicked = [lease for lease in self._of(key.account_id) if lease.key == key]
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
        self._policy.kicked(lease, now)
        self._cut(lease)

    @staticmethod
    def _cut(lease: Lease) -> None:
        """End a stream; one that has not begun yet ends at the tick after it has."""
        lease.revoked = True
        cut = lease.cut
        if cut is not None:
            cut()
            lease.ended()


def _secrets_of(account: Account) -> tuple[str, str]:
    return account.password_hash, account.token


def _same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode(errors="replace"))
