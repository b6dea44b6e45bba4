"""What checks of passwords cost, and how guessing is slowed, as the accounts ask for them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from account_stage import ANA, Stage

from rawstream.accounts import LoginRefused
from rawstream.config import Limits
from rawstream.errors import ViewerError
from rawstream.login_guard import Throttled
from rawstream.records import Account


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


async def test_a_pair_that_is_used_is_remembered_on() -> None:
    stage = await Stage(ANA).reload()
    await stage.of.verify("ana", "pw", "a")
    for _ in range(5):
        stage.clock.now += 500
        assert stage.of.verified("ana", "pw") == ANA
    stage.clock.now += 601
    assert stage.of.verified("ana", "pw") is None


async def test_one_wrong_pair_asked_many_times_at_once_is_one_failure() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=2)).reload()
    for name in ("ana", "nobody"):
        asked = (stage.of.verify(name, "typo", name) for _ in range(6))
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(error) for error in found] == [LoginRefused] * 6
    assert stage.passwords.checks == 2
    assert stage.of.logins_refused == 2
    assert await stage.of.verify("ana", "pw", "ana") == ANA


async def test_guesses_at_once_are_no_more_than_guesses_in_a_row() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=3)).reload()
    stage.passwords.free.clear()
    guesses = [asyncio.create_task(stage.of.verify("ana", f"{n}", "a")) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stage.passwords.checks == 3
    stage.passwords.free.set()
    found = await asyncio.gather(*guesses, return_exceptions=True)
    assert stage.passwords.checks == 3
    assert [type(error) for error in found].count(Throttled) == 17


async def test_many_who_are_right_at_once_are_all_let_in() -> None:
    people = [Account(number, f"u{number}", f"pw{number}") for number in range(1, 21)]
    stage = await Stage(*people, limits=Limits(login_failures=3)).reload()
    asked = (stage.of.verify(one.username, one.password_hash, "a") for one in people)
    assert await asyncio.gather(*asked) == people


async def test_who_waits_for_others_checks_waits_in_a_bounded_queue() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=1, password_queue=1)).reload()
    stage.passwords.free.clear()
    guesses = [asyncio.create_task(stage.of.verify("ana", f"{n}", "a")) for n in range(3)]
    await asyncio.sleep(0)
    stage.passwords.free.set()
    found = await asyncio.gather(*guesses, return_exceptions=True)
    assert [getattr(error, "status", None) for error in found] == [403, 429, 503]


async def test_a_check_that_nobody_waits_for_any_more_still_counts() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=1)).reload()
    stage.passwords.free.clear()
    guess = asyncio.create_task(stage.of.verify("ana", "guess", "a"))
    await asyncio.sleep(0)
    guess.cancel()
    await asyncio.gather(guess, return_exceptions=True)
    stage.passwords.free.set()
    with pytest.raises(Throttled):
        await stage.of.verify("ana", "other", "a")


async def test_a_check_that_could_not_be_made_is_no_failure_and_no_noise() -> None:
    stage = await Stage(ANA, limits=Limits(login_failures=1)).reload()
    heard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: heard.append(told))
    stage.passwords.free.clear()
    stage.passwords.failure = ViewerError(503, "too many logins at once")
    left = asyncio.create_task(stage.of.verify("ana", "pw", "a"))
    stays = asyncio.create_task(stage.of.verify("ana", "pw", "a"))
    await asyncio.sleep(0)
    left.cancel()
    stage.passwords.free.set()
    with pytest.raises(ViewerError, match="at once"):
        await stays
    stage.passwords.failure = None
    assert await stage.of.verify("ana", "pw", "a") == ANA
    assert heard == []
