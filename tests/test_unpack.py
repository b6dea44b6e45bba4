"""Packed documents: told by their first bytes, whole, damaged and made to hurt."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.errors import FormatError
from rawstream.unpack import PIECE_BYTES, Unpacker

LIMIT = 64 * 1024 * 1024
TEXT = b"".join(b"line %d of a document\n" % number for number in range(20_000))


def unpack(pieces: list[bytes], limit_bytes: int = LIMIT) -> tuple[bytes, Unpacker]:
    unpacker = Unpacker(what="list", limit_bytes=limit_bytes)
    out = []
    for piece in [*pieces, None]:
        if piece is None:
            unpacker.finish()
        else:
            unpacker.feed(piece)
        while read := unpacker.read():
            assert len(read) <= PIECE_BYTES
            out.append(read)
    return b"".join(out), unpacker


def split(data: bytes, *sizes: int) -> list[bytes]:
    pieces, at = [], 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    return pieces


PACKED = {
    "": TEXT,
    "gzip": gzip.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "gzip+gzip": gzip.compress(gzip.compress(TEXT)),
    "gzip+xz": gzip.compress(lzma.compress(TEXT)),
    "xz+gzip": lzma.compress(gzip.compress(TEXT)),
}


@pytest.mark.parametrize("packing", PACKED)
def test_a_document_comes_out_however_it_is_packed_and_cut(packing: str) -> None:
    data = PACKED[packing]
    for pieces in ([data], split(data, 1, 2, 3), split(data, 997), split(data, 5, 100_000)):
        out, unpacker = unpack(pieces)
        assert out == TEXT
        assert unpacker.packing == packing
        assert unpacker.unpacked_bytes == len(TEXT)
        assert unpacker.damage == ""


@given(st.lists(st.text("abc", max_size=100).map(str.encode), max_size=6), st.randoms())
def test_gzip_members_one_after_the_other_are_one_document(
    parts: list[bytes], chance: random.Random
) -> None:
    data = b"".join(gzip.compress(part) + b"\0" * chance.randrange(3) for part in parts)
    out, unpacker = unpack(split(data, chance.randrange(1, 50)))
    assert out == b"".join(parts)
    assert unpacker.damage == ""


@pytest.mark.parametrize("data", [b"", b"<", b"\x1f", b"\xfd7zX", b"<tv/>", b"short"])
def test_a_document_shorter_than_a_magic_number_comes_out_as_it_is(data: bytes) -> None:
    assert unpack(split(data, 1))[0] == data


def test_xz_streams_and_their_padding_are_one_document() -> None:
    data = lzma.compress(b"one ") + b"\0" * 8 + lzma.compress(b"two")
    assert unpack(split(data, 3))[0] == b"one two"


def test_garbage_behind_the_last_member_is_passed_over() -> None:
    data = gzip.compress(TEXT) + b"<html>served by nobody</html>"
    for size in (1, 10_000_000):
        out, unpacker = unpack(split(data, size))
        assert (out, unpacker.damage) == (TEXT, "")


@pytest.mark.parametrize("packing", [name for name in PACKED if name])
def test_of_a_document_that_was_cut_off_comes_out_what_was_there(packing: str) -> None:
    data = PACKED[packing]
    out, unpacker = unpack(split(data[: len(data) // 2], 1000))
    assert TEXT.startswith(out)
    assert unpacker.damage == "cut off before its end"


def test_all_that_came_before_the_cut_comes_out() -> None:
    compressor = zlib.compressobj(wbits=31)
    first = compressor.compress(TEXT) + compressor.flush(zlib.Z_SYNC_FLUSH)
    out, _ = unpack(split(first, 100))
    assert out == TEXT


@pytest.mark.parametrize("size", [1, 100, 10_000_000])
def test_a_wrong_checksum_loses_nothing_but_is_told(size: int) -> None:
    data = bytearray(gzip.compress(TEXT))
    data[-8] ^= 1
    out, unpacker = unpack(split(bytes(data), size))
    assert out == TEXT
    assert "incorrect data check" in unpacker.damage


def test_damage_in_the_middle_gives_the_same_text_however_the_bytes_are_cut() -> None:
    data = bytearray(gzip.compress(TEXT))
    data[len(data) // 2 :] = b"\xff" * 100
    outs = {unpack(split(bytes(data), size))[0] for size in (1, 333, 10_000_000)}
    assert len(outs) == 1
    (out,) = outs
    # the damaged codes may mean something for a few bytes before they mean nothing
    assert out[: len(TEXT) // 3] == TEXT[: len(TEXT) // 3]


def test_damaged_xz_is_told() -> None:
    data = bytearray(lzma.compress(TEXT))
    data[len(data) // 2] ^= 0xFF
    out, unpacker = unpack([bytes(data)])
    assert len(out) < len(TEXT)
    assert unpacker.damage


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_bomb_is_refused_at_the_limit(pack: object) -> None:
    assert callable(pack)
    bomb = pack(b"\0" * 20_000_000)
    for data in (bomb, pack(bomb)):
        unpacker = Unpacker(what="list", limit_bytes=1_000_000)
        unpacker.feed(data)
        taken = 0
        with pytest.raises(FormatError, match="more than 1000000 bytes"):
            while piece := unpacker.read():
                taken += len(piece)
        assert taken <= 1_000_000


def test_more_layers_than_anybody_makes_are_refused() -> None:
    data = gzip.compress(gzip.compress(gzip.compress(TEXT)))
    with pytest.raises(FormatError, match="packed more than 2 times"):
        unpack([data])


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"PK\x03\x04rest", "ZIP"),
        (bz2.compress(b"x"), "bzip2"),
        (b"7z\xbc\xaf\x27\x1crest", "7z"),
        (b"\x28\xb5\x2f\xfdrest", "Zstandard"),
        (b"Rar!\x1a\x07", "RAR"),
    ],
)
def test_a_packing_that_is_not_read_is_named(data: bytes, name: str) -> None:
    with pytest.raises(FormatError, match=name):
        unpack([data])


def test_xz_that_wants_a_huge_dictionary_is_damage_and_no_memory() -> None:
    data = bytearray(lzma.compress(TEXT))
    assert data[14:16] == b"\x21\x01", "the first block is filtered by LZMA2 alone (xz §5.3.1)"
    data[16] = 40  # a dictionary of 4 GiB
    end = 12 + (data[12] + 1) * 4 - 4
    data[end : end + 4] = zlib.crc32(data[12:end]).to_bytes(4, "little")
    out, unpacker = unpack([bytes(data)])
    assert out == b""
    assert "emory" in unpacker.damage
