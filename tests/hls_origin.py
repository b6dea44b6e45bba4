"""An HLS origin for tests: a live playlist over a bundled clip, faster than life, with what goes
wrong to order.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from players import find_program
from stage import until
from web import serving

from rawstream.broadcast import Broadcast
from rawstream.mpegts import PACKET_SIZE
from rawstream.simulator import bundled_contents

WINDOW = 5  # segments in a playlist
KEY = bytes(range(16))


def clip_at(place: int) -> bytes:
    """One of the bundled clips, by its place among them."""
    return Path(bundled_contents()[place].clip).read_bytes()


def counted_anew(segment: bytes) -> bytes:
    """A segment as a packager makes it that counts from 0 in each."""
    data = bytearray(segment)
    counters: dict[int, int] = {}
    for at in range(0, len(data), PACKET_SIZE):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if data[at + 3] & 0x10:
            counters[pid] = (counters.get(pid, -1) + 1) & 0x0F
        data[at + 3] = data[at + 3] & 0xF0 | counters.get(pid, 0)
    return bytes(data)


class HlsOrigin:
    """`live()` says how far it is; set the other attributes to make it misbehave."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self.broadcast = Broadcast(clip_at(0))
        self.base = ""
        self.requests: list[tuple[str, dict[str, str]]] = []
        # -- what it serves --
        self.first_number = 1000
        self.other: Broadcast | None = None  # another clock, from segment `other_from` on
        self.other_from = 0
        self.key_method = ""  # AES-128
        self.explicit_iv = False
        self.by_range = False
        self.missing: set[int] = set()
        self.head = ""  # more lines of the playlist
        self.foot = ""
        self.body: bytes | None = None  # instead of any playlist
        self.segment_body: bytes | None = None  # instead of any segment
        self.segment_bodies: dict[int, bytes] = {}  # instead of some
        self.packed = False  # segments come packed, and nobody says so
        self.key = KEY
        self.key_body: bytes | None = None  # instead of the key
        self.delay_seconds = 0.0  # before each answer
        self.dead = ""  # what is not there, by the beginning of its path
        self.count_anew = False  # continuity counters begin at 0 in each segment
        self.status = 200
        self.frozen_at: int | None = None  # no segment is added behind it
        self._begun = asyncio.get_running_loop().time()

    @property
    def seconds(self) -> float:
        """Of one segment, as the playlist says."""
        return round(self.broadcast.segment_seconds(0) / self.speed, 3)

    def newest(self) -> int:
        """The number of the newest whole segment."""
        elapsed = asyncio.get_running_loop().time() - self._begun
        number = self.first_number + WINDOW + int(elapsed / self.seconds)
        return number if self.frozen_at is None else min(number, self.frozen_at)

    def segment(self, number: int) -> bytes:
        """A segment in clear."""
        place = number - self.first_number
        if self.other is not None and number >= self.other_from:
            return self.other.segment(number - self.other_from)
        data = self.broadcast.segment(place)
        return counted_anew(data) if self.count_anew else data

    def asked(self, start: str) -> list[str]:
        return [path for path, _ in self.requests if path.startswith(start)]

    # -- answers --

    def media_playlist(self) -> str:
        newest = self.newest()
        first = newest - WINDOW + 1
        lines = [
            "#EXTM3U",
            "#EXT-X-VERSION:4",
            f"#EXT-X-TARGETDURATION:{max(1, round(self.seconds))}",
            f"#EXT-X-MEDIA-SEQUENCE:{first}",
        ]
        lines += self.head.splitlines()
        for number in range(first, newest + 1):
            if self.other is not None and number == self.other_from:
                lines.append("#EXT-X-DISCONTINUITY")
            if self.key_method:
                iv = f",IV=0x{number * 7:032x}" if self.explicit_iv else ""
                lines.append(f'#EXT-X-KEY:METHOD={self.key_method},URI="key"{iv}')
            lines.append(f"#EXTINF:{self.seconds},")
            if self.by_range:
                size = len(self.segment(number))
                lines.append(f"#EXT-X-BYTERANGE:{size}@{number * 10_000_000}")
                lines.append("whole.ts")
            else:
                lines.append(f"segment/{number}.ts?token=t")
        lines += self.foot.splitlines()
        return "\n".join(lines) + "\n"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.path, headers))
        path = request.path
        await asyncio.sleep(self.delay_seconds)
        if self.dead and path.startswith(self.dead):
            return web.Response(status=404)
        if self.status != 200 and not path.startswith("/segment"):
            return web.Response(status=self.status)
        if path == "/moved.m3u8":
            return web.Response(status=302, headers={"Location": "/live.m3u8?signed=1"})
        if path == "/master.m3u8":
            text = (
                '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100,CODECS="mp4a.40.2"\nsound.m3u8\n'
                "#EXT-X-STREAM-INF:BANDWIDTH=90,RESOLUTION=320x180\nlive.m3u8\n"
                "#EXT-X-STREAM-INF:BANDWIDTH=50,RESOLUTION=160x90\nlive\n"
            )
            return web.Response(text=text, content_type="application/vnd.apple.mpegurl")
        if path in ("/live.m3u8", "/live"):
            body = self.body if self.body is not None else self.media_playlist().encode()
            return web.Response(body=body, content_type="text/plain")
        if path == "/key":
            return web.Response(body=self.key if self.key_body is None else self.key_body)
        if path == "/whole.ts":
            first, last = map(int, headers["range"].removeprefix("bytes=").split("-"))
            data = self.segment(first // 10_000_000)
            assert len(data) == last - first + 1
            return web.Response(status=206, body=data)
        if path.startswith("/segment/"):
            number = int(path.removeprefix("/segment/").removesuffix(".ts"))
            if number in self.missing:
                return web.Response(status=404)
            body = self.segment_body if self.segment_body is not None else self.segment(number)
            body = self._encrypted(self.segment_bodies.get(number, body), number)
            body = gzip.compress(body, 1) if self.packed else body
            return web.Response(body=body, content_type="video/mp2t")
        return web.Response(status=404)

    def _encrypted(self, data: bytes, number: int) -> bytes:
        if not self.key_method:
            return data
        iv = (number * 7 if self.explicit_iv else number).to_bytes(16, "big")
        encryptor = Cipher(algorithms.AES(self.key), modes.CBC(iv)).encryptor()
        padder = PKCS7(128).padder()
        padded = padder.update(data) + padder.finalize()
        return encryptor.update(padded) + encryptor.finalize()


@asynccontextmanager
async def hls_origin(*, speed: float = 12.0) -> AsyncIterator[HlsOrigin]:
    made = HlsOrigin(speed)
    async with serving(made.answer) as made.base:
        yield made


@asynccontextmanager
async def encoded_live(folder: Path, seconds: int) -> AsyncIterator[str]:
    """FFmpeg's own HLS of a test picture in real time, in segments of so many seconds, served as
    files; the playlist's URL.
    """
    encoder = await asyncio.create_subprocess_exec(
        *(find_program("ffmpeg"), "-v", "error", "-re"),
        *("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac", "-f", "hls"),
        *("-hls_time", str(seconds), "-hls_list_size", "6", "-hls_flags", "delete_segments"),
        str(folder / "live.m3u8"),
    )
    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        playlist = folder / "live.m3u8"
        await until(lambda: playlist.exists() and playlist.read_text().count(".ts") >= 2)
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/live.m3u8"
    finally:
        encoder.kill()
        await encoder.wait()
        await runner.cleanup()
