"""What came of an import, or would come of it, as operators are shown it.

Owns: the shape of reports over REST, the reading of reports that are kept. Must not know: how an
import reckons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from rawstream.guide_import import GuideReport
from rawstream.log_tail import redacted
from rawstream.playlist_import import ImportReport
from rawstream.rest import Model


class ListWarning(Model):
    """`line`: counted from 1; 0 where it is of the whole, or not known."""

    line: int
    problem: str


class ChangedNames(Model):
    """The first names of each kind of change; the counts say how many there are."""

    added: list[str] = Field(default_factory=list)
    changed: list[str] = Field(default_factory=list)
    moved: list[str] = Field(default_factory=list)
    stale: list[str] = Field(default_factory=list)
    returned: list[str] = Field(default_factory=list)
    retired: list[str] = Field(default_factory=list)


class PlaylistCounts(Model):
    """Of channels, movies and episodes. `moved`: only their place changed; `stale`: not in the list
    any more; `retired`: so for `retire_days`, and off the line-up; `dropped`: entries that can't be
    played; `doubles`: that were there before. `movies`, `episodes`: of the entries.
    """

    entries: int
    movies: int
    episodes: int
    added: int
    changed: int
    moved: int
    unchanged: int
    stale: int
    returned: int
    retired: int
    dropped: int
    doubles: int
    names: ChangedNames


class GuideCounts(Model):
    """`kept`: programmes inside the days that are kept; `left_out`: that can't be used; `matched`:
    of the `line_up`, channels that have a guide. `names`: some of those, and which guide channel.
    """

    channels: int
    programmes: int
    kept: int
    left_out: int
    matched: int
    line_up: int
    names: dict[str, str]


class ListReport(Model):
    """`summary`: one line for people. `complete`: the whole document had come; else nothing counts
    as missing. `warnings`: the first of `warning_count`. Either `playlist` or `guide` is there.
    """

    summary: str
    complete: bool
    warnings: list[ListWarning]
    warning_count: int
    playlist: PlaylistCounts | None
    guide: GuideCounts | None


_COUNTS: Final = tuple(name for name in PlaylistCounts.model_fields if name != "names")
_GUIDE_COUNTS: Final = tuple(GuideCounts.model_fields)


def report_of(text: str) -> ListReport | None:
    """A report's JSON read; None where there is none, or of a version that nobody knows."""
    if not text:
        return None
    try:
        kept = json.loads(text)
        return _of_playlist(kept) if "entries" in kept else _of_guide(kept)
    except (ValueError, TypeError, KeyError):
        return None


def _of_playlist(kept: Mapping[str, Any]) -> ListReport:
    report = ImportReport(**kept)
    counts = {name: getattr(report, name) for name in _COUNTS}
    names = {kind: list(report.names.get(kind, ())) for kind in ChangedNames.model_fields}
    return ListReport(
        summary=report.summary(),
        complete=report.complete,
        warnings=[
            ListWarning(line=line, problem=redacted(reason)) for line, reason in report.warnings
        ],
        warning_count=report.warning_count,
        playlist=PlaylistCounts(**counts, names=ChangedNames(**names)),
        guide=None,
    )


def _of_guide(kept: Mapping[str, Any]) -> ListReport:
    report = GuideReport(**kept)
    return ListReport(
        summary=report.summary(),
        complete=report.complete,
        warnings=[ListWarning(line=0, problem=redacted(text)) for text in report.warnings],
        warning_count=report.warning_count,
        playlist=None,
        guide=GuideCounts(**{name: getattr(report, name) for name in _GUIDE_COUNTS}),
    )
