"""The end of the log: bounded, in order, and without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from rawstream.log_tail import LogTail, redacted


@pytest.mark.parametrize(
    "said",
    [
        "GET http://ana:canary@tv.example:8080/get.php",
        "rtsp://canary@host/x",
        "https://p.example/get.php?username=canary&password=canary&type=m3u",
        "/xmltv.php?token=canary HTTP/1.1",
        "http://p.example/live/canary/canary/12.ts",
        "/live/canary/12.ts",
        "(/movie/canary/canary/7.mkv)",
        "/player_api/canary/canary/get_live_streams",
        "http://p.example:80/canary/canary/12",
        "/canary/canary/12.m3u8 not found",
        "Authorization: Bearer canary.canary-1",
        "authorization: Basic canary==",
        "{'Authorization': 'Bearer canarycanary'}",
        "Cookie: rawstream_session=canary-canary_canary; x=1",
        '{"username": "x", "password": "canary word"}',
        "password=canary",
        "x_api_key=1, api_key=canary, access_token: canary",
        "open http://tv:58055/setup#canary_canary-canary",
    ],
)
def test_a_secret_does_not_stay(said: str) -> None:
    assert "canary" not in redacted(said)


@pytest.mark.parametrize(
    "said",
    [
        "engine http://127.0.0.1:6878: start: 503 no such content",
        "list 3: 40 entries: 1 added, 2 changed",
        "play http://tv:58055/ace/getstream?id=abcdef0123 · watch: curl http://tv:58055/status",
        "10.0.0.9:4711 left after 3/4/5 minutes",
        "channel 12 at http://h/films/new.ts",
        "keyframe: every 2 s",
    ],
)
def test_what_is_no_secret_stays(said: str) -> None:
    assert redacted(said) == said


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, LogTail]]:
    tail = LogTail(lines=3)
    logger = logging.getLogger("test of a tail")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(tail)
    yield logger, tail
    logger.removeHandler(tail)


def test_the_newest_lines_in_their_order(log: tuple[logging.Logger, LogTail]) -> None:
    logger, tail = log
    assert (tail.lines(10), tail.last_id) == ([], 0)
    for number in range(5):
        logger.log(logging.WARNING if number == 3 else logging.INFO, "line %d", number)
    assert [(one.id, one.text) for one in tail.lines(10)] == [
        *((3, "line 2"), (4, "line 3"), (5, "line 4"))
    ]
    assert [one.text for one in tail.lines(1)] == ["line 4"]
    assert [one.level for one in tail.lines(10, level=logging.WARNING)] == ["warning"]
    assert [one.id for one in tail.lines(10, after=4)] == [5]
    assert tail.last_id == 5


def test_a_traceback_and_an_argument_are_cleaned_as_the_text_is(
    log: tuple[logging.Logger, LogTail],
) -> None:
    logger, tail = log
    try:
        raise ValueError("http://u:canary@h/ \x1b[31m")
    except ValueError:
        logger.exception("failed at %s", "http://h/live/canary/canary/1.ts")
    logger.info("%s", "x" * 100_000 + "password=canary")
    first, second = tail.lines(10)
    assert "canary" not in first.text and "\x1b" not in first.text
    assert "\nTraceback" in first.text
    assert len(second.text) == 4000


def test_a_record_that_can_not_be_told_disturbs_nobody(
    log: tuple[logging.Logger, LogTail], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger, tail = log
    logger.info("%d", "no number")
    logger.info("next")
    assert [one.text for one in tail.lines(10)] == ["next"]
