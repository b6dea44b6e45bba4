"""Viewers on hold: who is let in, who is refused, who gave up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from stage import until
from test_film_viewer import FakeExchange
from test_watchers import FakeLease

from rawstream.config import Timeouts
from rawstream.http1 import Headers, Request
from rawstream.waiting_room import (
    _RELEASED_PER_TURN,
    Waiting,
    WaitingRoom,
    asks_again,
    hold_seconds,
)

IMPATIENT = {"user-agent": "TiviMate/4.7.0"}


class Door:
    """A room, and who has come out of it."""

    def __init__(self) -> None:
        self.inside: list[Waiting] = []
        self.left = 0
        self.room = WaitingRoom(self.inside.append, on_left=self._left)

    def _left(self) -> None:
        self.left += 1

    def comes(self, deadline: float = 10.0, headers: Headers = ()) -> tuple[Waiting, FakeExchange]:
        exchange = FakeExchange()
        waiting = Waiting(cast(Any, exchange), headers, deadline, "ana", cast(Any, FakeLease()))
        self.room.add(waiting)
        return waiting, exchange


def ends(waiting: Waiting) -> int:
    return len(cast(FakeLease, waiting.lease).ends)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"accept-encoding": "identity", "icy-metadata": "1"}, True),
        ({"accept-encoding": "identity", "icy-metadata": "1", "range": "bytes=0-"}, False),
        ({"accept-encoding": "identity"}, False),
        ({"user-agent": "TiviMate/4.7.0"}, True),
        ({"user-agent": "ExoPlayerLib/2.19.1"}, True),
        ({"user-agent": "Lavf/59.27.100", "icy-metadata": "1", "range": "bytes=0-"}, False),
        ({"user-agent": "VLC/3.0.24 LibVLC/3.0.24", "range": "bytes=0-"}, False),
        ({}, False),
    ],
)
def test_players_that_give_up_and_ask_again_are_known_by_their_requests(
    headers: dict[str, str], expected: bool
) -> None:
    assert asks_again(Request("GET", "/", headers)) is expected


def test_a_player_that_gives_up_soon_is_kept_shorter() -> None:
    timeouts = Timeouts(hold_impatient_seconds=6.5, hold_seconds=60.0)
    assert hold_seconds(Request("GET", "/", IMPATIENT), timeouts) == 6.5
    assert hold_seconds(Request("GET", "/", {}), timeouts) == 60.0


async def test_who_waits_is_let_in_first_come_first_served_some_per_turn() -> None:
    door = Door()
    came = [door.comes()[0] for _ in range(_RELEASED_PER_TURN + 1)]
    door.room.release_soon()
    door.room.release_soon()
    assert door.inside == []
    await asyncio.sleep(0)
    assert door.inside == came[:-1]
    await until(lambda: door.inside == came, "the last one's turn")
    assert len(door.room) == 0


async def test_one_who_can_not_be_let_in_keeps_nobody_out() -> None:
    inside: list[Waiting] = []

    def let_in(waiting: Waiting) -> None:
        if waiting is first:
            raise ConnectionError
        inside.append(waiting)

    door = Door()
    door.room = WaitingRoom(let_in, on_left=lambda: None)
    faults: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    first, second = door.comes()[0], door.comes()[0]
    door.room.release_soon()
    await until(lambda: inside == [second], "the second one's turn")
    assert len(faults) == 1


def test_who_gives_up_gives_his_lease_back_and_is_not_let_in() -> None:
    door = Door()
    waiting, exchange = door.comes()
    exchange.on_gone()
    assert (len(door.room), door.left, ends(waiting)) == (0, 1, 1)


def test_one_who_was_taken_out_is_nobodys_loss() -> None:
    door = Door()
    waiting, exchange = door.comes()
    assert door.room.take_all() == (waiting,)
    exchange.on_gone()
    assert (door.left, ends(waiting)) == (0, 1)


def test_only_those_whose_time_is_over_are_taken_out_late() -> None:
    door = Door()
    late, patient = door.comes(5.0)[0], door.comes(9.0)[0]
    assert door.room.take_late(4.9) == []
    assert door.room.take_late(5.0) == [late]
    assert door.room.take_all() == (patient,)


def test_a_refusal_says_when_to_ask_again_to_pages_too() -> None:
    headers = (("Access-Control-Allow-Origin", "*"), ("Cache-Control", "no-store"))
    waiting, exchange = Door().comes(headers=headers)
    waiting.refuse("the channel is still starting", 3)
    (answer,) = exchange.answers
    told = dict(answer.headers)
    assert (answer.status, told["Retry-After"]) == (503, "3")
    assert told["Access-Control-Allow-Origin"] == "*"
    assert b"still starting" in answer.body
    assert (exchange.on_gone, ends(waiting)) == (None, 1)
