"""Refused for a moment, by whatever name, and then no more."""

from __future__ import annotations

import pytest

from rawstream.config import Timeouts
from rawstream.engine_client import ContentRef
from rawstream.errors import ChannelUnavailable
from rawstream.refusals import _CONTENTS, _PLAYERS, Refusals

ID, INFOHASH = "1d" * 20, "1f" * 20
BY_ID, BY_INFOHASH = ContentRef("content_id", ID), ContentRef("infohash", INFOHASH)
OTHER = ContentRef("infohash", "2f" * 20)
TIMEOUTS = Timeouts(failure_memory_seconds=10.0, superseded_seconds=30.0)


def known(ref: ContentRef) -> str | None:
    return INFOHASH if ref in (BY_ID, BY_INFOHASH) else None


@pytest.fixture
def refusals() -> Refusals:
    return Refusals(TIMEOUTS, known)


def refused(refusals: Refusals, ref: ContentRef, now: float) -> ChannelUnavailable | None:
    try:
        refusals.check_content(ref, now)
    except ChannelUnavailable as error:
        return error
    return None


def test_a_failure_is_told_for_its_time_by_any_name_of_the_content(refusals: Refusals) -> None:
    refusals.note_failed([BY_INFOHASH], "no peers", 100.0)
    for ref in (BY_ID, BY_INFOHASH):
        error = refused(refusals, ref, 103.6)
        assert error is not None
        assert (error.reason, error.retry_after) == ("no peers", 6)
        assert refused(refusals, ref, 110.0) is None
    assert refused(refusals, OTHER, 103.0) is None


def test_to_ask_again_is_never_told_for_at_once(refusals: Refusals) -> None:
    refusals.note_failed([BY_ID], "no peers", 100.0)
    error = refused(refusals, BY_ID, 109.9)
    assert error is not None
    assert error.retry_after == 1


def test_what_was_stopped_may_be_allowed_again_and_what_failed_not(refusals: Refusals) -> None:
    refusals.note_stopped([BY_INFOHASH], 0.0)
    refusals.note_failed([OTHER], "no peers", 0.0)
    error = refused(refusals, BY_ID, 29.0)
    assert error is not None
    assert "stopped by the operator" in error.reason
    refusals.allow(BY_ID)
    refusals.allow(OTHER)
    assert refused(refusals, BY_ID, 1.0) is None
    assert refused(refusals, OTHER, 1.0) is not None


def test_a_player_sent_away_is_refused_that_content_for_a_while(refusals: Refusals) -> None:
    refusals.note_sent_away("10.0.0.9", "box", frozenset({BY_INFOHASH}), 0.0)
    for ref in (BY_ID, BY_INFOHASH):
        with pytest.raises(ChannelUnavailable, match="ended by the operator"):
            refusals.check_player("10.0.0.9", "box", ref, 29.0)
        refusals.check_player("10.0.0.9", "box", ref, 30.0)
        refusals.check_player("10.0.0.9", "another box", ref, 1.0)
    refusals.check_player("10.0.0.9", "box", OTHER, 1.0)


def test_who_is_sent_away_twice_has_lost_both(refusals: Refusals) -> None:
    refusals.note_sent_away("10.0.0.9", "box", frozenset({BY_INFOHASH}), 0.0)
    refusals.note_sent_away("10.0.0.9", "box", frozenset({OTHER}), 5.0)
    for ref in (BY_INFOHASH, OTHER):
        with pytest.raises(ChannelUnavailable, match="ended by the operator"):
            refusals.check_player("10.0.0.9", "box", ref, 29.0)
        refusals.check_player("10.0.0.9", "box", ref, 35.0)


def test_what_is_remembered_is_bounded_and_forgotten_in_time(refusals: Refusals) -> None:
    for number in range(_CONTENTS + 5):
        refusals.note_failed([ContentRef("content_id", str(number))], "no peers", 0.0)
    for number in range(_PLAYERS + 5):
        refusals.note_sent_away(str(number), "box", frozenset({OTHER}), 0.0)
    assert refused(refusals, ContentRef("content_id", "999"), 1.0) is not None
    assert refused(refusals, ContentRef("content_id", "1000"), 1.0) is None
    assert (len(refusals._contents), len(refusals._players)) == (_CONTENTS, _PLAYERS)
    refusals.forget(10.0)
    assert (len(refusals._contents), len(refusals._players)) == (0, _PLAYERS)
    refusals.forget(30.0)
    assert len(refusals._players) == 0
