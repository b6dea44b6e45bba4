"""Logins, and the count of players, with a clock that stands still until it is moved."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from wire import Clock

from rawstream.accounts import Accounts, Lease, LoginRefused, PlayerKey, Throttled
from rawstream.config import Config, Limits
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.records import Account


class FakePasswords:
    """Hash and password are the same text; counts what a check would have cost."""

    checks = 0

    async def hash(self, password: str) -> str:
        return password

    async def verify(self, hashed: str, password: str) -> bool:
        self.checks += 1
        return hashed == password


class Stage:
    def __init__(self, *accounts: Account, **settings: Any) -> None:
        self.clock = Clock()
        self.rows = list(accounts)
        self.passwords: Any = FakePasswords()
        self.cut: list[Lease] = []
        self.of = Accounts(
            self, self.passwords, Config(**settings), clock=self.clock, calendar=lambda: 5000.0
        )

    async def accounts(self) -> list[Account]:
        return self.rows

    async def reload(self) -> Stage:
        await self.of.reload()
        return self

    def play(self, channel: str, agent: str = "Box", address: str = "10.0.0.2") -> Lease:
        lease = self.of.lease(
            self.rows[0], address=address, user_agent=agent, channel=channel, now=self.clock.now
        )
        lease.started(lambda: self.cut.append(lease), self.clock.now)
        return lease

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.now += 0.25
            self.of.tick(self.clock.now)


ANA = Account(1, "ana", "pw", token="t0k", max_connections=1)


# -- logins --


async def test_a_pair_that_was_right_costs_one_check() -> None:
    stage = await Stage(ANA).reload()
    for _ in range(5):
        assert await stage.of.verify("ana", "pw", "10.0.0.2") == ANA
    assert stage.passwords.checks == 1
    assert stage.of.verified("ana", "pw") == ANA
    assert stage.of.verified("ana", "no") is None
    assert stage.of.verified("bob", "pw") is None


async def test_a_changed_password_ends_the_memory_of_the_old_one() -> None:
    stage = await Stage(ANA).reload()
    await stage.of.verify("ana", "pw", "a")
    stage.rows = [dataclasses.replace(ANA, password_hash="new")]
    await stage.of.reload()
    assert stage.of.verified("ana", "pw") is None
    with pytest.raises(LoginRefused):
        await stage.of.verify("ana", "pw", "a")


async def test_an_unknown_name_costs_a_check_as_well() -> None:
    stage = await Stage(ANA).reload()
    with pytest.raises(LoginRefused):
        await stage.of.verify("nobody", "pw", "a")
    assert stage.passwords.checks == 1


@pytest.mark.parametrize("other", ["10.0.0.2", "192.0.2.1"])
async def test_guessing_is_slowed_and_a_known_pair_is_not(other: str) -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=3)).reload()
    await stage.of.verify("ana", "pw", "10.0.0.2")
    for _ in range(3):
        with pytest.raises(LoginRefused):
            await stage.of.verify("ana", "guess", "10.0.0.2")
    with pytest.raises(Throttled) as caught:
        await stage.of.verify("ana", "guess2", other)
    assert caught.value.status == 429
    assert caught.value.retry_after == 300
    assert await stage.of.verify("ana", "pw", "10.0.0.2") == ANA
    stage.clock.now += 301
    with pytest.raises(LoginRefused):
        await stage.of.verify("ana", "guess3", other)


async def test_of_ipv6_a_whole_network_is_one_address() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=2)).reload()
    for number in range(2):
        with pytest.raises(LoginRefused):
            await stage.of.verify(f"x{number}", "guess", f"2001:db8::{number}")
    with pytest.raises(Throttled):
        await stage.of.verify("y", "guess", "2001:db8::ffff")
    with pytest.raises(LoginRefused):
        await stage.of.verify("y", "guess", "2001:db8:0:1::1")


async def test_a_token_stands_for_its_account_and_guessing_one_is_slowed() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=2)).reload()
    assert stage.of.by_token("t0k", "a") == ANA
    assert stage.of.by_token("no", "a") is None
    assert stage.of.by_token("no", "a") is None
    with pytest.raises(Throttled):
        stage.of.by_token("no", "a")


async def test_case_counts_unless_the_operator_says_otherwise() -> None:
    with pytest.raises(LoginRefused):
        await (await Stage(ANA).reload()).of.verify("ANA", "pw", "a")
    stage = await Stage(ANA, case_sensitive_names=False).reload()
    assert await stage.of.verify("ANA", "pw", "a") == ANA


# -- players --


async def test_fifty_zaps_at_one_connection_are_never_refused_and_never_counted_twice() -> None:
    stage = await Stage(ANA).reload()
    former: Lease | None = None
    for number in range(50):
        lease = stage.play(f"channel {number % 7}")
        stage.wait(0.25)
        if former is not None and number % 3:  # some players leave the former late, or never
            former.ended()
        stage.wait((number % 12) * 0.25)
        assert stage.of.active(1) <= 1
        former = lease
    stage.wait(6)
    assert stage.of.active(1) == 1
    assert former not in stage.cut


async def test_a_zap_cuts_the_former_stream_only_if_the_player_does_not() -> None:
    stage = await Stage(ANA).reload()
    first = stage.play("a")
    stage.wait(10)
    second = stage.play("b")
    stage.wait(2.75)
    assert stage.cut == []
    stage.wait(0.5)
    assert stage.cut == [first]
    assert not second.over


async def test_probes_do_not_count() -> None:
    stage = await Stage(ANA).reload()
    playing = stage.play("a")
    stage.wait(5)
    for _ in range(4):
        stage.play("b", agent="Other").ended()
    stage.wait(5)
    assert stage.cut == []
    assert not playing.over


async def test_the_newest_player_takes_over_and_the_other_does_not_push_back() -> None:
    stage = await Stage(ANA).reload()
    old = stage.play("a", address="10.0.0.2")
    stage.wait(5)
    new = stage.play("a", address="10.0.0.3")
    stage.wait(3)
    assert stage.cut == [old]
    with pytest.raises(ChannelUnavailable):
        stage.play("a", address="10.0.0.2")
    assert not new.over
    stage.play("b", address="10.0.0.2").ended()
    stage.wait(30)
    stage.play("a", address="10.0.0.2")


async def test_two_players_fit_where_there_is_room_and_the_oldest_goes_when_not() -> None:
    stage = Stage(dataclasses.replace(ANA, max_connections=2))
    await stage.reload()
    first = stage.play("a", address="1.1.1.1")
    stage.wait(3)
    second = stage.play("a", address="2.2.2.2")
    stage.wait(3)
    assert (stage.of.active(1), stage.cut) == (2, [])
    stage.play("a", address="2.2.2.2", agent="Third")
    stage.wait(3)
    assert stage.cut == [second], "of the same address before the oldest"
    assert not first.over


async def test_limits_may_refuse_instead() -> None:
    stage = await Stage(ANA, limit_policy="refuse").reload()
    stage.play("a", address="1.1.1.1")
    stage.wait(3)
    with pytest.raises(ChannelUnavailable) as caught:
        stage.play("a", address="2.2.2.2")
    assert caught.value.retry_after
    stage.play("b", address="1.1.1.1")  # a zap of the same player is never refused


async def test_no_limit_is_no_limit() -> None:
    stage = Stage(dataclasses.replace(ANA, max_connections=0))
    await stage.reload()
    for number in range(20):
        stage.play("a", address=f"10.0.0.{number}")
    stage.wait(5)
    assert stage.of.active(1) == 20


@pytest.mark.parametrize(
    "change",
    [{"enabled": False}, {"expires_at": 4999}, {"password_hash": "new"}, None],
    ids=["disabled", "expired", "new password", "deleted"],
)
async def test_what_is_not_allowed_any_more_is_cut(change: dict[str, Any] | None) -> None:
    stage = await Stage(ANA).reload()
    lease = stage.play("a")
    stage.wait(1)
    stage.rows = [] if change is None else [dataclasses.replace(ANA, **change)]
    await stage.of.reload()
    stage.of.tick(stage.clock.now)
    assert stage.cut == [lease]
    assert lease.over


async def test_the_sockets_of_a_burst_are_bounded() -> None:
    stage = await Stage(ANA, limits=Limits(sockets_per_player=3)).reload()
    leases = [stage.play("a") for _ in range(3)]
    with pytest.raises(ViewerError):
        stage.play("a")
    leases[0].ended()
    leases[0].ended()
    stage.play("a")


async def test_all_viewers_together_are_bounded() -> None:
    stage = Stage(dataclasses.replace(ANA, max_connections=0), limits=Limits(viewers=2))
    await stage.reload()
    stage.play("a")
    stage.play("b").ended()
    stage.play("b")
    with pytest.raises(ViewerError):
        stage.play("c")


async def test_a_kicked_player_does_not_come_back_at_once() -> None:
    stage = await Stage(ANA).reload()
    lease = stage.play("a")
    assert stage.of.kick(PlayerKey(1, "10.0.0.2", "Box"), stage.clock.now) == 1
    assert stage.cut == [lease]
    with pytest.raises(ChannelUnavailable):
        stage.play("a")
    assert stage.of.active(1) == 0
