"""How long a viewer who joins a warm channel waits: for the first byte, and for the first decoded
picture.

A viewer opens a connection, asks, and decodes what comes with FFmpeg's H.264 decoder (through
PyAV): the tables are followed, the video's access units are decoded until a picture comes out.
Joins come at random moments of the group of pictures, alone on the channel and with a crowd on it.
For information, one row tells when FFmpeg's demuxer with its default probing, which looks at much
more than a picture, has brought one.

Baseline: the C epoll server, which lets a viewer in wherever the stream stands.

Run: `python benchmarks/join.py [--quick] [--floor-first-byte-ms 20 --floor-picture-ms 150]`. The
floors hold alone and under the crowd. Exit status 1: a floor is missed, 2: can't measure.
"""

from __future__ import annotations

import argparse
import random
import socket
import time
from pathlib import Path
from typing import NamedTuple

import av
import harness
from source import FRAME_RATE, GOP_PICTURES, PACKET

GROUP_SECONDS = GOP_PICTURES / FRAME_RATE
JOIN_SECONDS = 20.0  # a join that has brought no picture by then has failed
H264_STREAM_TYPE = 0x1B
RECEIVE_BYTES = 256 * 1024
KINDS = {"rawstream": "rawstream", "epoll": "C epoll, starts anywhere"}


class FirstPicture:
    """The shortest way from whole packets to a picture: PAT, PMT, the video's PES, the decoder.

    Relies on the clip of source.py: one program, sections within one packet.
    """

    def __init__(self) -> None:
        self._decoder = av.CodecContext.create("h264", "r")
        self._decoder.thread_count = 1  # frame threads would hold pictures back
        self._carry = b""
        self._pmt_pid = -1
        self._video_pid = -1
        self._in_unit = False

    def feed(self, data: bytes) -> bool:
        """Take bytes of the stream, from its beginning; True when a picture has come out."""
        data = self._carry + data
        whole = len(data) - len(data) % PACKET
        self._carry = data[whole:]
        elementary = b"".join(
            self._payload(data[at : at + PACKET]) for at in range(0, whole, PACKET)
        )
        for packet in self._decoder.parse(elementary) if elementary else ():
            try:
                if self._decoder.decode(packet):
                    return True
            except av.error.InvalidDataError:
                pass  # begun in the middle of a group: nothing to refer to
        return False

    def _payload(self, packet: bytes) -> bytes:
        """The elementary stream's bytes in this packet, if it is the video's."""
        if packet[0] != 0x47:
            raise harness.BenchmarkError("the stream is not made of whole packets")
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        at = 4 + (1 + packet[4] if packet[3] & 0x20 else 0)
        start = bool(packet[1] & 0x40)
        if not packet[3] & 0x10:
            return b""
        if pid == self._video_pid:
            if start:
                self._in_unit = True
                at += 9 + packet[at + 8]
            return packet[at:] if self._in_unit else b""
        if pid == 0 and start:
            section = at + 1 + packet[at]
            self._pmt_pid = (packet[section + 10] & 0x1F) << 8 | packet[section + 11]
        elif pid == self._pmt_pid and start:
            section = at + 1 + packet[at]
            end = section + 3 + ((packet[section + 1] & 0x0F) << 8 | packet[section + 2]) - 4
            entry = section + 12 + ((packet[section + 10] & 0x0F) << 8 | packet[section + 11])
            while entry < end:
                if packet[entry] == H264_STREAM_TYPE:
                    self._video_pid = (packet[entry + 1] & 0x1F) << 8 | packet[entry + 2]
                entry += 5 + ((packet[entry + 3] & 0x0F) << 8 | packet[entry + 4])
        return b""


class Body:
    """The answer's body as a file, for FFmpeg's demuxer."""

    def __init__(self, connection: socket.socket, begun: bytes) -> None:
        self._connection = connection
        self._begun = begun

    def read(self, size: int) -> bytes:
        if self._begun:
            piece, self._begun = self._begun[:size], self._begun[size:]
            return piece
        return self._connection.recv(size)


class Join(NamedTuple):
    """Milliseconds from the first SYN."""

    first_byte: float
    picture: float


def join(server: harness.Server, *, probing: bool) -> Join:
    """Join once. `probing`: through FFmpeg's demuxer with its defaults."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=JOIN_SECONDS) as connection:
        request = f"GET {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: join\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        body = b""
        while not body:
            more = connection.recv(RECEIVE_BYTES)
            if not more:
                raise harness.BenchmarkError("the server closed a joining viewer's connection")
            answer += more
            head, _, body = answer.partition(b"\r\n\r\n")
        first_byte = time.monotonic()
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise harness.BenchmarkError(f"a joining viewer was answered {head[:60]!r}")
        if probing:
            with av.open(Body(connection, body), "r", format="mpegts") as container:
                container.streams.video[0].codec_context.thread_count = 1
                next(container.decode(video=0))
        else:
            viewer = FirstPicture()
            while not viewer.feed(body):
                body = connection.recv(RECEIVE_BYTES)
                if not body or time.monotonic() > started + JOIN_SECONDS:
                    raise harness.BenchmarkError("a joining viewer saw no picture")
        return Join((first_byte - started) * 1e3, (time.monotonic() - started) * 1e3)


class Run(NamedTuple):
    """Medians of one round, in ms."""

    first_byte: float
    picture: float
    probed: float


def measure(kind: str, crowd: int, options: argparse.Namespace, folder: Path) -> Run:
    """`options.joins` joins on a channel that has been running for a while with `crowd` viewers."""
    moments = random.Random(kind + str(crowd))
    limit = options.warm_up + options.joins * (2 * GROUP_SECONDS + JOIN_SECONDS) + 60
    harness.wait_quiet(options.quiet_seconds)
    source, source_port = harness.start_source(folder, bitrate=options.bitrate, seconds=limit)
    with source:
        server = harness.start_server(kind, folder, source_port=source_port, seconds=limit)
        with server.program, harness.Load(server, folder, viewers=crowd, seconds=limit) as load:
            load.wait_streaming()
            time.sleep(options.warm_up)
            plain, probed = [], []
            for _ in range(options.joins):
                time.sleep(moments.uniform(0, GROUP_SECONDS))
                plain.append(join(server, probing=False))
                time.sleep(moments.uniform(0, GROUP_SECONDS))
                probed.append(join(server, probing=True))
            lost = load.ask("snapshot")["disconnected"]
            server.program.check()
    if lost:
        raise harness.BenchmarkError(f"{kind} lost {lost} of the crowd")
    return Run(
        harness.percentile([one.first_byte for one in plain], 0.5),
        harness.percentile([one.picture for one in plain], 0.5),
        harness.percentile([one.picture for one in probed], 0.5),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="First byte and first picture on a warm channel.")
    parser.add_argument("--viewers", type=int, default=1000, help="the crowd")
    parser.add_argument("--joins", type=int, default=9, help="per server, crowd and round")
    parser.add_argument("--warm-up", type=float, default=8.0)
    harness.add_common(parser, rounds=3, seconds=None)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 5 joins")
    parser.add_argument("--floor-first-byte-ms", type=float, help="at most this, median")
    parser.add_argument("--floor-picture-ms", type=float, help="at most this, median")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.joins = min(options.rounds, 2), min(options.joins, 5)
    harness.print_head("join", "first byte and first decoded picture on a warm channel", options)

    crowds = (1, options.viewers)
    runs: dict[tuple[str, int], list[Run]] = {(k, c): [] for c in crowds for k in KINDS}
    with harness.workspace() as folder:
        for number in range(options.rounds):
            for kind, crowd in runs:
                run = measure(kind, crowd, options, folder)
                runs[kind, crowd].append(run)
                harness.progress(
                    f"round {number + 1}: {KINDS[kind]}, {crowd} viewers: "
                    f"first byte {run.first_byte:.1f} ms, picture {run.picture:.1f} ms, "
                    f"probed {run.probed:.1f} ms"
                )
    harness.print_table(
        ("ms, medians (min to max)", "viewers", "first byte", "first picture", "FFmpeg, probing"),
        [
            (
                KINDS[kind],
                str(crowd),
                harness.Spread.of([run.first_byte for run in values]).text(1),
                harness.Spread.of([run.picture for run in values]).text(1),
                harness.Spread.of([run.probed for run in values]).text(1),
            )
            for (kind, crowd), values in runs.items()
        ],
    )
    floors = harness.Floors()
    for crowd in crowds:
        own = runs["rawstream", crowd]
        other = runs["epoll", crowd]
        ratio = harness.ratios([run.picture for run in own], [run.picture for run in other])
        print(f"  rawstream / C epoll, {crowd} viewers: first picture {ratio.text(3, 'x')}")
        first_byte = harness.Spread.of([run.first_byte for run in own]).median
        picture = harness.Spread.of([run.picture for run in own]).median
        floors.at_most(
            f"first byte, {crowd} viewers", first_byte, options.floor_first_byte_ms, " ms"
        )
        floors.at_most(f"first picture, {crowd} viewers", picture, options.floor_picture_ms, " ms")
    return floors.close()


if __name__ == "__main__":
    harness.run(main)
