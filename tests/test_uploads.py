"""Documents that come in pieces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rawstream.errors import ConfigError, StateError
from rawstream.uploads import Uploads


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path, limit_bytes=10)


def test_pieces_in_their_order_and_one_sent_again(uploads: Uploads) -> None:
    number = uploads.begin(())
    assert uploads.path(number) is None, "nothing in it"
    assert uploads.add(number, 0, b"abcd") == 4
    assert uploads.add(number, 4, b"efgh") == 8
    assert uploads.add(number, 4, b"EF") == 6
    path = uploads.path(number)
    assert path is not None and path.read_bytes() == b"abcdEF"
    assert path.stat().st_mode & 0o077 == 0
    assert uploads.number_of(str(path)) == number


def test_a_gap_a_document_too_large_and_one_that_nobody_began(uploads: Uploads) -> None:
    number = uploads.begin(())
    with pytest.raises(ConfigError, match="0 bytes"):
        uploads.add(number, 1, b"x")
    uploads.add(number, 0, b"0123456789")
    with pytest.raises(ConfigError, match="too large"):
        uploads.add(number, 10, b"x")
    with pytest.raises(KeyError):
        uploads.add(number + 1, 0, b"x")
    assert uploads.path(number + 1) is None


def test_what_no_list_is_made_of_goes_after_a_day(uploads: Uploads, tmp_path: Path) -> None:
    old, used = uploads.begin(()), uploads.begin(())
    for number in (old, used):
        uploads.add(number, 0, b"x")
        path = uploads.path(number)
        assert path is not None
        os.utime(path, (1, 1))
    place = str(uploads.path(used))
    uploads.begin({place})
    assert uploads.path(old) is None
    assert uploads.path(used) is not None
    strange = tmp_path / "note.txt"
    strange.write_text("x")
    for other in (str(strange), "http://h/1.list", str(tmp_path / "1.list")):
        uploads.remove(other)
    assert strange.exists()
    uploads.remove(place)
    assert uploads.path(used) is None


def test_there_is_an_end_to_them(uploads: Uploads, tmp_path: Path) -> None:
    for _ in range(50):
        uploads.begin(())
    with pytest.raises(ConfigError, match="50 uploads"):
        uploads.begin(())
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError):
        Uploads(tmp_path / "file", limit_bytes=1).begin(())
