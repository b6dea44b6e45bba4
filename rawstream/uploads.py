"""Lists that an operator uploads: documents that come in pieces and lie in the data directory.

Owns: the files, in which order a piece may come, how many there are and how long one lies there
unused. Must not know: HTTP, what a document is.

A list of 40 MB in one request would be 40 MB of our memory, and anybody could announce as much
before we know who he is. A piece is no larger than any other body, and a page that sends a file
piece by piece knows how far it is. All functions block on the disk: they are for a thread.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from rawstream.errors import ConfigError, StateError

DIRECTORY: Final = "uploads"
_MOST: Final = 50  # that no list is made of yet
_UNUSED_SECONDS: Final = 86_400
_NAME: Final = re.compile(r"([0-9]{1,10})\.list")


class Uploads:
    """All uploads of a data directory."""

    def __init__(self, data: Path, *, limit_bytes: int) -> None:
        self._directory = data.absolute() / DIRECTORY
        self.limit_bytes = limit_bytes

    def begin(self, used: Collection[str]) -> int:
        """A new one, empty; its number. `used`: places of lists; an upload that is none of them is
        removed after a day. Raises ConfigError: there are too many; StateError.
        """
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            if self._sweep(used) >= _MOST:
                raise ConfigError("", f"there are {_MOST} uploads that no list is made of")
            while True:
                number = secrets.randbelow((1 << 31) - 1) + 1
                try:
                    os.close(os.open(self._path(number), os.O_CREAT | os.O_EXCL, 0o600))
                except FileExistsError:
                    continue
                return number
        except OSError as error:
            raise _trouble(self._directory, error) from error

    def add(self, number: int, offset: int, piece: bytes) -> int:
        """Write a piece where it belongs; what was behind it goes, so that a piece may be sent
        again. Returns the bytes there are. Raises KeyError: no such upload; ConfigError: it leaves
        a gap, it would be too large; StateError.
        """
        path = self._path(number)
        try:
            with path.open("r+b") as file:
                size = os.fstat(file.fileno()).st_size
                if offset > size:
                    raise ConfigError("offset", f"there are {size} bytes yet")
                if offset + len(piece) > self.limit_bytes:
                    limit = "what is too large for limits.list_bytes"
                    raise ConfigError("offset", f"{limit} ({self.limit_bytes}) is not taken")
                file.truncate(offset)
                file.seek(offset)
                file.write(piece)
        except FileNotFoundError:
            raise KeyError(number) from None
        except OSError as error:
            raise _trouble(path, error) from error
        return offset + len(piece)

    def path(self, number: int) -> Path | None:
        """Of an upload that has something in it."""
        path = self._path(number)
        try:
            return path if path.stat().st_size else None
        except OSError:
            return None

    def remove(self, place: str) -> None:
        """Of a list that is no more; anything else than an upload stays."""
        if self.number_of(place) is not None:
            Path(place).unlink(missing_ok=True)

    def drop(self, number: int) -> None:
        """One that will be nothing."""
        self._path(number).unlink(missing_ok=True)

    def number_of(self, place: str) -> int | None:
        """Which upload a list's place is, None for all other places."""
        path = Path(place)
        found = _NAME.fullmatch(path.name)
        return int(found[1]) if found and path.parent == self._directory else None

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.list"

    def _sweep(self, used: Collection[str]) -> int:
        """How many are unused and stay."""
        there = 0
        for path in self._directory.iterdir():
            if str(path) in used or not _NAME.fullmatch(path.name):
                continue
            if path.stat().st_mtime < time.time() - _UNUSED_SECONDS:
                path.unlink(missing_ok=True)
            else:
                there += 1
        return there


def _trouble(path: Path, error: OSError) -> StateError:
    return StateError(str(path), error.strerror or "can't be written")
