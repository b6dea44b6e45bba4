"""Reports as they are kept, and as they are shown."""

from __future__ import annotations

import json

import pytest

from rawstream.guide_import import GuideReport
from rawstream.list_views import Brief, brief_of, report_of
from rawstream.m3u import LineWarning
from rawstream.playlist_import import ImportReport

PLAYLIST = ImportReport(
    *(9, 1, 2, 3, 4, 5, 6, 7, 8, 9),
    complete=False,
    names={"added": ["<b>One</b>"]},
    warnings=[LineWarning(3, "odd http://u:canary@h/")],
    warning_count=7,
    movies=2,
)
GUIDE = GuideReport(1, 2, 3, 4, True, 5, 6, {"One": "one.it"}, ("bad",), 1)


def test_of_a_playlist() -> None:
    report = report_of(PLAYLIST.to_json())
    assert report is not None and report.playlist is not None
    assert report.summary == PLAYLIST.summary()
    assert (report.playlist.entries, report.playlist.movies, report.complete) == (9, 2, False)
    assert report.playlist.names.added == ["<b>One</b>"]
    assert (report.warnings[0].line, report.warnings[0].problem) == (3, "odd http://***@h/")
    assert report.warning_count == 7


def test_of_a_guide() -> None:
    report = report_of(GUIDE.to_json())
    assert report is not None and report.guide is not None
    assert (report.guide.matched, report.guide.names) == (5, {"One": "one.it"})
    assert report.warnings[0].problem == "bad"


@pytest.mark.parametrize(
    "kept", ["", "no", "[1]", "{}", '{"entries": 1}', json.dumps({"entries": 1, "new": 2})]
)
def test_one_that_nobody_can_read_is_none(kept: str) -> None:
    assert report_of(kept) is None
    assert brief_of(kept) == Brief("", 0)


def test_what_a_list_of_lists_shows_of_a_report() -> None:
    assert brief_of(PLAYLIST.to_json()) == Brief(PLAYLIST.summary(), 7)
    assert brief_of(GUIDE.to_json()) == Brief(GUIDE.summary(), 1)
