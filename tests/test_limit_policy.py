"""Who counts as a player, and who gives way at a limit, as the accounts live by it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from account_stage import ANA, Stage, film_of

from rawstream.errors import ChannelUnavailable
from rawstream.leases import Lease
from rawstream.records import Account


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


async def test_there_and_back_in_a_moment_leaves_the_one_that_is_watched() -> None:
    for policy in ("take over", "refuse"):
        stage = await Stage(ANA, limit_policy=policy).reload()
        leases = []
        for channel in "aba":
            leases.append(stage.play(channel))
            stage.clock.now += 0.05
        stage.wait(10)
        assert stage.cut == [leases[1]], policy
        assert stage.of.active(1) == 1


async def test_equal_boxes_behind_one_address_are_players_each() -> None:
    stage = await Stage(dataclasses.replace(ANA, max_connections=2)).reload()
    leases = []
    for number in range(3):
        leases.append(stage.play("a"))
        stage.play("a")  # a second socket of the same burst
        stage.wait(4)
        assert stage.of.active(1) == min(number + 1, 2)
        stage.wait(3)
    assert leases[0] in stage.cut
    assert not leases[1].over
    assert not leases[2].over


async def test_who_was_taken_over_may_return_when_the_other_has_left() -> None:
    stage = await Stage(ANA).reload()
    stage.play("a", address="10.0.0.2")
    stage.wait(5)
    new = stage.play("a", address="10.0.0.3")
    stage.wait(3)
    with pytest.raises(ChannelUnavailable):
        stage.play("a", address="10.0.0.2")
    new.ended()
    stage.play("a", address="10.0.0.2")


async def test_two_equal_boxes_behind_one_address_do_not_push_each_other_out_for_ever() -> None:
    stage = await Stage(ANA).reload()
    first = stage.play("a")
    stage.wait(10)
    second = stage.play("a")
    stage.wait(3)
    assert stage.cut == [first]
    with pytest.raises(ChannelUnavailable):
        stage.play("a")
    stage.wait(5)
    assert not second.over


async def test_a_zap_away_and_back_is_never_refused() -> None:
    stage = await Stage(ANA).reload()
    stage.play("a")
    stage.wait(100)
    for channel in "babacab":  # none of the former streams is left by the player
        stage.play(channel)
        stage.wait(1)
    stage.wait(4)
    for channel in "acaba":
        stage.play(channel)
        stage.wait(3)
    assert stage.of.active(1) == 1


@pytest.mark.parametrize("policy", ["take over", "refuse"])
async def test_by_requests_a_zap_away_and_back_ends_the_other_channel(policy: Any) -> None:
    """He holds no connection: only what he asks for tells where he is."""
    stage = await Stage(ANA, limit_policy=policy).reload()

    def watch(channel: str) -> Lease:
        lease = stage.of.lease(
            ANA,
            address="10.0.0.2",
            user_agent="Box",
            channel=channel,
            now=stage.clock.now,
            by_requests=True,
        )
        lease.by_requests(lease.ended)
        return stage.start(lease)

    first = watch("a")
    stage.wait(10)
    other = watch("b")
    stage.wait(1)
    assert first.asked(stage.clock.now)
    stage.wait(10)
    assert stage.cut == [other]
    other = watch("b")
    stage.wait(2.5)
    assert not first.asked(stage.clock.now), "he left it, and is to come anew"
    first.ended()
    first = watch("a")
    stage.wait(10)
    assert (first.over, other.over, stage.of.active(1)) == (False, True, 1)


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
    stage.wait(6)
    assert [lease.channel for lease in stage.cut] == ["a"]
    with pytest.raises(ChannelUnavailable):  # an equal box is another player
        stage.play("b", address="1.1.1.1")


async def test_where_limits_refuse_the_first_stays_whoever_came_at_the_same_time() -> None:
    stage = await Stage(dataclasses.replace(ANA, max_connections=2), limit_policy="refuse").reload()
    leases = []
    for number in range(4):
        leases.append(stage.play("a", address=f"10.0.0.{number}"))
        stage.clock.now += 0.1
    again = stage.play("a", address="10.0.0.0")  # of the first player's own burst
    stage.wait(3)
    assert set(stage.cut) == {leases[2], leases[3]}
    assert not again.over
    with pytest.raises(ChannelUnavailable):
        stage.play("a", address="10.0.0.3")


async def test_no_limit_is_no_limit() -> None:
    stage = Stage(dataclasses.replace(ANA, max_connections=0))
    await stage.reload()
    for number in range(20):
        stage.play("a", address=f"10.0.0.{number}")
    stage.wait(5)
    assert stage.of.active(1) == 20


async def test_another_film_or_another_player_is_not_the_same_sitting() -> None:
    stage = await Stage(Account(1, "ana", "pw", max_connections=1)).reload()
    first = film_of(stage)
    stage.clock.now += 10
    film_of(stage, "901")
    stage.clock.now += 3
    stage.of.tick(stage.clock.now)
    stage.clock.now += 3
    stage.of.tick(stage.clock.now)
    assert stage.cut == [first]  # a zap's former channel
    stage.clock.now += 10
    film_of(stage, "901", agent="mpv")
    stage.clock.now += 10
    stage.of.tick(stage.clock.now)
    assert len(stage.cut) == 2
