"""The ring alone: what is kept, where one may start, what announces a jump."""

from __future__ import annotations

import pytest
from ts_clips import packet

from rawstream.config import Limits
from rawstream.continuity import ContinuityChecker
from rawstream.mpegts import PACKET_SIZE, RandomAccessPoint
from rawstream.ring import EntryPoint, Ring

TABLES = packet(0, b"\0", cc=5) + packet(0x100, b"\0", cc=7)


def ring(**limits: int | float) -> Ring:
    return Ring(Limits(**limits))  # type: ignore[arg-type]


def fill(ring: Ring, chunks: int, *, size: int = 1880, seconds: float = 1.0) -> None:
    for number in range(ring.next, ring.next + chunks):
        data = bytes([number & 0xFF]) * size
        ring.append(data, number * seconds, (number + 1) * seconds)


def point(offset: int = 0) -> RandomAccessPoint:
    return RandomAccessPoint(offset, TABLES, None)


def test_what_is_young_or_little_is_kept_and_the_rest_dropped_oldest_first() -> None:
    kept = ring(ring_bytes=200_000, ring_cap_bytes=400_000, ring_seconds=10)
    fill(kept, 1000)
    kept.entries.append(EntryPoint(999, 0, 999.0, b""))
    kept.evict()
    assert kept.size <= 200_000
    assert kept.seconds >= 10
    assert kept.first == 1000 - kept.size // 1880


def test_the_newest_entry_point_outlives_time_and_size_but_not_the_cap() -> None:
    kept = ring(ring_bytes=200_000, ring_cap_bytes=400_000, ring_seconds=1)
    fill(kept, 150)
    assert kept.note([point()], 5)
    kept.evict()
    assert (kept.first, len(kept.entries)) == (5, 1)
    fill(kept, 150)
    kept.evict()
    assert kept.size <= 400_000
    assert not kept.entries


def test_a_point_that_began_in_an_earlier_chunk_is_placed_there() -> None:
    kept = ring()
    fill(kept, 3)
    assert kept.note([point(-1880 - 376)], 2)
    assert kept.entries[0][:2] == (0, 1880 - 376)


def test_a_point_is_noted_once_and_one_that_has_left_the_ring_never() -> None:
    kept = ring()
    fill(kept, 2)
    assert kept.note([point(0)], 1)
    assert not kept.note([point(0)], 1)
    assert not kept.note([point(-999_999)], 1)
    assert len(kept.entries) == 1


def test_the_entry_point_nearest_to_a_time_is_found() -> None:
    kept = ring()
    fill(kept, 30)
    for sequence in (3, 13, 23):
        kept.note([point()], sequence)
    for seconds, sequence in ((0, 3), (7, 3), (9, 13), (17, 13), (19, 23), (99, 23)):
        entry = kept.entry_near(seconds)
        assert entry is not None and entry.sequence == sequence
    assert ring().entry_near(1.0) is None


def test_small_chunks_are_gathered_and_big_ones_handed_out_as_they_are() -> None:
    kept = ring()
    fill(kept, 10, size=1000)
    fill(kept, 1, size=9000)
    data, cursor = kept.gather(0, 4500)
    assert (len(data), cursor) == (4000, 4)
    data, cursor = kept.gather(8, 4500)
    assert (len(data), cursor) == (2000, 10)
    big, cursor = kept.gather(10, 4500)
    assert (len(big), cursor) == (9000, 11)
    assert kept.gather(10, 4500)[0] is big


def test_the_tail_is_bounded_in_time_and_in_bytes() -> None:
    kept = ring()
    fill(kept, 100)
    assert len(kept.tail(5, 10**9)) == 6 * 1880
    assert len(kept.tail(50, 4000)) == 2 * 1880
    assert ring().tail(5, 100) == b""


@pytest.mark.parametrize("rare_is_ahead", [True, False])
def test_a_jump_is_marked_on_every_pid_the_rare_ones_too(rare_is_ahead: bool) -> None:
    kept = ring()
    before = [packet(0x11, b"r", cc=3)] + [packet(0x101, b"v", cc=n & 15) for n in range(100)]
    ahead = [packet(0x101, b"v", cc=n & 15) for n in range(100, 120)]
    later = [packet(0x11, b"r", cc=4), packet(0x101, b"v", cc=120 & 15)]
    kept.append(b"".join(before), 0.0, 1.0)
    kept.append(b"".join(ahead + (later if rare_is_ahead else [])), 1.0, 2.0)
    kept.note([point()], 1)
    entry = kept.entries[0]
    marks = kept.marks(entry)
    seen = packet(0x11, b"r", cc=9) + packet(0x101, b"v", cc=1) + packet(0, b"\0", cc=0)
    stream = seen + marks + kept.start(entry) + (b"" if rare_is_ahead else b"".join(later))
    assert ContinuityChecker().feed(stream) == []
    assert len(marks) == 4 * PACKET_SIZE
    assert kept.marks(entry) is marks, "made once for all who jump there"
