"""Logins, and the count of players, with a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
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

    def __init__(self) -> None:
        self.free = asyncio.Event()  # checks wait for it
        self.free.set()
        self.failure: Exception | None = None

    async def hash(self, password: str) -> str:
        return password

    async def verify(self, hashed: str, password: str) -> bool:
        self.checks += 1
        await self.free.wait()
        if self.failure is not None:
            raise self.failure
        return hashed == password


class Stage:
    def __init__(self, *accounts: Account, **settings: Any) -> None:
        self.clock = Clock()
        self.rows = list(accounts)
        self.passwords: Any = FakePasswords()
        self.cut: list[Lease] = []
        self.crowded = False
        self.of = Accounts(
            self,
            self.passwords,
            Config(**settings),
            crowded=lambda: self.crowded,
            clock=self.clock,
            calendar=lambda: 5000.0,
        )

    async def accounts(self) -> list[Account]:
        return self.rows

    async def reload(self) -> Stage:
        await self.of.reload()
        return self

    def ask(self, channel: str, agent: str = "Box", address: str = "10.0.0.2") -> Lease:
        return self.of.lease(
            self.rows[0], address=address, user_agent=agent, channel=channel, now=self.clock.now
        )

    def start(self, lease: Lease) -> Lease:
        lease.started(lambda: self.cut.append(lease), self.clock.now)
        return lease

    def play(self, channel: str, agent: str = "Box", address: str = "10.0.0.2") -> Lease:
        return self.start(self.ask(channel, agent, address))

    async def change(self, **values: Any) -> None:
        self.rows = [dataclasses.replace(self.rows[0], **values)]
        await self.of.reload()

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


async def test_a_pair_that_is_used_is_remembered_on() -> None:
    stage = await Stage(ANA).reload()
    await stage.of.verify("ana", "pw", "a")
    for _ in range(5):
        stage.clock.now += 500
        assert stage.of.verified("ana", "pw") == ANA
    stage.clock.now += 601
    assert stage.of.verified("ana", "pw") is None


async def test_a_token_is_a_password_as_well_and_costs_no_check() -> None:
    stage = await Stage(ANA, dataclasses.replace(ANA, id=2, username="bob", token="")).reload()
    assert stage.of.verified("ana", "t0k") == ANA
    assert stage.of.verified("t0k", "t0k") == ANA
    assert await stage.of.verify("t0k", "t0k", "a") == ANA
    assert stage.passwords.checks == 0
    for name, password in (("bob", "t0k"), ("bob", ""), ("t0k", "pw"), ("t0k", ""), ("", "")):
        assert stage.of.verified(name, password) is None


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


def film_of(stage: Stage, film: str = "900", agent: str = "VLC") -> Lease:
    """A stream of a film that begins now."""
    account = stage.of._by_name["ana"]
    lease = stage.of.lease(
        account, address="10.0.0.1", user_agent=agent, channel=film, now=stage.clock.now, film=True
    )
    lease.started(lambda: stage.cut.append(lease), stage.clock.now)
    return lease


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


async def test_what_was_watched_is_told_at_the_end() -> None:
    stage = await Stage(Account(1, "ana", "pw")).reload()
    told: list[str] = []
    stage.of.on_activity = lambda kind, **_: told.append(kind)
    film_of(stage).ended(1)
    stage.of.settle(float("inf"))
    assert told == ["play", "stop"]


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
    counts = stage.of._counts

    def watched(lease: Lease, now: float) -> bool:
        asked.append(lease)
        return counts(lease, now)

    monkeypatch.setattr(stage.of, "_counts", watched)
    first = stage.play("1", "New")
    second = stage.play("2", "New")
    assert asked == [first]
    for lease in (*others, first, second):
        lease.ended()
    assert not stage.of._own
    assert not stage.of._leases
