"""The end of the log: bounded, in order, and without secrets."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from rawstream.log_tail import LogTail


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
