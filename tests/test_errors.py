"""The exception tree: every failure has a class whose text an operator or a viewer can read."""

from __future__ import annotations

import inspect

import pytest

from rawstream import errors
from rawstream.errors import (
    ChannelUnavailable,
    ConfigError,
    EngineError,
    FormatError,
    RawstreamError,
    StateError,
    UpstreamError,
    UpstreamTimeout,
    ViewerError,
)

CLASSES = [
    thing
    for _, thing in inspect.getmembers(errors, inspect.isclass)
    if issubclass(thing, BaseException)
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_everything_we_raise_has_one_root_and_stands_in_the_modules_table(
    error: type[Exception],
) -> None:
    assert issubclass(error, RawstreamError)
    assert error.__doc__
    assert error.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConfigError("port", "must be free"), "port: must be free"),
        (ConfigError("", "nothing to do"), "nothing to do"),
        (FormatError("clip", "no sync byte", 188), "clip at byte 188: no sync byte"),
        (FormatError("clip", "no sync byte"), "clip: no sync byte"),
        (ViewerError(400, "say what to play"), "400 say what to play"),
        (ChannelUnavailable("starting", retry_after=2), "503 starting"),
        (UpstreamError("start", "http://e:1", "refused"), "http://e:1: start: refused"),
        (StateError("/d/x.journal", "disk full"), "/d/x.journal: disk full"),
    ],
)
def test_an_error_reads_as_a_sentence(error: RawstreamError, text: str) -> None:
    assert str(error) == text


def test_fields_tell_a_caller_what_the_text_tells_a_reader() -> None:
    refused = EngineError("start", "http://e:1", "failed to load content", status=200)
    assert (refused.phase, refused.address, refused.status) == ("start", "http://e:1", 200)
    assert isinstance(UpstreamTimeout("connect", "e", "late"), UpstreamError)
    assert ChannelUnavailable("later").retry_after == 1
    assert ViewerError(403, "no").retry_after is None
