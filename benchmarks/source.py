"""The channel of the benchmarks: an endless, decodable MPEG-TS sent at real time over HTTP, with
its send times in it.

Owns: making the clip (once, by FFmpeg through PyAV, kept in benchmarks/build/), looping it without
a seam (timestamps and continuity counters run on), pacing it, and stamping each piece. Must not
know the servers under test and uses nothing of theirs, so that it can't share their mistakes.

A *piece* is 87 packets (16,356 bytes): one stamp packet and 86 of the clip. Four pieces are 65,424
bytes, the chunk the servers send. The stamp travels on a PID of its own that no PMT lists, which
demuxers pass over; its payload is `rawstamp`, a piece number and the CLOCK_MONOTONIC nanoseconds at
which the piece was handed to the kernel, both as native 64-bit integers. load.c reads them.

Run: `python benchmarks/source.py --bitrate 5 --seconds 60`. Prints `ready PORT`; any path is the
channel. With `--on-demand` it sends when told to, so that two servers can be measured in turn.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKET = 188
STAMP_PID = 0x1FF0
STAMP_MAGIC = b"rawstamp"
PIECE_PACKETS = 87
PIECE_BYTES = PIECE_PACKETS * PACKET
NULL_PID = 0x1FFF

CLIP_SECONDS = 16  # whole frames of both streams: 400 pictures at 25 Hz, 750 AAC frames at 48 kHz
FRAME_RATE = 25
GOP_PICTURES = 50
AUDIO_RATE = 48_000
AUDIO_BITRATE = 128_000
PTS_HZ = 90_000
PTS_WRAP = 1 << 33

BUILD = Path(__file__).parent / "build"


# -- the clip --------------------------------------------------------------------------------------


def make_clip(bitrate: int, path: Path) -> None:
    """Encode `CLIP_SECONDS` of noisy moving picture and a tone as a constant-rate transport stream
    of `bitrate` bit/s.
    """
    import av

    mux_rate = bitrate * (PIECE_PACKETS - 1) // PIECE_PACKETS
    # The rest is for PES and TS headers, tables and the encoder's overshoot: what is left over
    # becomes null packets.
    video_rate = int((mux_rate - AUDIO_BITRATE * 1.15) * 0.90)
    if video_rate < 100_000:
        raise ValueError("the clip needs at least 0.4 Mbit/s")
    size = "1280x720" if bitrate >= 3_000_000 else "640x360"
    part = path.with_suffix(".part")
    with (
        av.open(
            f"testsrc2=size={size}:rate={FRAME_RATE},noise=alls=24:allf=t", format="lavfi"
        ) as pictures,
        av.open(f"sine=frequency=440:sample_rate={AUDIO_RATE}", format="lavfi") as tone,
        av.open(
            str(part), "w", format="mpegts", options={"muxrate": str(mux_rate), "pcr_period": "20"}
        ) as out,
    ):
        video = out.add_stream("libx264", rate=FRAME_RATE)
        video.width, video.height = (int(side) for side in size.split("x"))
        video.pix_fmt = "yuv420p"
        video.bit_rate = video_rate
        video.gop_size = GOP_PICTURES
        video.options = {
            "preset": "veryfast",
            "x264-params": f"scenecut=0:bframes=2:nal-hrd=cbr:vbv-maxrate={video_rate // 1000}"
            f":vbv-bufsize={video_rate // 1000}",
        }
        audio = out.add_stream("aac", rate=AUDIO_RATE)
        audio.bit_rate = AUDIO_BITRATE
        audio.layout = "stereo"
        tones = tone.decode(audio=0)
        # The AAC encoder adds a frame of its own at the start: with one less the loop has 750 of
        # them.
        samples, samples_wanted = 0, CLIP_SECONDS * AUDIO_RATE - 1024
        resampler = av.AudioResampler(
            format="fltp", layout="stereo", rate=AUDIO_RATE, frame_size=1024
        )
        for number, picture in enumerate(pictures.decode(video=0)):
            if number == CLIP_SECONDS * FRAME_RATE:
                break
            picture = picture.reformat(format="yuv420p")
            picture.pict_type = (
                av.video.frame.PictureType.NONE
            )  # else each is coded as the I it was
            out.mux(video.encode(picture))
            while samples < min((number + 1) * AUDIO_RATE // FRAME_RATE, samples_wanted):
                for frame in resampler.resample(next(tones)):
                    if samples < samples_wanted:
                        out.mux(audio.encode(frame))
                    samples += frame.samples
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    part.replace(path)


def clip_path(bitrate: int) -> Path:
    """The clip of that bitrate, made when it is not there yet (some seconds of encoding)."""
    path = BUILD / f"clip-{bitrate // 1000}k.ts"
    if not path.is_file():
        BUILD.mkdir(exist_ok=True)
        make_clip(bitrate, path)
    return path


# -- looping ---------------------------------------------------------------------------------------


class TimeField(NamedTuple):
    """Where a timestamp lies: byte offset in the clip, `pcr` or `pts` coding, value in 90 kHz
    ticks.
    """

    offset: int
    is_pcr: bool
    ticks: int


def find_times(packets: bytes) -> list[TimeField]:
    """All PCR (ISO 13818-1 2.4.3.5), PTS and DTS (2.4.3.7) fields of whole packets, in order of
    their offset.
    """
    found = []
    for at in range(0, len(packets), PACKET):
        flags = packets[at + 3]
        payload = at + 4
        if flags & 0x20:
            length = packets[payload]
            if length >= 7 and packets[payload + 1] & 0x10:
                base = int.from_bytes(packets[payload + 2 : payload + 7], "big") >> 7
                found.append(TimeField(payload + 2, True, base))
            payload += 1 + length
        starts = packets[at + 1] & 0x40 and flags & 0x10
        if not starts or packets[payload : payload + 3] != b"\x00\x00\x01":
            continue
        for place in range((packets[payload + 7] >> 6).bit_count()):
            field = payload + 9 + 5 * place
            raw = packets[field : field + 5]
            ticks = (raw[0] >> 1 & 7) << 30 | int.from_bytes(raw[1:3], "big") >> 1 << 15
            found.append(TimeField(field, False, ticks | int.from_bytes(raw[3:5], "big") >> 1))
    return found


def write_time(packets: bytearray, offset: int, field: TimeField, ticks: int) -> None:
    """Put `ticks` (90 kHz) where `field` is coded; `offset` is its place in `packets`."""
    if field.is_pcr:
        # The nine bits of the extension and the six reserved ones stay.
        low = packets[offset + 4] & 0x7F
        packets[offset : offset + 5] = (ticks << 7 | low).to_bytes(5, "big")
    else:
        packets[offset] = packets[offset] & 0xF1 | (ticks >> 30 & 7) << 1
        packets[offset + 1 : offset + 3] = ((ticks >> 15 & 0x7FFF) << 1 | 1).to_bytes(2, "big")
        packets[offset + 3 : offset + 5] = ((ticks & 0x7FFF) << 1 | 1).to_bytes(2, "big")


def pieces(clip: bytes) -> Iterator[bytearray]:
    """The clip for ever, cut into pieces whose first packet is left for the stamp; time and
    counters run on.
    """
    body = (PIECE_PACKETS - 1) * PACKET
    null = bytes((0x47, NULL_PID >> 8, NULL_PID & 0xFF, 0x10)) + b"\xff" * (PACKET - 4)
    clip += null * (-len(clip) % body // PACKET)
    times = find_times(clip)
    shift = 0
    counters: dict[int, int] = {}
    while True:
        upcoming = iter(times)
        field = next(upcoming, None)
        for start in range(0, len(clip), body):
            piece = bytearray(PACKET) + clip[start : start + body]
            while field is not None and field.offset < start + body:
                ticks = (field.ticks + shift) % PTS_WRAP
                write_time(piece, field.offset - start + PACKET, field, ticks)
                field = next(upcoming, None)
            for at in range(PACKET, PIECE_BYTES, PACKET):
                pid = (piece[at + 1] & 0x1F) << 8 | piece[at + 2]
                if pid != NULL_PID and piece[at + 3] & 0x10:
                    counter = counters.get(pid, 0)
                    piece[at + 3] = piece[at + 3] & 0xF0 | counter
                    counters[pid] = (counter + 1) & 15
                elif pid != NULL_PID:
                    # 2.4.3.3: without a payload the counter repeats that of the last packet that
                    # had one.
                    piece[at + 3] = piece[at + 3] & 0xF0 | (counters.get(pid, 0) - 1) & 15
            yield piece
        shift += CLIP_SECONDS * PTS_HZ


def stamp(piece: bytearray, number: int) -> None:
    """Write the stamp packet, with the time that is now, into the first packet of `piece`."""
    head = bytes((0x47, STAMP_PID >> 8, STAMP_PID & 0xFF, 0x10 | number & 15)) + STAMP_MAGIC
    times = struct.pack("=QQ", number, time.monotonic_ns())
    piece[:PACKET] = head + times + b"\xff" * (PACKET - len(head) - len(times))


# -- sending ---------------------------------------------------------------------------------------


class Source:
    """An HTTP server that sends the same pieces to each who asks, from the next piece on.

    A receiver that falls so far behind that its socket is full is disconnected: the source never
    waits.
    """

    def __init__(self, clip: bytes, *, port: int = 0) -> None:
        self.upcoming = pieces(clip)
        self.sent = 0
        self.piece_seconds = CLIP_SECONDS / -(-len(clip) // ((PIECE_PACKETS - 1) * PACKET))
        self.listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.receivers: list[socket.socket] = []
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        port: int = self.listener.getsockname()[1]
        return port

    def accept(self) -> None:
        """Answer requests for ever; runs in a thread of its own so that pacing does not wait for
        it.
        """
        while True:
            connection, _ = self.listener.accept()
            connection.settimeout(5)
            try:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = connection.recv(4096)
                    if not more:
                        raise ConnectionError("the request ends in its head")
                    head += more
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
                )
                if head.startswith(b"HEAD "):
                    raise ConnectionError("nothing more to send")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setblocking(False)
            except OSError:
                connection.close()
                continue
            with self.lock:
                self.receivers.append(connection)

    def send(self, seconds: float) -> None:
        """Send at real time until `seconds` have passed."""
        self.send_pieces(round(seconds / self.piece_seconds))

    def send_pieces(self, count: int) -> None:
        """Send the next `count` pieces at real time, from now on."""
        start = time.monotonic()
        for index, piece in enumerate(itertools.islice(self.upcoming, count)):
            due = start + index * self.piece_seconds
            time.sleep(max(0.0, due - time.monotonic()))
            with self.lock:
                stamp(piece, self.sent)
                self.sent += 1
                for receiver in list(self.receivers):
                    try:
                        sent = receiver.send(piece)
                    except OSError:
                        sent = 0
                    if sent != len(piece):
                        receiver.close()
                        self.receivers.remove(receiver)


def main() -> None:
    parser = argparse.ArgumentParser(description="The paced, stamped channel of the benchmarks.")
    parser.add_argument("--bitrate", type=float, default=5.0, help="Mbit/s, stamps included")
    parser.add_argument("--seconds", type=float, default=600.0, help="ends by itself after that")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument(
        "--on-demand",
        action="store_true",
        help="send so many pieces as each line of standard input says, then say `sent`",
    )
    options = parser.parse_args()
    clip = clip_path(int(options.bitrate * 1e6)).read_bytes()
    source = Source(clip, port=options.port)
    threading.Thread(target=source.accept, name="accept", daemon=True).start()
    print("ready", source.port, flush=True)
    if not options.on_demand:
        source.send(options.seconds)
        return
    for line in sys.stdin:
        source.send_pieces(int(line))
        print("sent", flush=True)


if __name__ == "__main__":
    main()
