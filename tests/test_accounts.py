"""Accounts in memory: logins, leases, and what is not allowed any more."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from account_stage import ANA, Stage

from rawstream.accounts import LoginRefused
from rawstream.config import Limits
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.leases import Lease, PlayerKey
from rawstream.login_guard import Throttled
from rawstream.records import Account

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


async def test_a_token_stands_for_its_account_and_guessing_one_is_slowed() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=2)).reload()
    assert stage.of.by_token("t0k", "a") == ANA
    assert stage.of.by_token("no", "a") is None
    assert stage.of.by_token("no", "a") is None
    with pytest.raises(Throttled):
        stage.of.by_token("no", "a")


async def test_a_token_is_a_password_as_well_and_costs_no_check() -> None:
    stage = await Stage(ANA, dataclasses.replace(ANA, id=2, username="bob", token="")).reload()
    assert stage.of.verified("ana", "t0k") == ANA
    assert stage.of.verified("t0k", "t0k") == ANA
    assert await stage.of.verify("t0k", "t0k", "a") == ANA
    assert stage.passwords.checks == 0
    for name, password in (("bob", "t0k"), ("bob", ""), ("t0k", "pw"), ("t0k", ""), ("", "")):
        assert stage.of.verified(name, password) is None


async def test_case_counts_unless_the_operator_says_otherwise() -> None:
    with pytest.raises(LoginRefused):
        await (await Stage(ANA).reload()).of.verify("ANA", "pw", "a")
    stage = await Stage(ANA, case_sensitive_names=False).reload()
    assert await stage.of.verify("ANA", "pw", "a") == ANA


# -- players --


async def test_many_equal_boxes_behind_one_address_are_not_one_players_sockets() -> None:
    limits = Limits(sockets_per_player=2)
    stage = await Stage(dataclasses.replace(ANA, max_connections=0), limits=limits).reload()
    for _ in range(5):
        stage.play("a")
        stage.wait(6)
    assert stage.of.active(1) == 5


async def test_between_two_ticks_no_more_are_shown_than_may_be() -> None:
    stage = await Stage(ANA).reload()
    stage.play("a", address="1.1.1.1")
    stage.play("a", address="2.2.2.2")
    stage.clock.now += 2.1
    assert stage.of.active(1) == 1


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


@pytest.mark.parametrize("change", [{"enabled": False}, {"kicked_at": 9}])
async def test_what_has_not_begun_is_cut_at_the_tick_after_it_has(change: dict[str, Any]) -> None:
    stage = await Stage(ANA).reload()
    lease = stage.ask("a")
    await stage.change(**change)
    stage.wait(1)
    await stage.change(enabled=True)
    stage.wait(1)
    stage.start(lease)
    assert stage.cut == []
    stage.of.tick(stage.clock.now)
    assert stage.cut == [lease]
    assert lease.over


async def test_a_kick_of_an_account_ends_what_began_before_it() -> None:
    stage = await Stage(dataclasses.replace(ANA, max_connections=0)).reload()
    leases = [stage.play("a"), stage.play("b", address="10.0.0.3")]
    await stage.change(kicked_at=9)
    stage.wait(1)
    assert stage.cut == leases
    with pytest.raises(ChannelUnavailable, match="operator"):
        stage.play("a")
    other = stage.play("b")
    stage.wait(29.5)
    stage.play("a")
    stage.wait(1)
    assert not other.over


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


async def test_where_the_bandwidth_is_used_up_who_watches_may_zap_and_nobody_may_come() -> None:
    stage = await Stage(dataclasses.replace(ANA, max_connections=2)).reload()
    former = stage.play("a")
    stage.crowded = True
    with pytest.raises(ChannelUnavailable) as caught:
        stage.play("a", address="10.0.0.3")
    assert caught.value.retry_after
    stage.play("b")
    former.ended()
    stage.crowded = False
    stage.play("a", address="10.0.0.3")


async def test_a_kicked_player_does_not_come_back_at_once() -> None:
    stage = await Stage(ANA).reload()
    lease = stage.play("a")
    assert stage.of.kick(PlayerKey(1, "10.0.0.2", "Box"), stage.clock.now) == 1
    assert stage.cut == [lease]
    with pytest.raises(ChannelUnavailable):
        stage.play("a")
    assert stage.of.active(1) == 0


async def test_a_kick_of_a_stream_ends_those_of_its_player_on_its_channel_only() -> None:
    stage = await Stage(Account(1, "ana", "hash", max_connections=0)).reload()
    burst = [stage.play("a"), stage.play("a")]
    elsewhere = stage.play("b")
    another = stage.play("a", address="10.0.0.3")
    assert stage.of.kick_stream(burst[0], stage.clock.now) == 2
    assert set(stage.cut) == set(burst)
    with pytest.raises(ChannelUnavailable, match="operator"):
        stage.play("a")
    assert not elsewhere.over and not another.over
    assert stage.of.kick_stream(burst[0], stage.clock.now) == 0, "who is gone is gone"


async def test_a_request_without_a_name_guesses_nothing() -> None:
    """A page opened by hand, a probe: they cost no check and throttle no neighbour."""
    stage = await Stage(ANA, limits=Limits(login_failures=1)).reload()
    for _ in range(3):
        with pytest.raises(LoginRefused):
            await stage.of.verify("", "", "10.0.0.2")
    assert stage.passwords.checks == 0
    assert await stage.of.verify("ana", "pw", "10.0.0.2") == ANA


async def test_what_changes_during_a_check_counts() -> None:
    stage = await Stage(ANA).reload()

    async def checked_while(**values: Any) -> Account:
        stage.passwords.free.clear()
        check = asyncio.create_task(stage.of.verify("ana", "pw", "10.0.0.2"))
        await asyncio.sleep(0)
        await stage.change(**values)
        stage.passwords.free.set()
        return await check

    assert not (await checked_while(enabled=False)).enabled
    stage = await Stage(ANA).reload()
    assert (await checked_while(kicked_at=7)).kicked_at == 7, "else he is kicked once more"
    stage = await Stage(ANA).reload()
    with pytest.raises(LoginRefused):
        await checked_while(password_hash="new")
    stage = await Stage(ANA).reload()
    with pytest.raises(LoginRefused):
        await checked_while(id=2)


@pytest.mark.parametrize("change", [{"password_hash": "new"}, {"token": "new"}])
async def test_a_new_secret_cuts_those_who_have_the_old_one(change: dict[str, str]) -> None:
    stage = await Stage(ANA).reload()
    lease = stage.play("1")
    stage.wait(1)
    assert stage.cut == []
    await stage.change(**change)
    stage.wait(0.25)
    assert stage.cut == [lease]
    stage.play("1")
    stage.wait(1)
    assert stage.cut == [lease], "he may come back"


async def test_of_an_account_that_thousands_watch_a_newcomer_asks_for_his_own_streams_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = await Stage(dataclasses.replace(ANA, max_connections=0)).reload()
    others = [stage.play("1", f"Box {number}") for number in range(50)]
    stage.wait(3)
    asked: list[Lease] = []
    counts = stage.of._policy.counts

    def watched(lease: Lease, now: float) -> bool:
        asked.append(lease)
        return counts(lease, now)

    monkeypatch.setattr(stage.of._policy, "counts", watched)
    first = stage.play("1", "New")
    second = stage.play("2", "New")
    assert asked == [first]
    for lease in (*others, first, second):
        lease.ended()
    assert not stage.of._own
    assert not stage.of._leases
