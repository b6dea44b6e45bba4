"""Documents as they come off the web, unpacked: gzip and xz, told by their first bytes.

Owns: which packing a document has (its name and its Content-Type lie too often to be asked), layers
of it, and the bound on what comes out. Must not know: what the document is, where it is from.

Bytes go in with `feed` in any pieces and are read one bounded piece at a time, so that a document
that swells a thousandfold never lies in memory.
"""

from __future__ import annotations

import lzma
import zlib
from collections import deque
from typing import Final, Protocol

from rawstream.errors import FormatError

PIECE_BYTES: Final = 64 * 1024
# a server that packs what was packed already makes two layers; nobody makes more in good faith
LAYERS_MAX: Final = 2

_GZIP: Final = b"\x1f\x8b"  # RFC 1952 §2.3.1
_XZ: Final = b"\xfd7zXZ\x00"  # the .xz file format, §2.1.1.1
_MAGIC_BYTES: Final = len(_XZ)
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS  # zlib's way to be asked for RFC 1952's head and trailer
# xz -9 announces a dictionary of 64 MiB; what wants more was made to hurt
_XZ_MEMORY_BYTES: Final = 96 * 1024 * 1024

_NOT_READ: Final = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"BZh", "packed with bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "packed with Zstandard"),
    (b"Rar!", "a RAR archive"),
)


class _Damaged(Exception):
    """The packing can't be followed any further; `rescued` is what the same call brought before."""

    def __init__(self, reason: str, rescued: bytes) -> None:
        super().__init__(reason, rescued)
        self.reason = reason
        self.rescued = rescued


class _Stream(Protocol):
    """One packed stream; several may follow each other in one document."""

    ended: bool

    def unpack(self, data: bytes) -> tuple[bytes, bytes]:
        """At most `PIECE_BYTES` unpacked, and the input to begin the next call with.

        Empty output means that more input is wanted or that the stream has ended. Raises _Damaged.
        """


class _GzipStream:
    """One member of a gzip file (RFC 1952 §2.2)."""

    def __init__(self) -> None:
        self.ended = False
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)

    def unpack(self, data: bytes) -> tuple[bytes, bytes]:
        before = self._inflate.copy()
        try:
            piece = self._inflate.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise _Damaged(str(error), _inflated_before_error(before, data)) from error
        self.ended = self._inflate.eof
        return piece, self._inflate.unused_data or self._inflate.unconsumed_tail


def _inflated_before_error(inflate: zlib._Decompress, data: bytes) -> bytes:
    """What zlib drops together with the bad byte, were it only one of the checksum."""
    pieces = []
    try:
        for at in range(len(data)):
            pieces.append(inflate.decompress(data[at : at + 1]))
    except zlib.error:
        pass  # the caller has it already
    return b"".join(pieces)


class _XzStream:
    """One stream of an xz file (§2.1)."""

    def __init__(self) -> None:
        self.ended = False
        self._lzma = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)

    def unpack(self, data: bytes) -> tuple[bytes, bytes]:
        try:
            piece = self._lzma.decompress(data, PIECE_BYTES)
        except lzma.LZMAError as error:
            raise _Damaged(str(error), b"") from error
        self.ended = self._lzma.eof
        return piece, self._lzma.unused_data


class Unpacker:
    """Takes a document in pieces, gives it back unpacked in pieces of at most `PIECE_BYTES`.

    `what` names the document in errors; more than `limit_bytes` never come out of any layer.
    """

    def __init__(self, *, what: str, limit_bytes: int, _layers: int = LAYERS_MAX) -> None:
        self._what = what
        self._limit_bytes = limit_bytes
        self._layers = _layers

        self._input: deque[bytes] = deque()
        self._complete = False  # nothing more will be fed
        self._sniffed = False
        self._stream: _Stream | None = None
        self._inner: Unpacker | None = None
        self._over = False  # what still comes in is not looked at

        self._packing = ""
        self._layer_bytes = 0
        self._layer_damage = ""

    @property
    def packing(self) -> str:
        """What the document was packed with, outermost first: '', 'gzip', 'gzip+xz'..."""
        inner = self._inner.packing if self._inner is not None else ""
        return f"{self._packing}+{inner}" if inner else self._packing

    @property
    def damage(self) -> str:
        """Why unpacking stopped before the end; '' for a document that is whole."""
        inner = self._inner.damage if self._inner is not None else ""
        return self._layer_damage or inner

    @property
    def unpacked_bytes(self) -> int:
        """How many bytes `read` has returned so far."""
        return self._layer_bytes if self._inner is None else self._inner.unpacked_bytes

    def feed(self, data: bytes) -> None:
        """Take a piece of the document; `read` until it returns nothing gives what is in it."""
        if data and not self._over:
            self._input.append(data)

    def finish(self) -> None:
        """Say that the document is over; `read` gives what was waiting for more."""
        self._complete = True

    def read(self) -> bytes:
        """The next unpacked piece, or b'' when more has to be fed (after `finish`: at the end).

        Raises FormatError: a packing that isn't read, too many layers, more than the limit.
        """
        while True:
            if self._inner is not None and (piece := self._inner.read()):
                return piece
            piece = self._next()
            if piece:
                self._layer_bytes += len(piece)
                if self._layer_bytes > self._limit_bytes:
                    raise FormatError(self._what, f"unpacks to more than {self._limit_bytes} bytes")
                if self._inner is None:
                    return piece
                self._inner.feed(piece)
            elif self._inner is None or self._inner._complete or not self._complete:
                return b""
            else:
                self._inner.finish()

    def _next(self) -> bytes:
        """A piece out of this layer alone."""
        if not self._sniffed and not self._sniff():
            return b""
        return self._next_packed() if self._packing else self._take(PIECE_BYTES)

    def _take(self, size: int) -> bytes:
        if not self._input:
            return b""
        data = self._input.popleft()
        if len(data) > size:
            self._input.appendleft(data[size:])
        return data[:size]

    def _peek(self, size: int) -> bytes:
        """The next `size` bytes, left where they are; fewer when fewer are there."""
        while len(self._input) > 1 and len(self._input[0]) < size:
            first = self._input.popleft()
            self._input[0] = first + self._input[0]
        return self._input[0][:size] if self._input else b""

    def _sniff(self) -> bool:
        """Tell the packing by the first bytes; False while too few are there."""
        magic = self._peek(_MAGIC_BYTES)
        if len(magic) < _MAGIC_BYTES and not self._complete:
            return False
        for prefix, name in _NOT_READ:
            if magic.startswith(prefix):
                raise FormatError(self._what, f"{name}, which is not read; use gzip or xz")
        self._sniffed = True
        self._stream = _stream_of(magic)
        if self._stream is not None:
            if not self._layers:
                raise FormatError(self._what, f"packed more than {LAYERS_MAX} times")
            self._packing = "gzip" if isinstance(self._stream, _GzipStream) else "xz"
            self._inner = Unpacker(
                what=self._what, limit_bytes=self._limit_bytes, _layers=self._layers - 1
            )
        return True

    def _next_packed(self) -> bytes:
        while not self._over:
            if self._stream is None and not self._next_stream():
                return b""
            assert self._stream is not None, "a next stream was just begun"
            # a stream that filled its last piece may hold more output than it has input
            data = self._take(PIECE_BYTES)
            try:
                piece, rest = self._stream.unpack(data)
            except _Damaged as damage:
                self._give_up(damage.reason)
                return damage.rescued
            if rest:
                self._input.appendleft(rest)
            if self._stream.ended:
                self._stream = None
            elif not piece and not self._input:
                if self._complete:
                    self._give_up("cut off before its end")
                return b""
            if piece:
                return piece
        return b""

    def _next_stream(self) -> bool:
        """Begin the stream that follows one that has ended; False when there is none (yet)."""
        while (head := self._peek(PIECE_BYTES)) and not head.strip(b"\0"):
            self._take(len(head))  # padding (xz §2.2; tapes and some servers pad gzip)
        if not head:
            return False
        stripped = head.lstrip(b"\0")
        self._take(len(head) - len(stripped))
        magic = self._peek(_MAGIC_BYTES)
        if len(magic) < _MAGIC_BYTES and not self._complete:
            return False
        self._stream = _stream_of(magic)
        if self._stream is None:
            self._over = True  # as gzip(1) does with trailing garbage: the document was whole
            self._input.clear()
        return self._stream is not None

    def _give_up(self, reason: str) -> None:
        self._layer_damage = reason
        self._over = True
        self._input.clear()


def _stream_of(magic: bytes) -> _Stream | None:
    if magic.startswith(_GZIP):
        return _GzipStream()
    return _XzStream() if magic.startswith(_XZ) else None
