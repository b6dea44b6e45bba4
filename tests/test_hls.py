"""What playlists say, and where a reader of a live one is."""

from __future__ import annotations

import pytest

from rawstream.errors import FormatError
from rawstream.hls import (
    Key,
    LiveEdge,
    MediaPlaylist,
    Segment,
    ranked_variants,
    read_playlist,
    refuse_other_containers,
    whole_packets,
)

URL = "https://h/a/live.m3u8?token=t"


def media(text: str) -> MediaPlaylist:
    found = read_playlist(b"#EXTM3U\n" + text.encode(), URL)
    assert isinstance(found, MediaPlaylist)
    return found


def test_segments_have_their_numbers_addresses_keys_and_ranges() -> None:
    found = media(
        "#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:41\n"
        "#EXTINF:5.5,title\none.ts\n"
        '#EXT-X-KEY:METHOD=AES-128,URI="/k",IV=0x10\n'
        "#EXTINF:6,\n#EXT-X-BYTERANGE:100@50\nhttp://cdn/two.ts\n"
        '#EXT-X-KEY:METHOD=AES-128,URI="k2"\n'
        "#EXT-X-DISCONTINUITY\n#EXTINF:6\n#EXT-X-BYTERANGE:30\nhttp://cdn/two.ts\n"
        "#EXT-X-KEY:METHOD=NONE\n#EXT-X-GAP\n#EXTINF:4,\n../four.ts\n"
    )
    assert (found.target_seconds, found.ended) == (6.0, False)
    assert found.segments == (
        Segment(41, "https://h/a/one.ts", 5.5),
        Segment(
            42,
            "http://cdn/two.ts",
            6.0,
            (50, 100),
            Key("https://h/k", (16).to_bytes(16, "big")),
        ),
        Segment(
            43,
            "http://cdn/two.ts",
            6.0,
            (150, 30),
            Key("https://h/a/k2", (43).to_bytes(16, "big")),
            discontinuity=True,
        ),
        Segment(44, "https://h/four.ts", 4.0, gap=True),
    )


def test_an_end_is_seen() -> None:
    assert media("#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST\n").ended


def test_a_playlist_without_a_target_duration_has_its_longest_segment_for_one() -> None:
    assert media("#EXTINF:3,\na.ts\n#EXTINF:5,\nb.ts\n").target_seconds == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "no playlist"),
        (b"<html>Not found</html>", "no playlist"),
        (b"#EXTM3U\n", "no segments"),
        (b"#EXTM3U\n#EXTINF:abc,\na.ts\n", "a line"),
        (b'#EXTM3U\n#EXT-X-MAP:URI="i.mp4"\n#EXTINF:6,\na.m4s\n', "fMP4"),
        (b'#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:6,\na.ts\n', "SAMPLE-AES"),
        (b"#EXTM3U\n#EXT-X-KEY:METHOD=AES-128\n#EXTINF:6,\na.ts\n", "without a URI"),
        (b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0xzz\n#EXTINF:6,\na.ts\n', "IV"),
        (
            b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="k",KEYFORMAT="com.widevine"\n#EXTINF:6,\na.ts',
            "encrypted",
        ),
        (b"#EXTM3U\n#EXTINF:6,\n#EXT-X-BYTERANGE:x@y\na.ts\n", "byte range"),
        (b"#EXTM3U\n#EXTINF:6,\nhttp://[::1/a.ts\n", "a line"),
        (b"#EXTM3U\n" + b"#EXTINF:6,\na.ts\n" * 100_000, "lines"),
    ],
)
def test_what_is_not_carried_is_named(text: bytes, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_playlist(text, URL)
    assert words in caught.value.reason
    assert "token" not in str(caught.value)


@pytest.mark.parametrize("written", ["0", "-4", "nan", "inf", "1e308", "0.001"])
def test_durations_that_are_none_can_be_waited_for(written: str) -> None:
    try:
        found = media(f"#EXTINF:{written},\na.ts\n")
    except FormatError:
        return
    assert 0.5 <= found.target_seconds <= 120
    assert 0 <= found.segments[0].seconds <= 120


@pytest.mark.parametrize("number", ["-4", str(1 << 63), "9" * 50])
def test_a_number_of_any_size_has_an_iv(number: str) -> None:
    found = media(
        f'#EXT-X-MEDIA-SEQUENCE:{number}\n#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXTINF:6,\na.ts\n'
    )
    key = found.segments[0].key
    assert key is not None
    assert len(key.iv) == 16


def master(*variants: str, head: str = "") -> str:
    lines = [f"#EXT-X-STREAM-INF:{what}\nv{n}.m3u8" for n, what in enumerate(variants)]
    found = read_playlist("\n".join(["#EXTM3U", head, *lines]).encode(), URL)
    assert not isinstance(found, MediaPlaylist)
    return ranked_variants(found)[0].url


def test_the_ranked_variants_has_pictures_and_its_own_sound() -> None:
    sound = 'BANDWIDTH=900,CODECS="mp4a.40.2"'
    audio = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="g",NAME="n",URI="a.m3u8"'
    muxed = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="m",NAME="n"'
    assert master("BANDWIDTH=1", "BANDWIDTH=5", "BANDWIDTH=3") == "https://h/a/v1.m3u8"
    assert master(sound, 'BANDWIDTH=5,CODECS="avc1.4d001f,mp4a.40.2"') == "https://h/a/v1.m3u8"
    assert master('BANDWIDTH=9,AUDIO="g"', "BANDWIDTH=5", head=audio) == "https://h/a/v1.m3u8"
    assert master('BANDWIDTH=9,AUDIO="m"', "BANDWIDTH=5", head=muxed) == "https://h/a/v0.m3u8"
    assert master(sound) == "https://h/a/v0.m3u8", "radio"
    ranked = [f"https://h/a/v{number}.m3u8" for number in (1, 2, 0)]
    text = "".join(
        f"#EXT-X-STREAM-INF:{one}\nv{n}.m3u8\n"
        for n, one in enumerate((sound, "BANDWIDTH=5,RESOLUTION=1x1", "BANDWIDTH=3,RESOLUTION=1x1"))
    )
    found = read_playlist(b"#EXTM3U\n" + text.encode(), URL)
    assert not isinstance(found, MediaPlaylist)
    assert [variant.url for variant in ranked_variants(found)] == ranked
    with pytest.raises(FormatError, match="sound"):
        master('BANDWIDTH=9,AUDIO="g"', head=audio)


def listed(first: int, count: int, seconds: float = 6.0) -> MediaPlaylist:
    segments = tuple(Segment(n, f"http://h/{n}.ts", seconds) for n in range(first, first + count))
    return MediaPlaylist(6.0, segments, ended=False)


def taken(edge: LiveEdge, playlist: MediaPlaylist) -> tuple[list[int], list[bool]]:
    new = edge.take(playlist)
    return [one.number for one in new], [one.discontinuity for one in new]


def test_a_reader_begins_near_the_end_and_goes_on() -> None:
    edge = LiveEdge()
    assert taken(edge, listed(10, 8)) == ([15, 16, 17], [False] * 3)
    assert taken(edge, listed(10, 8)) == ([], [])
    assert taken(edge, listed(12, 8)) == ([18, 19], [False] * 2)
    assert taken(edge, listed(11, 8)) == ([], []), "an older copy, from a cache"
    assert taken(edge, listed(14, 7)) == ([20], [False])


def test_what_was_missed_is_a_discontinuity() -> None:
    edge = LiveEdge()
    edge.take(listed(10, 3))
    assert taken(edge, listed(20, 3)) == ([20, 21, 22], [True, False, False])


def test_an_origin_that_counts_anew_is_followed() -> None:
    edge = LiveEdge()
    edge.take(listed(5000, 5))
    assert taken(edge, listed(0, 5)) == ([2, 3, 4], [True, False, False])
    assert taken(edge, listed(1, 5)) == ([5], [False])


def test_another_reader_goes_on_behind_what_was_sent() -> None:
    edge = LiveEdge()
    edge.take(listed(10, 8))
    edge.sent(listed(16, 1).segments[0])  # 17 was taken, and never came
    edge.begin()
    assert taken(edge, listed(10, 8)) == ([17], [False])
    assert taken(edge, listed(12, 8)) == ([18, 19], [False] * 2)


def test_another_reader_does_not_go_on_where_nobody_is_any_more() -> None:
    edge = LiveEdge()
    edge.take(listed(10, 100))
    edge.sent(listed(50, 1).segments[0])
    edge.begin()
    assert taken(edge, listed(10, 100))[0] == [107, 108, 109], "long past"
    edge.begin()
    edge.sent(listed(109, 1).segments[0])
    edge.begin()
    assert taken(edge, listed(10, 100)) == ([], []), "it has all there is"
    edge.begin()
    assert taken(edge, listed(0, 8))[0] == [5, 6, 7], "the origin counts anew"


def test_what_follows_a_long_gap_begins_near_the_end() -> None:
    edge = LiveEdge()
    edge.take(listed(10, 8))
    assert taken(edge, listed(500, 100)) == ([597, 598, 599], [True, False, False])


def test_segments_without_a_duration_count_as_long_as_the_target() -> None:
    assert taken(LiveEdge(), listed(1, 50, seconds=0.0))[0] == [48, 49, 50]


def test_packets_are_whole() -> None:
    packet = b"\x47" + bytes(187)
    assert whole_packets(packet) == packet
    assert whole_packets(b"junk" + packet * 3 + packet[:100]) == packet * 3
    for none in (b"", b"\x47", b"<html>G" + b"<p>Log in</p>" * 100, bytes(1000)):
        with pytest.raises(FormatError):
            whole_packets(none)


def test_long_segments_are_begun_one_at_least() -> None:
    assert taken(LiveEdge(), listed(1, 2, seconds=60.0)) == ([2], [False])


@pytest.mark.parametrize(
    "data", [b"\0\0\0\x18ftypisom", b"\0\0\0\x18stypmsdh", b"ID3\4", b"\xff\xf1P\x80", b"WEBVTT\n"]
)
def test_other_containers_are_told_by_their_first_bytes(data: bytes) -> None:
    with pytest.raises(FormatError):
        refuse_other_containers(data)
    refuse_other_containers(b"\x47\x40\x00")
