"""What has changed on air, and the figures of the last hour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from snapshots import ShownHub, channel, viewer
from test_events import FakeExchange, listen

from rawstream.air import Air
from rawstream.events import EventBus


def make(*channels: Any) -> tuple[Air, EventBus, ShownHub]:
    hub, bus = ShownHub(channels), EventBus()
    return Air(cast(Any, hub), bus, started_at=0.0), bus, hub


def told(exchange: FakeExchange) -> list[Any]:
    return [data for _number, kind, data in exchange.sink.events if kind == "live"]


def test_who_begins_to_look_is_told_everything_then_what_changes() -> None:
    air, bus, hub = make(channel(), channel(key="other", name="Other"))
    exchange, _ = listen(bus)
    air.look(100.0)
    (first,) = told(exchange)
    assert {one["key"] for one in first["channels"]} == {channel().key, "other"}
    assert first["engines"] == [] and first["totals"]["channels"] == 2
    assert "viewers" not in first["channels"][0]
    assert first["channels"][0]["viewer_count"] == 1
    air.look(101.0)
    assert "channels" not in told(exchange)[1]
    hub.shown = replace(
        hub.shown,
        channels=(replace(hub.shown.channels[0], state="recovering", bytes_out=1),),
    )
    air.look(102.0)
    changed = told(exchange)[2]
    assert [one["state"] for one in changed["channels"]] == ["recovering"]
    assert changed["gone"] == ["other"]
    late, _ = listen(bus)
    air.look(103.0)
    assert len(told(late)[0]["channels"]) == 1


def test_viewers_are_told_of_where_somebody_asks() -> None:
    air, bus, _hub = make(channel(viewers=(viewer(), viewer(id=9))))
    asked, _ = listen(bus, keys=frozenset({channel().key}))
    other, _ = listen(bus)
    air.look(100.0)
    (one,) = told(asked)[1]["channels"]
    assert [shown["id"] for shown in one["viewers"]] == [viewer().id, 9]
    assert len(told(other)) == 1


def test_nobody_costs_nothing_but_a_point_in_ten_seconds() -> None:
    air, _bus, hub = make(channel())
    looks = []
    snapshot = hub.snapshot
    cast(Any, hub).snapshot = lambda *args, **more: looks.append(1) or snapshot()
    for second in range(41):
        air.look(100.0 + second)
    assert len(looks) == 5
    assert len(air.points) == 4


def test_points_are_rates_between_two_looks() -> None:
    air, _bus, hub = make(channel())
    air.look(100.0)
    hub.shown = replace(hub.shown, bytes_in=hub.shown.bytes_in + 1_000_000)
    air.look(110.0)
    assert air.points[-1].bits_in_per_second == 800_000
    assert air.points[-1].bits_out_per_second == 0
    assert air.points[-1].viewers == hub.shown.viewers
