"""The status page, its JSON and the probes, drawn from snapshots that a test made up."""

from __future__ import annotations

from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import (
    ShownHub,
    ShownServer,
    channel,
    engine,
    film,
    film_viewer,
    get,
    hub_snapshot,
    viewer,
)

from rawstream import __version__
from rawstream.connection import Exchange
from rawstream.status import (
    WIDTH,
    StatusEndpoints,
    bit_rate,
    clean,
    duration,
    fit,
    size,
    status_json,
    status_text,
)

EXCHANGE: Exchange = cast(Any, object())
JSON = "application/json"


def endpoints(hub: ShownHub) -> StatusEndpoints:
    server = cast(Any, ShownServer())
    return StatusEndpoints(cast(Any, hub), server, started_at=100.0, clock=lambda: 7930.0)


def busy_hub() -> ShownHub:
    return ShownHub(
        (
            channel(name="Demo one", viewers=(viewer(), viewer(state="paused", jumps=2)), held=1),
            channel(state="recovering", viewers=(), last_error="engine: read: the session is gone"),
        ),
        (engine(), engine(state="down", version=None, last_error="connect: refused")),
    )


# -- the text --


def test_the_text_shows_channels_engines_and_viewers_with_what_an_operator_asks_for() -> None:
    text = status_text(busy_hub().shown, 7830.0)
    for word in (
        f"rawstream {__version__}",
        "up 2h10m",
        "2 viewers (+1 waiting)",
        "http://10.0.0.5:6878",
        "down",
        "connect: refused",
        "Demo one · abababab",
        "live 12m34s",
        "in 10.2 Mbit/s",
        "192.168.1.20:50123",
        "VLC/3.0.24",
        "2.2s behind",
        "2 drops",
        "paused",
        "412.0 MB",
        "the session is gone",
    ):
        assert word in text, word


def test_what_is_due_out_counts_viewers_that_take_something() -> None:
    text = status_text(hub_snapshot([channel(viewers=(viewer(), viewer(state="paused")))]), 1.0)
    assert "in 5.1 Mbit/s · out 5.1 Mbit/s" in text


def test_films_are_a_section_of_their_own() -> None:
    many = tuple(film_viewer(port=port, state="paused", percent=None) for port in range(60))
    films = [film(), film(name="B", state="recovering", viewers=many, last_error="it died", held=1)]
    text = status_text(hub_snapshot([channel()], films=films), 1.0)
    for word in (
        *("2 films", "62 viewers (+1 waiting)", "FILM ", "A film", "10.0.0.5:6878", "2.5 GB"),
        *("192.168.1.21:50124", "Kodi/20.1", "at 40.0%", "8.0 Mbit/s", "52.0 MB", "it died"),
        *("paused", "60+1", "and 20 more"),
    ):
        assert word in text, word
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "film" not in status_text(hub_snapshot([channel()]), 1.0).lower()
    body = status_json(hub_snapshot(films=films), 1.0, connections=1)
    shown = orjson.loads(body)["films"][0]
    assert (shown["length"], shown["viewers"][0]["percent"]) == (2_500_000_000, 40.0)


def test_an_empty_server_says_so() -> None:
    text = status_text(hub_snapshot(), 0.0)
    assert "nothing on air" in text
    assert "0 channels" in text


def test_a_thousand_viewers_are_cut_to_those_most_behind() -> None:
    many = tuple(viewer(port=port, seconds_behind=port / 100) for port in range(1000, 2000))
    text = status_text(hub_snapshot([channel(viewers=many)]), 1.0)
    assert text.count("behind") < 100
    assert ":1999 " in text and ":1000 " not in text
    assert "and 960 more" in text


words = st.text(max_size=120)


@given(words, words, words, words, st.floats(0, 1e8), st.integers(0, 10**14))
def test_no_line_is_wider_than_the_page_nor_holds_what_a_terminal_obeys(
    name: str, agent: str, error: str, source: str, behind: float, sent: int
) -> None:
    shown = viewer(
        user_agent=agent, seconds_behind=behind, bytes_sent=sent, address="2001:db8::1:2"
    )
    snapshot = hub_snapshot(
        [channel(name=name, viewers=(shown,), last_error=error, source=source, state="failed")],
        [engine(last_error=error, version=name)],
    )
    lines = status_text(snapshot, behind).split("\n")
    assert len(lines) < 14
    for line in lines:
        assert line.isprintable()
        if line.isascii():
            assert len(line) <= WIDTH


@given(words, st.integers(min_value=1, max_value=60))
def test_fitted_text_fills_its_columns_exactly(text: str, width: int) -> None:
    fitted = fit(text, width)
    assert fitted.isprintable()
    if text.isascii():
        assert len(fitted) == width


def test_a_wide_character_takes_two_columns_and_a_combining_one_none() -> None:
    assert fit("日本", 5) == "日本 "
    assert fit("日本語", 5) == "日本…"
    assert fit("e\u0301e", 3) == "e\u0301e "


def test_a_user_agent_cannot_write_to_the_operators_terminal() -> None:
    evil = viewer(user_agent="\x1b]0;owned\x07\x9b31m\u202e\r\nX")
    text = status_text(hub_snapshot([channel(viewers=(evil,))]), 1.0)
    assert not set("\x1b\x07\x9b\u202e\r") & set(text)
    body = status_json(hub_snapshot([channel(viewers=(evil,))]), 1.0, connections=1)
    assert not set("\x1b\x07\x9b\x7f\r") & set(body.decode())
    agent = orjson.loads(body)["channels"][0]["viewers"][0]["user_agent"]
    assert agent == evil.user_agent  # escaped, not changed


@given(words)
def test_json_escapes_every_control_and_stays_the_same_text(text: str) -> None:
    body = status_json(hub_snapshot([channel(name=text)]), 1.0, connections=0)
    shown = body.decode().removesuffix("\n")
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert orjson.loads(body)["channels"][0]["name"] == text


def test_the_source_is_shown_without_a_password() -> None:
    shown = channel(source="http://user:secret@host:8000/x")
    text = status_text(hub_snapshot([shown]), 1.0)
    assert "secret" not in text
    assert "host:8000" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59.9, "59s"), (187, "3m07s"), (7500, "2h05m"), (356_400, "4d03h"), (-1, "0s")],
)
def test_durations_show_their_two_largest_units(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_rates_and_sizes_change_their_prefix_before_they_grow_long() -> None:
    assert bit_rate(0) == "0 bit/s"
    assert bit_rate(820_400) == "820 kbit/s"
    assert bit_rate(999_999) == "1.0 Mbit/s"
    assert size(1.25e9) == "1.2 GB"
    assert size(9e15) == "9000.0 TB"
    assert clean("a\tb") == "a?b"


# -- the endpoints --


@pytest.mark.parametrize(
    ("target", "accept", "json"),
    [
        ("/status", "*/*", False),
        ("/status", "text/html,application/xhtml+xml", False),
        ("/status", "application/json", True),
        ("/status?format=json", "*/*", True),
        ("/status?format=text", "application/json", False),
    ],
)
def test_status_is_text_unless_json_is_asked_for(target: str, accept: str, json: bool) -> None:
    answer = endpoints(busy_hub()).status(get(target, {"accept": accept}), EXCHANGE)
    assert answer.status == 200
    assert answer.content_type.startswith(JSON) == json
    assert ("Cache-Control", "no-store") in answer.headers


def test_json_holds_the_whole_snapshots_and_the_totals() -> None:
    answer = endpoints(busy_hub()).status(get("/status?format=json"), EXCHANGE)
    document = orjson.loads(answer.body)
    assert document["uptime_seconds"] == 7830.0
    assert document["viewers"] == 2
    assert document["bits_in_per_second"] == 10_200_000
    assert document["channels"][0]["viewers"][1]["jumps"] == 2
    assert document["engines"][1]["last_error"] == "connect: refused"


def test_probes_say_a_word_and_nothing_more() -> None:
    hub = busy_hub()
    status = endpoints(hub)
    assert status.healthz(get("/healthz"), EXCHANGE).body == b"ok\n"
    assert status.readyz(get("/readyz"), EXCHANGE).status == 200
    hub.readiness = (False, "engine http://10.0.0.5:6878 is down")
    answer = status.readyz(get("/readyz"), EXCHANGE)
    assert answer.status == 503
    assert b"10.0.0.5" not in answer.body
