"""A playlist as it is written, read by another's reader."""

from __future__ import annotations

import m3u8

from rawstream.hls_writer import Line, addressed, media_playlist

LINES = (
    Line("/hls/r/5-a.ts", 4.0, 1_767_225_600.0),
    Line("/hls/r/6-b.ts", 3.84, 1_767_225_604.0004, discontinuity=True),
)


def written(**changes: object) -> bytes:
    values = {"target": 4, "sequence": 5, "discontinuity_sequence": 2, "independent": True}
    return media_playlist(LINES, **{**values, **changes})  # type: ignore[arg-type]


def test_every_tag_stands_where_rfc_8216_wants_it() -> None:
    assert addressed(written(), "/tv", "T").decode() == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        "#EXT-X-TARGETDURATION:4\n"
        "#EXT-X-MEDIA-SEQUENCE:5\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:2\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:00.000Z\n"
        "#EXTINF:4.00000,\n"
        "/tv/hls/r/5-a.ts?t=T\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:04.000Z\n"
        "#EXTINF:3.84000,\n"
        "/tv/hls/r/6-b.ts?t=T\n"
    )


def test_another_reader_finds_the_same() -> None:
    found = m3u8.loads(addressed(written(independent=False), "", "T").decode())
    assert (found.target_duration, found.media_sequence) == (4, 5)
    assert found.discontinuity_sequence == 2
    assert not found.is_independent_segments
    assert not found.is_endlist
    assert [one.duration for one in found.segments] == [4.0, 3.84]
    assert [one.discontinuity for one in found.segments] == [False, True]
    moments = [one.program_date_time for one in found.segments]
    assert all(moment is not None and moment.tzinfo is not None for moment in moments)
