"""Playlists, guides and what came of their imports, as operators are shown them and set them.

Owns: the shapes of these over REST, the reading of reports that are kept. Must not know: how an
import reckons, what is done with a list.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field

from rawstream.codes import told
from rawstream.guide_import import GuideReport
from rawstream.playlist_import import ImportReport
from rawstream.redaction import redacted
from rawstream.rest import Coded, Model, PageQuery

Kind = Literal["playlist", "guide"]
State = Literal["off", "held", "never read", "well", "failed", "waiting", "fetching", "reading"]
Url = Annotated[str, Field(min_length=1, max_length=4000, description="http:// or https://")]
Upload = Annotated[int, Field(ge=1, lt=1 << 31, description="Of an upload that is complete")]
Text = Annotated[str, Field(min_length=1, max_length=1 << 20, description="The document itself")]
Name = Annotated[str, Field(max_length=200)]
Interval = Annotated[int, Field(ge=0, le=366 * 86_400, description="0: only when it is asked for")]
Priority = Annotated[int, Field(ge=0, le=1_000_000, description="Of guides: the smallest wins")]
UserAgent = Annotated[str, Field(max_length=300, pattern=r"^[ -~]*$")]
Days = Annotated[int, Field(ge=0, le=3650, description="Missing for so long is retired")]
Offset = Annotated[int, Field(ge=-14 * 3600, le=14 * 3600)]
Shift = Annotated[int, Field(ge=-7 * 86_400, le=7 * 86_400)]


# -- reports --


class ListWarning(Coded):
    """`line`: counted from 1; 0 where it is of the whole, or not known."""

    line: int
    problem: str

    @classmethod
    def of(cls, line: int, problem: str) -> ListWarning:
        shown = redacted(problem)
        code, values = told(shown)
        return cls(line=line, problem=shown, code=code, values=dict(values))


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
    of the `line_up`, channels that have a guide. `names`: some of those, with their guide channels.
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


# -- lists --


class Progress(Model):
    """`step`: waiting for its turn, fetching, reading. `all_bytes` null: nobody knows."""

    step: str
    done_bytes: int
    all_bytes: int | None


class ListView(Model):
    """A list and how it fares. `shown_url`: without what may be secret; a path for a file.
    `uploaded`: it is a document that was sent here. `next_at`: when it is read again by itself.
    `can_undo`: there is an import to take back. `held`: the last was, so it is not read by itself
    until somebody reads it. `summary`: of the last that went well.
    """

    id: int
    kind: Kind
    name: str
    shown_url: str
    uploaded: bool
    enabled: bool
    held: bool
    interval_seconds: int
    priority: int
    state: State
    progress: Progress | None
    refreshed_at: int | None
    succeeded_at: int | None
    next_at: int | None
    last_error: str
    last_error_coded: Coded
    summary: str
    warning_count: int
    can_undo: bool


class ListSettings(Model):
    """All that may be set. `url`: '' for what was uploaded. `merge_names`: entries of one name are
    one channel with several sources. `zoneless_offset`: seconds east of UTC, for times of a guide
    that name no zone; `shift_seconds` are added to all of its times. `held`: its last import was
    taken back, so it is not read by itself until somebody reads it.
    """

    id: int
    kind: Kind
    url: str
    uploaded: bool
    name: str
    enabled: bool
    held: bool
    interval_seconds: int
    priority: int
    user_agent: str
    merge_names: bool
    retire_days: int
    zoneless_offset: int
    shift_seconds: int


class ListNew(Model):
    """One of `url`, `upload_id` and `text`. Without an interval: six hours, guides twelve, never
    for what was uploaded.
    """

    kind: Kind
    url: Url | None = None
    upload_id: Upload | None = None
    text: Text | None = None
    name: Name = ""
    enabled: bool = True
    interval_seconds: Interval | None = None
    priority: Priority = 100
    user_agent: UserAgent = ""
    merge_names: bool = False
    retire_days: Days = 7
    zoneless_offset: Offset = 0
    shift_seconds: Shift = 0


class ListChange(Model):
    """What is not named stays. Another `url` or upload is read at once. `held` false: it may
    be read by itself again.
    """

    url: Url | None = None
    upload_id: Upload | None = None
    text: Text | None = None
    name: Name | None = None
    enabled: bool | None = None
    held: bool | None = None
    interval_seconds: Interval | None = None
    priority: Priority | None = None
    user_agent: UserAgent | None = None
    merge_names: bool | None = None
    retire_days: Days | None = None
    zoneless_offset: Offset | None = None
    shift_seconds: Shift | None = None


class PreviewWanted(Model):
    """What would come of a list, or of another document for the list `list_id`. With neither `url`
    nor `upload_id` nor `text`: of that list as it is now.
    """

    list_id: Annotated[int, Field(ge=0, lt=1 << 31)] | None = None
    kind: Kind = "playlist"
    url: Url | None = None
    upload_id: Upload | None = None
    text: Text | None = None
    user_agent: UserAgent | None = None
    merge_names: bool | None = None
    retire_days: Days | None = None
    zoneless_offset: Offset | None = None
    shift_seconds: Shift | None = None


class RefreshWanted(Model):
    """`force`: also if it says that it has not changed."""

    force: bool = False


class ListResult(Model):
    """What came of the last refresh. `report`: of the last that went well and brought something."""

    refreshed_at: int | None
    succeeded_at: int | None
    last_error: str
    last_error_coded: Coded
    report: ListReport | None


class UploadView(Model):
    """`size_bytes`: there so far. `limit_bytes`: of the whole, `piece_bytes`: of one piece."""

    upload_id: int
    size_bytes: int
    limit_bytes: int
    piece_bytes: int


class PieceQuery(Model):
    """`offset`: where the piece belongs, in bytes."""

    offset: int = Field(default=0, ge=0, le=1 << 40)


class ListQuery(PageQuery):
    """`q`: a part of the name."""

    kind: Literal["", "playlist", "guide"] = ""
    q: str = ""


# -- reports that are kept --

_COUNTS: Final = tuple(name for name in PlaylistCounts.model_fields if name != "names")
_GUIDE_COUNTS: Final = tuple(GuideCounts.model_fields)


class Brief(NamedTuple):
    """Of a report what a list of lists shows: its one line, and how many warnings there were."""

    summary: str
    warning_count: int


def brief_of(text: str) -> Brief:
    """See `report_of`. Costs no look at each warning."""
    kept = _kept(text)
    return Brief("", 0) if kept is None else Brief(kept.summary(), kept.warning_count)


def report_of(text: str) -> ListReport | None:
    """A report's JSON read; None where there is none, or of a version that nobody knows."""
    kept = _kept(text)
    try:
        if isinstance(kept, ImportReport):
            return _of_playlist(kept)
        return _of_guide(kept) if kept is not None else None
    except (ValueError, TypeError):
        return None


def _kept(text: str) -> ImportReport | GuideReport | None:
    if not text:
        return None
    try:
        kept = json.loads(text)
        return ImportReport(**kept) if "entries" in kept else GuideReport(**kept)
    except (ValueError, TypeError):
        return None


def _of_playlist(report: ImportReport) -> ListReport:
    counts = {name: getattr(report, name) for name in _COUNTS}
    names = {kind: list(report.names.get(kind, ())) for kind in ChangedNames.model_fields}
    return ListReport(
        summary=report.summary(),
        complete=report.complete,
        warnings=[ListWarning.of(line, reason) for line, reason in report.warnings],
        warning_count=report.warning_count,
        playlist=PlaylistCounts(**counts, names=ChangedNames(**names)),
        guide=None,
    )


def _of_guide(report: GuideReport) -> ListReport:
    return ListReport(
        summary=report.summary(),
        complete=report.complete,
        warnings=[ListWarning.of(0, text) for text in report.warnings],
        warning_count=report.warning_count,
        playlist=None,
        guide=GuideCounts(**{name: getattr(report, name) for name in _GUIDE_COUNTS}),
    )
