"""Streams of operators, and that they end with what let them in."""

from __future__ import annotations

from typing import cast

import pytest
from test_connection import make_stream
from wire import make_server

from rawstream.connection import Connection, Exchange, State
from rawstream.http1 import Request
from rawstream.operators import Operator
from rawstream.plays import Plays
from rawstream.records import Account
from rawstream.store_credentials import Credential


def operator(number: int) -> Operator:
    return Operator(Account(number, f"a{number}", "x"), cast(Credential, number))


def test_streams_of_one_who_is_no_operator_any_more_are_cut() -> None:
    ana, bob = operator(1), operator(2)
    good = {ana, bob}
    plays = Plays(lambda one: one in good)
    streams = [make_stream(), make_stream(), make_stream()]
    for (_, _, exchange), who in zip(streams, (ana, bob, ana), strict=True):
        plays.add(exchange, who)
    plays.tick()
    assert [transport.aborted for _, transport, _ in streams] == [False, False, False]
    good.remove(ana)
    plays.tick()
    assert [transport.aborted for _, transport, _ in streams] == [True, False, True]


def test_one_who_still_waits_for_his_stream_is_cut_as_well() -> None:
    waiting = Connection(make_server(), State.ANSWERING)
    exchange = Exchange(waiting, Request("GET", "/", {}))
    left: list[str] = []
    exchange.on_gone = lambda: left.append("gone")
    waiting._exchange = exchange
    plays = Plays(lambda _operator: False)
    plays.add(exchange, operator(1))
    plays.tick()
    waiting.connection_lost(None)
    assert left == ["gone"]
    plays.tick()
    assert len(plays) == 0


@pytest.mark.parametrize("end", ["finished", "lost"])
def test_what_has_ended_is_not_kept(end: str) -> None:
    stream, _, exchange = make_stream()
    plays = Plays(lambda _operator: True)
    plays.add(exchange, operator(1))
    plays.tick()
    assert len(plays) == 1
    if end == "finished":
        stream.finish()
    else:
        stream.connection_lost(None)
    plays.tick()
    assert len(plays) == 0
