"""A station's timeline and a session's numbers, with time as an argument."""

from __future__ import annotations

from itertools import pairwise

import pytest

from rawstream.broadcast import Broadcast
from rawstream.simulator_contents import SimContent, bundled_contents
from rawstream.simulator_sessions import JITTER_SECONDS, Session, Station, jitter_lags

CLIP = bundled_contents()[0].clip.read_bytes()
BROADCAST = Broadcast(CLIP)


def station(**changes: object) -> Station:
    content = bundled_contents()[0]
    for name, value in changes.items():
        setattr(content, name, value)
    return Station(content, CLIP, BROADCAST, speed=1.0)


def session(on: Station, now: float = 0.0) -> Session:
    return Session(
        station=on,
        identity="pid x",
        token="t",
        hls=False,
        started=now,
        client_session_id=-1,
        first_position=on.start_position(now),
    )


def test_the_window_is_there_when_time_begins_and_runs_at_the_speed() -> None:
    content = bundled_contents()[0]
    content.speed = 2.0
    fast = Station(content, CLIP, BROADCAST, speed=5.0)
    fast.epoch = 100.0
    assert fast.media(100.0) == content.window_seconds
    assert fast.media(103.0) == content.window_seconds + 30.0


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [({"burst_seconds": 10.0}, 10.0), ({"burst_bytes": 200_000}, 200_000 * 8 / BROADCAST.bitrate)],
)
def test_a_reader_begins_a_burst_behind_the_edge_and_up_to_a_gop_more(
    changes: dict[str, object], seconds: float
) -> None:
    on = station(**changes)
    for now in range(60):
        behind = on.released(now) - BROADCAST.seconds(on.start_position(now))
        assert seconds - 0.5 < behind < seconds + 3.1


def test_jitter_is_half_to_two_and_a_half_times_the_mean_for_ever() -> None:
    on = station(jitter=True)
    released = [on.released(window * JITTER_SECONDS) for window in range(300)]
    rates = [(after - before) / JITTER_SECONDS for before, after in pairwise(released)]
    assert min(rates) >= 0.5 - 1e-9 and max(rates) <= 2.5 + 1e-9
    assert min(rates) < 0.7 and max(rates) > 1.5
    assert abs(sum(rates) / len(rates) - 1) < 0.02


def test_jitter_never_runs_ahead_of_the_broadcast_and_is_the_same_for_all() -> None:
    lags = jitter_lags("some content")
    assert lags == jitter_lags("some content") != jitter_lags("another")
    assert min(lags) >= 0 and max(lags) <= 15


def test_waiting_is_as_long_as_the_media_needs_and_short_enough_to_look_around() -> None:
    on = station()
    assert on.wait_for(on.position(10.0), 10.0) == 0.001
    assert on.wait_for(on.position(99.0), 10.0) == 0.02


def test_downloaded_grows_in_16_kib_with_the_broadcast_and_stands_when_frozen() -> None:
    on = station()
    one = session(on)
    grown = [one.downloaded(now) for now in range(30)]
    assert all(each % 16_384 == 0 for each in grown)
    assert grown == sorted(grown) and grown[-1] > grown[0] > 0
    one.frozen = one.downloaded(5.0)
    assert one.downloaded(25.0) == grown[5]


def test_events_wait_in_order_and_are_bounded() -> None:
    one = session(station())
    for number in range(1000):
        one.post("live_changed", {"number": number})
    assert one.event_added.is_set()
    assert len(one.events) == 100 and one.events[-1]["params"] == {"number": 999}


def test_a_film_is_held_whole_and_a_channel_is_not() -> None:
    film = SimContent("a" * 40, "b" * 40, "film", bundled_contents()[0].clip, live=False)
    assert Station(film, CLIP, BROADCAST, 1.0).film == CLIP
    assert station().film == b""
