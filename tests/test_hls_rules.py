"""The reader of live HLS finds nothing wrong in a good history, and one wrong thing in each bad
one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hls_rules import PACKET, History, check_seam, read, read_segment
from ts_clips import clip, key_pictures, packets_of, pat, pmt, table, without_entry_flags

BEGIN = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SECONDS = ("4.000", "3.960", "4.040")  # of segments, in turn
BROKEN = (3, 9)  # segments that a discontinuity stands before
WINDOW = 6


def length(number: int) -> str:
    return SECONDS[number % len(SECONDS)]


def date(number: int) -> str:
    """When a segment begins; after each break a second has passed unseen."""
    begin = BEGIN + timedelta(seconds=sum(float(length(n)) for n in range(number)))
    begin += timedelta(seconds=sum(1 for at in BROKEN if at <= number))
    return begin.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def window(first: int, count: int = WINDOW) -> str:
    """The good playlist that begins with this segment."""
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "#EXT-X-TARGETDURATION:4",
        f"#EXT-X-MEDIA-SEQUENCE:{first}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{sum(1 for at in BROKEN if at < first)}",
    ]
    for number in range(first, first + count):
        lines += ["#EXT-X-DISCONTINUITY"] if number in BROKEN else []
        lines += [f"#EXT-X-PROGRAM-DATE-TIME:{date(number)}", f"#EXTINF:{length(number)},"]
        lines.append(f"/hls/run/name{number}.ts?t=token")
    return "\n".join(lines) + "\n"


def history(*playlists: str | bytes, ours: bool = True) -> History:
    made = History(ours=ours)
    for text in playlists:
        made.feed(text.encode() if isinstance(text, str) else text)
    return made


def test_a_good_history_has_nothing_wrong() -> None:
    made = History()
    for number in range(1, WINDOW):
        made.feed(window(0, number).encode(), 4.0 * number)
    for first in range(14):
        made.feed(window(first).encode(), 4.0 * (WINDOW + first))
        made.feed(window(first).encode(), 4.0 * (WINDOW + first) + 2)
    assert made.complaints == []
    assert (made.reloads, made.missed) == (33, 0)


def test_a_reader_that_comes_late_says_so_and_complains_of_nothing() -> None:
    made = history(window(0), window(9))
    assert (made.complaints, made.missed) == ([], 3)


def test_crlf_comments_and_blank_lines_are_allowed() -> None:
    text = window(0).replace("#EXT-X-TARGET", "\n# a comment\n#EXT-X-TARGET")
    assert read(text.replace("\n", "\r\n").encode()).complaints == []


def test_what_only_we_promise_is_not_asked_of_others() -> None:
    text = re.sub(r"#EXT-X-PROGRAM.*\n", "", window(0)).replace("/hls/run/", "")
    assert read(text.encode(), ours=False).complaints == []
    assert read(text.encode()).complaints != []


def test_it_reads_what_it_checks() -> None:
    playlist = read(window(2).encode())
    assert (playlist.version, playlist.target, playlist.sequence) == (3, 4, 2)
    assert (playlist.independent, playlist.end, playlist.seconds) == (True, 8, Decimal("24.000"))
    assert [segment.discontinuity for segment in playlist.segments] == [False, True] + 4 * [False]
    assert [segment.discontinuities for segment in playlist.segments] == [0] + 5 * [1]
    assert playlist.segments[0].uri == "/hls/run/name2.ts?t=token"


def put(old: str, new: str, text: str = window(0)) -> str:
    assert old in text
    return text.replace(old, new, 1)


def cut(line: str) -> str:
    """Without the first line that begins so."""
    changed, count = re.subn(rf"(?m)^{line}.*\n", "", window(0), count=1)
    assert count
    return changed


BAD_PLAYLISTS: dict[str, tuple[str | bytes, str]] = {
    # what is wrong: the playlist, and the clause and a word of the complaint
    "not UTF-8": (window(0).encode() + b"#\xff\n", "4.1: not UTF-8"),
    "a byte order mark": ("\ufeff" + window(0), "4.1: a byte order mark"),
    "a control character": (window(0) + "# \x07\n", "4.1: a control"),
    "a lone CR": (window(0) + "# a\rb\n", "4.1: a CR"),
    "no last line end": (window(0)[:-1], "4.1: the last line"),
    "something before EXTM3U": ("\n" + window(0), "4.3.1.1: the first line"),
    "EXTM3U twice": (put("#EXT-X-VER", "#EXTM3U\n#EXT-X-VER"), "4.3.1.1: #EXTM3U again"),
    "EXTM3U with a value": (put("#EXTM3U", "#EXTM3U:1"), "4.3.1.1: #EXTM3U has no value"),
    "nothing at all": ("\n", "4.3.1.1: the first line"),
    "small letters": (put("#EXTINF", "#extinf"), "4.1: tags are written in capitals"),
    "a tag that is none": (put("#EXT-X-VER", "#EXT-X-ALLOW-CACHE:NO\n#EXT-X-VER"), "4.1: no tag"),
    "a blank in a tag": (put("VERSION:3", "VERSION: 3"), "4.1: white space"),
    "a blank behind a tag": (put("4.000,", "4.000, "), "4.1: white space"),
    "a blank in a URI": (put("name0", "name 0"), "4.1: white space in a URI"),
    "a URI that is none": (put("name0", 'na"me0'), "4.1: not a URI"),
    "a fragment": (put("t=token", "t=token#x"), "4.1: not a URI"),
    "two versions": (put("#EXTINF", "#EXT-X-VERSION:3\n#EXTINF"), "4.3.1.2: #EXT-X-VERSION twice"),
    "a version that is no number": (put("VERSION:3", "VERSION:three"), "4.3.1.2: "),
    "a fraction in version 2": (put("VERSION:3", "VERSION:2"), "7: a fraction"),
    "a range in version 3": (
        put("#EXTINF", "#EXT-X-BYTERANGE:9@0\n#EXTINF"),
        "7: #EXT-X-BYTERANGE needs version 4",
    ),
    "no target": (cut("#EXT-X-TARGETDURATION"), "4.3.3.1: no EXT-X-TARGETDURATION"),
    "a target with a fraction": (put("DURATION:4", "DURATION:4.0"), "4.3.3.1: "),
    "two targets": (put("#EXTINF", "#EXT-X-TARGETDURATION:4\n#EXTINF"), "4.3.3: "),
    "a segment that rounds to more": (put("4.000", "4.500"), "4.3.3.1, Apple 7.7: 4.500 s"),
    "a duration that is none": (put("4.000", "four"), "4.3.2.1: not <duration>"),
    "a negative duration": (put("4.000", "-1"), "4.3.2.1: not <duration>"),
    "no comma": (put("4.000,", "4.000"), "4.3.2.1: not <duration>"),
    "no duration": (cut("#EXTINF"), "4.3.2.1: no EXTINF"),
    "two durations": (put("#EXTINF", "#EXTINF:1,\n#EXTINF"), "4.3.2: #EXTINF twice"),
    "tags at the end": (window(0) + "#EXTINF:4.000,\n", "4.3.2: #EXTINF stands before no"),
    "a late sequence number": (
        put("#EXT-X-MEDIA-SEQUENCE:0\n", "") + "#EXT-X-MEDIA-SEQUENCE:0\n",
        "4.3.3.2: #EXT-X-MEDIA-SEQUENCE behind",
    ),
    "a negative sequence number": (put("MEDIA-SEQUENCE:0", "MEDIA-SEQUENCE:-1"), "4.3.3.2: "),
    "a sequence number of 65 bits": (put("A-SEQUENCE:0", f"A-SEQUENCE:{1 << 64}"), "4.3.3.2: "),
    "a discontinuity before its sequence": (
        put("#EXT-X-DISC", "#EXT-X-DISCONTINUITY\n#EXT-X-DISC"),
        "4.3.3.3: #EXT-X-DISCONTINUITY-SEQUENCE behind",
    ),
    "a discontinuity with a value": (
        put("#EXT-X-DISCONTINUITY\n", "#EXT-X-DISCONTINUITY:1\n"),
        "4.3.2.3: ",
    ),
    "an end": (window(0) + "#EXT-X-ENDLIST\n", "4.3.3.4: "),
    "a type": (put("#EXT-X-VER", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-VER"), "4.3.3.5: "),
    "a tag of a master playlist": (
        put("#EXT-X-VER", "#EXT-X-STREAM-INF:BANDWIDTH=1\n#EXT-X-VER"),
        "4.3.4: ",
    ),
    "independent twice": (
        put("#EXT-X-IND", "#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-IND"),
        "4.3.5: #EXT-X-INDEPENDENT-SEGMENTS twice",
    ),
    "a date that is none": (put(date(1), "yesterday"), "4.3.2.6: no date"),
    "a date that cannot be": (put(date(1), "2026-13-01T12:00:00.000Z"), "4.3.2.6: no date"),
    "a date without milliseconds": (
        put(date(0), "2026-03-01T12:00:00Z"),
        "4.3.2.6: without milliseconds",
    ),
    "a date without a zone": (
        put(date(0), "2026-03-01T12:00:00.000"),
        "4.3.2.6: without milliseconds or a zone",
    ),
    "a date off the durations": (put(date(2), date(2).replace("07.9", "08.4")), "4.3.2.6, 6.3.3: "),
    "a date that goes back": (
        put(date(3), "2026-03-01T11:00:00.000Z"),
        "4.3.2.6: time goes back",
    ),
    "no date": (cut("#EXT-X-PROGRAM-DATE-TIME"), "Apple 8.4, ours: no date"),
    "no segment": (window(0, 0), "ours: an empty playlist"),
    "no version": (cut("#EXT-X-VERSION"), "ours: no #EXT-X-VERSION"),
    "a relative URI": (put("/hls/run/name0", "name0"), "ours: not an absolute path"),
    "a URI with a host": (put("/hls/run/name0", "http://host/name0"), "ours: not an absolute path"),
    "a segment twice": (put("name1", "name0"), "ours: the same segment twice"),
}


@pytest.mark.parametrize("name", BAD_PLAYLISTS)
def test_a_bad_playlist_is_told_with_its_clause(name: str) -> None:
    text, expected = BAD_PLAYLISTS[name]
    complaints = read(text.encode() if isinstance(text, str) else text).complaints
    assert any(complaint.startswith(expected) for complaint in complaints), complaints


BAD_STEPS: dict[str, tuple[tuple[str, ...], str]] = {
    "another target": ((window(0), put("N:4", "N:5", window(1))), "6.2.1: the target changes"),
    "another version": ((window(0), put("N:3", "N:4", window(1))), "6.2.1: the version changes"),
    "independence appears": (
        (cut("#EXT-X-INDEPENDENT"), window(1)),
        "6.2.1: EXT-X-INDEPENDENT-SEGMENTS appears",
    ),
    "the sequence goes back": ((window(1), window(0)), "6.2.2: the media sequence goes back"),
    "one is lost at the end": ((window(0), window(0, 5)), "6.2.1: segments are lost at the end"),
    "another URI": (
        (window(0), put("name3", "other", window(1))),
        "6.2.1: segment 3 changes from /hls/run/name3.ts",
    ),
    "another token": (
        (window(0), window(1).replace("t=token", "t=other")),
        "6.2.1: segment 1 changes from",
    ),
    "another duration": (
        (window(0), put("3.960", "3.961", window(1))),
        "6.2.1: the tags of segment 1 change",
    ),
    "a discontinuity vanishes": (
        (window(0), put("#EXT-X-DISCONTINUITY\n", "", window(1))),
        "6.2.1: the tags of segment 3 change",
    ),
    "the discontinuity sequence is forgotten": (
        (window(3), put("Y-SEQUENCE:1", "Y-SEQUENCE:0", window(4))),
        "6.2.2: the discontinuity sequence number of segment 4 changes",
    ),
    "the discontinuity sequence counts too early": (
        (window(2), put("Y-SEQUENCE:0", "Y-SEQUENCE:1", window(3))),
        "6.2.2: the discontinuity sequence number of segment 3 changes",
    ),
    "the discontinuity sequence goes back": (
        (window(4), put("Y-SEQUENCE:2", "Y-SEQUENCE:0", window(10))),
        "6.2.2: the discontinuity sequence goes back",
    ),
    "a segment comes again": (
        (window(0), put("name6", "name2", put("name2", "gone", window(1)))),
        "6.2.2: segment 2 comes again as 6",
    ),
    "the window gets short": (
        (window(0, 3), window(1, 2)),
        "6.2.2: 8.000 s are less than 3 target durations",
    ),
    "less than six": ((window(0, 5), window(1, 5)), "Apple 8.11: 5 segments"),
    "a date jumps between reloads": (
        (window(3), window(9).replace("#EXT-X-DISCONTINUITY\n", "")),
        "4.3.2.6, 6.3.3: the date of /hls/run/name9.ts",
    ),
}


@pytest.mark.parametrize("name", BAD_STEPS)
def test_a_bad_step_is_told_with_its_clause(name: str) -> None:
    playlists, expected = BAD_STEPS[name]
    complaints = history(*playlists).complaints
    expected = f"reload {len(playlists) - 1}: {expected}"
    assert any(complaint.startswith(expected) for complaint in complaints), complaints


def test_a_playlist_that_stands_still_is_told() -> None:
    made = History()
    for at in (0.0, 3.0, 6.0):
        made.feed(window(0).encode(), at)
    assert made.complaints == []
    made.feed(window(0).encode(), 6.6)
    assert made.complaints == ["reload 3: 6.2.2: nothing new for 6.6 s"]


def test_what_has_left_is_owed_for_its_own_time_and_the_longest_playlist() -> None:
    made = History()
    made.feed(window(0).encode(), 0.0)
    assert made.still_owed(0.0) == []
    made.feed(window(2).encode(), 8.0)
    # 24 s of playlist, and 4.000 or 3.960 s of segment
    assert made.still_owed(27.9) == [f"/hls/run/name{n}.ts?t=token" for n in (0, 1)]
    assert made.still_owed(27.98) == ["/hls/run/name0.ts?t=token"]
    assert made.still_owed(28.0) == []


# -- segments --


def cut_at_key_pictures(data: bytes) -> list[bytes]:
    """Segments as a packager makes them: PAT and PMT of their own before each key picture, and the
    counters of both going on.
    """
    offsets = [picture.offset for picture in key_pictures(data)]
    packets = [p for p in packets_of(data) if p[1] & 0x1F not in (0, 0x10) or p[2] != 0]
    body = b"".join(packets)
    assert len(offsets) > 3
    parts = []
    bounds = [*[0, *(picture.offset for picture in key_pictures(body))][1:], len(body)]
    for number, (begin, end) in enumerate(itertools.pairwise(bounds)):
        tables = table(0, pat({1: 0x1000}), cc=number)
        tables += table(0x1000, pmt(1, 0x100, [(0x1B, 0x100, b""), (0x0F, 0x101, b"")]), cc=number)
        parts.append(b"".join(tables) + body[begin:end])
    return parts


@pytest.fixture(scope="module")
def parts() -> list[bytes]:
    return cut_at_key_pictures(clip("h264"))


def test_good_segments_have_nothing_wrong(parts: list[bytes]) -> None:
    read_parts = [read_segment(part) for part in parts]
    assert [media.complaints for media in read_parts] == [[]] * len(parts)
    assert read_parts[0].streams == ("0x100 h264", "0x101 aac")
    for one, other in itertools.pairwise(read_parts):
        assert check_seam(one, Decimal("0.6"), other) == []


def damaged(change: Callable[[bytearray], object]) -> Callable[[bytes], bytes]:
    def made(data: bytes) -> bytes:
        copy = bytearray(data)
        change(copy)
        return bytes(copy)

    return made


def swap_tables(data: bytearray) -> None:
    data[: 2 * PACKET] = data[PACKET : 2 * PACKET] + data[:PACKET]


BAD_SEGMENTS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "a torn packet": (lambda data: data[:-1], "3.2: not whole packets"),
    "nothing": (lambda data: b"", "3.2: not whole packets"),
    "no sync byte": (damaged(lambda data: data.__setitem__(PACKET, 0)), "3.2: not whole packets"),
    "no PAT": (lambda data: data[PACKET:], "3.2: the first packet is no PAT"),
    "PMT before PAT": (damaged(swap_tables), "3.2: the first packet is no PAT"),
    "no PMT": (lambda data: data[:PACKET] + data[2 * PACKET :], "3.2: the second packet is no PMT"),
    "two programs": (
        lambda data: b"".join(table(0, pat({1: 0x1000, 2: 0x1001}))) + data[PACKET:],
        "3.2: 2 programs",
    ),
    "a lost packet": (
        lambda data: data[: 5 * PACKET] + data[6 * PACKET :],
        "3: the continuity counter",
    ),
    "a packet three times": (
        lambda data: data[: 4 * PACKET] + 3 * data[4 * PACKET : 5 * PACKET] + data[5 * PACKET :],
        "3: a packet of PID 0x100 stands there 3 times",
    ),
    "tables alone": (lambda data: data[: 2 * PACKET], "3.2: "),
}


@pytest.mark.parametrize("name", BAD_SEGMENTS)
def test_a_bad_segment_is_told_with_its_clause(parts: list[bytes], name: str) -> None:
    change, expected = BAD_SEGMENTS[name]
    complaints = read_segment(change(parts[1])).complaints
    assert any(complaint.startswith(expected) for complaint in complaints), complaints


def test_a_segment_that_begins_between_key_pictures_is_told(parts: list[bytes]) -> None:
    """Only where the playlist says that segments are independent; FFmpeg looks at the pictures and
    not at the flag.
    """
    packets = packets_of(parts[1])
    starts = [n for n, p in enumerate(packets) if p[1] & 0x40 and (p[1] & 0x1F, p[2]) == (1, 0)]
    late = b"".join(packets[:2] + packets[starts[1] :])
    (complaint,) = read_segment(late).complaints
    assert complaint.startswith("4.3.5.1, Apple 7.4: ")
    assert read_segment(late, independent=False).complaints == []
    assert read_segment(without_entry_flags(parts[1])).complaints == []


def test_tables_that_stand_twice_are_right_and_three_times_are_not(parts: list[bytes]) -> None:
    tables = parts[1][: 2 * PACKET]
    twice, thrice = (read_segment(parts[0] + more) for more in (tables, 2 * tables))
    again = read_segment(parts[1])
    assert (twice.complaints, thrice.complaints) == ([], [])
    assert check_seam(twice, Decimal("0.6"), again) == []
    found = check_seam(thrice, Decimal("0.6"), again)
    expected = [f"3: a packet of PID {pid} stands there 3 times" for pid in ("0x0", "0x1000")]
    assert found == expected
    begins_twice = read_segment(tables + parts[1])
    assert check_seam(read_segment(parts[0]), Decimal("0.6"), begins_twice) == []
    assert check_seam(read_segment(parts[0] + tables), Decimal("0.6"), begins_twice) == expected


def test_a_seam_that_does_not_go_on_is_told(parts: list[bytes]) -> None:
    first, second, third = (read_segment(part) for part in parts[:3])
    skipped = check_seam(first, Decimal("0.6"), third)
    assert any(text.startswith("3: the continuity counter of PID 0x0") for text in skipped)
    assert any(text.startswith("3, 4.3.2.1: 0.6 s by EXTINF, 1.2") for text in skipped)
    (wrong,) = check_seam(first, Decimal("0.7"), second)
    assert wrong == "3, 4.3.2.1: 0.7 s by EXTINF, 0.600 s by its time stamps"
    other = read_segment(clip("mpeg2"))
    assert any(text.startswith("4.3.2.3: streams") for text in check_seam(first, Decimal(0), other))
