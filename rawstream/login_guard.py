"""Checks of passwords: what each costs is paid once, and who guesses is slowed.

Owns: the pairs that were found right lately, the checks under way, the failures by address and by
name. Must not know: where accounts come from, tokens, HTTP.

A check costs much on purpose. So a pair that was right is remembered for a while, all who ask for
one pair at once wait for one check, and where so many checks run that they could all fail, the next
one waits for their results.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Set
from typing import Final, NamedTuple

from rawstream.config import Config
from rawstream.errors import ViewerError
from rawstream.passwords import Passwords
from rawstream.records import Account

_PAIRS: Final = 10_000  # verified pairs remembered
_PAIR_SECONDS: Final = 600.0
_FAILURES: Final = 10_000  # addresses and names whose failures are counted
_NAME_LENGTH: Final = 64  # of a name that failures are counted for


class Throttled(ViewerError):
    """Too many failures from this address or for this name."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(429, "too many failed logins", retry_after=max(1, round(retry_after)))


class Place(NamedTuple):
    """Where failures are counted: of an address, and of the `name` that was tried, '' without one.
    `network`: what counts as one address, of IPv6 the /64 that one customer has.
    """

    network: str
    name: str = ""

    @classmethod
    def of(cls, address: str, name: str = "") -> Place:
        return cls(_network(address), name[:_NAME_LENGTH])

    @property
    def keys(self) -> tuple[str, ...]:
        own = f"address {self.network}"
        return (own, f"name {self.name}") if self.name else (own,)


class Attempt(NamedTuple):
    """A login that somebody tries. `account`: that of the name; None: nobody has it."""

    username: str
    password: str
    account: Account | None
    place: Place


class LoginGuard:
    """One per process. `passed` and `failed` are told how each check ended."""

    def __init__(
        self,
        passwords: Passwords,
        config: Config,
        clock: Callable[[], float],
        *,
        passed: Callable[[Account, Place], None],
        failed: Callable[[Place], None],
    ) -> None:
        # -- collaborators --
        self._passwords = passwords
        self._config = config
        self._clock = clock
        self._tell_passed = passed
        self._tell_failed = failed
        # -- pairs --
        self._pepper = secrets.token_bytes(32)
        self._pairs: OrderedDict[bytes, float] = OrderedDict()
        # -- checks --
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._in_flight: dict[str, set[asyncio.Task[bool]]] = defaultdict(set)
        self._queueing = 0
        self._failures: OrderedDict[str, list[float]] = OrderedDict()
        self._nobody = ""
        # -- counters --
        self.refused = 0
        self.throttled = 0

    def set_config(self, config: Config) -> None:
        """Live by other limits from now on."""
        self._config = config

    async def prepare(self) -> None:
        """Before the first check: a name that nobody has costs as much as one that somebody has."""
        if not self._nobody:
            self._nobody = await self._passwords.hash(secrets.token_urlsafe())

    # -- pairs -------------------------------------------------------------------------------------

    def knows(self, username: str, password: str, account: Account) -> bool:
        """Whether this very pair was found right lately. Costs no hash."""
        pair = self._pair(username, password, account)
        known = self._pairs.get(pair)
        if known is None or known <= self._clock():
            return False
        self._remember(pair)
        return True

    def _pair(self, username: str, password: str, account: Account | None) -> bytes:
        who = f"\0{username}" if account is None else f"{account.id}\0{account.password_hash}"
        text = f"{who}\0{password}"
        return hmac.digest(self._pepper, text.encode("utf-8", "surrogatepass"), hashlib.sha256)

    def _remember(self, pair: bytes) -> None:
        self._pairs[pair] = self._clock() + _PAIR_SECONDS
        self._pairs.move_to_end(pair)
        if len(self._pairs) > _PAIRS:
            self._pairs.popitem(last=False)

    # -- checks ------------------------------------------------------------------------------------

    def check(self, attempt: Attempt) -> asyncio.Task[bool] | None:
        """The check of this pair, one for all who ask for the same at once: players open many
        requests. It goes on, and counts, when they leave. None: there has to be a `turn` first.
        Raises Throttled.
        """
        pair = self._pair(attempt.username, attempt.password, attempt.account)
        check = self._checking.get(pair)
        if check is None and not self._unsettled(attempt.place):
            check = self._begin(pair, attempt)
        return check

    async def turn(self, place: Place) -> None:
        """Until one of the checks that may all fail is over. Raises Throttled, ViewerError 503 (too
        many at once).
        """
        if self._queueing >= self._config.limits.password_queue:
            raise ViewerError(503, "too many logins at once", retry_after=2)
        self._queueing += 1
        try:
            checks = self._unsettled(place)
            await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._queueing -= 1

    def _begin(self, pair: bytes, attempt: Attempt) -> asyncio.Task[bool]:
        account, place = attempt.account, attempt.place
        hashed = self._nobody if account is None else account.password_hash
        check = asyncio.create_task(
            self._passwords.verify(hashed, attempt.password), name="check of a password"
        )
        self._checking[pair] = check
        for key in place.keys:
            self._in_flight[key].add(check)

        def settle(check: asyncio.Task[bool]) -> None:
            del self._checking[pair]
            for key in place.keys:
                self._in_flight[key].discard(check)
                if not self._in_flight[key]:
                    del self._in_flight[key]
            if check.cancelled() or check.exception() is not None:
                return  # nothing was found out
            if check.result() and account is not None:
                self._remember(pair)
                self._tell_passed(account, place)
            else:
                self._failed(place)

        check.add_done_callback(settle)
        return check

    def _unsettled(self, place: Place) -> Set[asyncio.Task[bool]]:
        """Checks to wait for: if all that run fail, there are as many failures as may be. Raises
        Throttled when there are already.
        """
        now = self._clock()
        window = self._config.timeouts.login_window_seconds
        allowed = self._config.limits.login_failures
        found: set[asyncio.Task[bool]] = set()
        for key in place.keys:
            failures = [at for at in self._failures.get(key, ()) if now - at < window]
            if len(failures) >= allowed:
                self.throttled += 1
                raise Throttled(failures[0] + window - now)
            checks = self._in_flight.get(key, set())
            if len(failures) + len(checks) >= allowed:
                found |= checks
        return found

    # -- failures ----------------------------------------------------------------------------------

    def guessed(self, place: Place) -> None:
        """Count what was wrong without a check. Raises Throttled instead after too many."""
        self._unsettled(place)
        self._failed(place)

    def _failed(self, place: Place) -> None:
        self.refused += 1
        self._tell_failed(place)
        now = self._clock()
        window = self._config.timeouts.login_window_seconds
        for key in place.keys:
            failures = [at for at in self._failures.pop(key, ()) if now - at < window]
            self._failures[key] = [*failures, now][-self._config.limits.login_failures :]
            if len(self._failures) > _FAILURES:
                self._failures.popitem(last=False)


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
