"""What is told of who watched what: a film is one sitting, however often its player seeks."""

from __future__ import annotations

import pytest
from account_stage import Stage, film_of

from rawstream.records import Account


@pytest.mark.parametrize("policy", ["take over", "refuse"])
async def test_a_player_who_seeks_in_a_film_is_one_however_late(policy: str) -> None:
    account = Account(1, "ana", "pw", max_connections=1)
    stage = await Stage(account, limit_policy=policy).reload()
    told: list[tuple[str, str]] = []
    stage.of.on_activity = lambda kind, **more: told.append((kind, more["text"]))
    first = film_of(stage)
    for _ in range(20):
        stage.clock.now += 60
        second = film_of(stage)
        stage.of.tick(stage.clock.now)
        stage.clock.now += 10
        stage.of.tick(stage.clock.now)
        assert (stage.of.active(1), stage.cut) == (1, [])
        second.ended(10)
    first.ended(100)
    stage.clock.now += 10
    stage.of.tick(stage.clock.now)
    again = film_of(stage)  # a seek closes one stream before it opens the next
    again.ended(1)
    assert told == [("play", "VLC")]
    stage.clock.now += 15
    stage.of.tick(stage.clock.now)
    assert told[1:] == [("stop", "301 bytes in 1410 s")]
    film_of(stage)
    assert told[2:] == [("play", "VLC")]
    assert stage.of.take_bytes() == {1: 301}


async def test_what_was_watched_is_told_at_the_end() -> None:
    stage = await Stage(Account(1, "ana", "pw")).reload()
    told: list[str] = []
    stage.of.on_activity = lambda kind, **_: told.append(kind)
    film_of(stage).ended(1)
    stage.of.settle(float("inf"))
    assert told == ["play", "stop"]
