"""Tokens in the URLs of HLS segments: whose they are, and until when they are good.

Owns: what a token says, and that nobody else can make one. Must not know: HTTP, accounts, segments.

A token holds no password, and is good for one packager's segments only. It stays the same for a
while, so that a player that reads a playlist again finds a segment under the URL it knows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import secrets
import struct
from typing import Final, NamedTuple

_CLAIMS: Final = struct.Struct(">IIII")
_SEAL_BYTES: Final = 14
_LENGTH: Final = 40  # characters of base64


class Claims(NamedTuple):
    """`account_id`, `channel_id` 0: a local player, a content. `watcher`: his number. `expires`:
    seconds since 1970.
    """

    account_id: int
    channel_id: int
    watcher: int
    expires: int


class HlsTokens:
    """Makes and reads them, with a key of this process. `seconds`: how long one is good, at least;
    at most twice that.
    """

    def __init__(self, seconds: float) -> None:
        self._key = secrets.token_bytes(32)
        self._seconds = max(1, math.ceil(seconds))

    def issue(
        self, run: str, watcher: int, now: float, *, account_id: int = 0, channel_id: int = 0
    ) -> str:
        """`run`: the packager. `now`: seconds since 1970. Equal within a span of `seconds`."""
        expires = (int(now) // self._seconds + 2) * self._seconds
        claims = _CLAIMS.pack(account_id, channel_id, watcher, expires)
        return base64.urlsafe_b64encode(claims + self._seal(run, claims)).decode()

    def read(self, run: str, token: str, now: float) -> Claims | None:
        """None for one that is not ours, was changed, belongs to other segments or has expired."""
        if len(token) != _LENGTH:
            return None
        try:
            found = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        packed, seal = found[: _CLAIMS.size], found[_CLAIMS.size :]
        if not hmac.compare_digest(seal, self._seal(run, packed)):
            return None
        claims = Claims(*_CLAIMS.unpack(packed))
        return claims if claims.expires > now else None

    def _seal(self, run: str, claims: bytes) -> bytes:
        return hmac.digest(self._key, run.encode() + b"\0" + claims, hashlib.sha256)[:_SEAL_BYTES]
