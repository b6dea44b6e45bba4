"""Lines of the log, for people and for programs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawstream.config import LogFormat
from rawstream.logs import log_to

LOG = logging.getLogger("rawstream.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def written(form: LogFormat, message: object, *args: object, **more: Any) -> str:
    out = io.StringIO()
    log_to("info", form, out)
    LOG.info(message, *args, **more)
    return out.getvalue()


def test_a_line_for_programs_has_time_level_logger_message_and_what_was_given() -> None:
    text = written("json", "channel %s: %s", "One", "live", extra={"channel": "One", "viewers": 3})
    assert text.startswith('{"time":"')
    line = orjson.loads(text)
    assert datetime.fromisoformat(line.pop("time")).tzinfo is not None
    assert line == {
        "level": "info",
        "logger": "rawstream.test",
        "message": "channel One: live",
        "channel": "One",
        "viewers": 3,
    }


def test_what_is_given_beside_takes_the_place_of_nothing() -> None:
    line = orjson.loads(written("json", "hello", extra={"level": "x", "time": 1, "logger": "y"}))
    assert (line["level"], line["logger"], line["message"]) == ("info", "rawstream.test", "hello")


def test_a_traceback_is_in_the_same_line() -> None:
    out = io.StringIO()
    log_to("info", "json", out)
    try:
        raise ValueError("password=abc")
    except ValueError:
        LOG.exception("failed")
    assert out.getvalue().count("\n") == 1
    line = orjson.loads(out.getvalue())
    assert line["level"] == "error" and "Traceback" in line["traceback"]
    assert line["traceback"].endswith("ValueError: password=***")


def test_a_line_for_people_is_one_whatever_is_in_it() -> None:
    text = written("text", "name %s", "a\nb\x1b[31m\u202e")
    assert text.count("\n") == 1 and text.endswith("INFO    name a?b?[31m?\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_in_a_line(form: LogFormat) -> None:
    text = written(
        form,
        "http://ana:Zq9@h/ and %s",
        {"token": "Zq9"},
        extra={
            "url": "http://h/live/ana/Zq9/1.ts",
            "password": "Zq9",
            "deep": {"a": ["?token=Zq9"]},
        },
    )
    assert "Zq9" not in text and "***" in text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(message=st.text(), value=anything)
def test_whatever_is_logged_becomes_one_line_of_json(message: str, value: object) -> None:
    text = written("json", "%s", message, extra={"value": value, "odd": object(), "s": "\ud800"})
    assert text.endswith("\n") and text.count("\n") == 1
    assert orjson.loads(text)["logger"] == "rawstream.test"


def test_the_level_is_the_least_that_is_written() -> None:
    out = io.StringIO()
    log_to("warning", "text", out)
    LOG.info("not this")
    LOG.warning("but this")
    assert "not this" not in out.getvalue() and "but this" in out.getvalue()
