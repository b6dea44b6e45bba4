"""Transport streams for tests: real ones that FFmpeg (in PyAV) encodes, and packets made by hand.

Owns: what several test files feed to the format modules, and what FFmpeg says about it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate
from typing import NamedTuple

import av
import av.logging

from rawstream.psi import crc32_mpeg

PACKET = 188
# What FFmpeg said last time is no reason to leave it out this time.
av.logging.set_skip_repeated(False)

RATE = 25
PICTURES = 60


class Coding(NamedTuple):
    video: str
    audio: str
    options: dict[str, str]


CODINGS = {
    "h264": Coding("libx264", "aac", {"preset": "ultrafast", "x264-params": "bframes=2"}),
    "h264-open-gop": Coding(
        "libx264", "mp2", {"preset": "veryfast", "x264-params": "open-gop=1:bframes=3:b-adapt=0"}
    ),
    "h264-intra-refresh": Coding(
        "libx264", "aac", {"preset": "veryfast", "x264-params": "intra-refresh=1:bframes=0"}
    ),
    "hevc-open-gop": Coding(
        "libx265",
        "ac3",
        {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1:bframes=3:pools=1"},
    ),
    "hevc-closed-gop": Coding(
        "libx265",
        "ac3",
        {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=0:bframes=2:pools=1"},
    ),
    "mpeg2": Coding("mpeg2video", "mp2", {"bf": "2"}),
    "audio": Coding("", "aac", {}),
}
WITH_VIDEO = [name for name, coding in CODINGS.items() if coding.video]


@cache
def clip(name: str) -> bytes:
    """Some seconds of one of `CODINGS` in whole packets, a key picture every 15 pictures."""
    coding = CODINGS[name]
    out_file = io.BytesIO()
    with (
        av.open(f"testsrc2=size=176x144:rate={RATE}", format="lavfi") as pictures,
        av.open("sine=frequency=440:sample_rate=48000", format="lavfi") as tone,
        av.open(out_file, "w", format="mpegts") as out,
    ):
        video = None
        if coding.video:
            video = out.add_stream(coding.video, rate=RATE, options=coding.options)
            video.width, video.height, video.pix_fmt = 176, 144, "yuv420p"
            video.gop_size = 15
            video.bit_rate = 600_000
        audio = out.add_stream(coding.audio, rate=48_000, layout="stereo")
        taken = tone.decode(audio=0)
        resampler = av.AudioResampler(audio.format, "stereo", 48_000, audio.frame_size or 1152)
        samples = 0
        for number, picture in zip(range(PICTURES), pictures.decode(video=0), strict=False):
            if video is not None:
                picture = picture.reformat(format="yuv420p")
                picture.pict_type = av.video.frame.PictureType.NONE
                out.mux(video.encode(picture))
            while samples < (number + 1) * 48_000 // RATE:
                for frame in resampler.resample(next(taken)):
                    out.mux(audio.encode(frame))
                    samples += frame.samples
        if video is not None:
            out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return out_file.getvalue()


class KeyPicture(NamedTuple):
    offset: int
    pts: int


@cache
def key_pictures(data: bytes) -> tuple[KeyPicture, ...]:
    """Where FFmpeg sees key pictures: the offset of their PES packet and their PTS."""
    with av.open(io.BytesIO(data), format="mpegts") as source:
        return tuple(
            KeyPicture(packet.pos, packet.pts)
            for packet in source.demux(source.streams.video[0])
            if packet.is_keyframe and packet.pts is not None
        )


class Decoded(NamedTuple):
    complaints: list[str]
    pictures: list[int]
    sounds: int
    torn: Sequence[int] = ()  # DTS of the access units that could not be decoded


def decode(data: bytes, *, torn: bool = False) -> Decoded:
    """What FFmpeg makes of a stream: its error lines, the PTS of its pictures, its audio frames.

    `torn`: access units that a stated fault has cut in two are counted and left out, as a player
    would; FFmpeg's parser may glue the next one to such a rest.
    """
    pictures: list[int] = []
    units: list[int] = []
    sounds = 0
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture(local=False) as lines:
            with av.open(io.BytesIO(data), format="mpegts") as source:
                for stream in source.streams:
                    if stream.type in ("video", "audio"):
                        stream.codec_context.thread_count = 1
                for packet in source.demux():
                    if torn and packet.is_corrupt:
                        units.append(packet.dts or 0)
                        continue
                    assert not packet.is_corrupt, packet
                    try:
                        frames = packet.decode()
                    except av.error.FFmpegError:
                        if not torn:
                            raise
                        units.append(packet.dts or 0)
                        continue
                    for frame in frames:
                        if isinstance(frame, av.VideoFrame):
                            pictures.append(frame.pts)
                        else:
                            sounds += 1
            complaints = [f"{who}: {text.strip()}" for level, who, text in lines]
    finally:
        av.logging.set_level(before)
    return Decoded(complaints, pictures, sounds, units)


def packets_of(data: bytes) -> list[bytes]:
    return [data[at : at + PACKET] for at in range(0, len(data), PACKET)]


def without_entry_flags(data: bytes) -> bytes:
    """The same stream with every random_access_indicator cleared."""
    changed = bytearray(data)
    for at in range(0, len(data), PACKET):
        if data[at + 3] & 0x20 and data[at + 4]:
            changed[at + 5] &= 0xBF
    return bytes(changed)


# -- packets made by hand --


def packet(
    pid: int,
    payload: bytes = b"",
    *,
    cc: int = 0,
    start: bool = False,
    flags: int | None = None,
    fields: bytes = b"",
) -> bytes:
    """One packet; what the payload leaves free is stuffing in an adaptation field, as PES asks.

    `flags` and `fields`: the second byte of the adaptation field and what follows it.
    """
    room = PACKET - 4 - len(payload)
    head = bytes([0x47, start << 6 | pid >> 8, pid & 0xFF])
    control = (0x10 if payload else 0) | cc & 0x0F
    if flags is None and not room:
        return head + bytes([control]) + payload
    assert room >= 1
    field = b"" if room == 1 else (bytes([flags or 0]) + fields).ljust(room - 1, b"\xff")
    assert len(field) == room - 1
    return head + bytes([control | 0x20, room - 1]) + field + payload


def pcr_fields(pcr: int) -> bytes:
    base, extension = divmod(pcr, 300)
    return (base << 15 | 0x7E00 | extension).to_bytes(6, "big")


def pcr_packet(pid: int, pcr: int, *, cc: int = 0, discontinuity: bool = False) -> bytes:
    return packet(pid, cc=cc, flags=0x10 | discontinuity << 7, fields=pcr_fields(pcr))


def timestamp(prefix: int, value: int) -> bytes:
    return bytes(
        (
            prefix << 4 | value >> 29 & 0x0E | 1,
            value >> 22 & 0xFF,
            value >> 14 & 0xFE | 1,
            value >> 7 & 0xFF,
            value << 1 & 0xFE | 1,
        )
    )


def pes(stream_id: int, body: bytes, pts: int | None = None, dts: int | None = None) -> bytes:
    fields = b""
    if pts is not None:
        fields = timestamp(2 if dts is None else 3, pts)
        if dts is not None:
            fields += timestamp(1, dts)
    flags = 0 if pts is None else 0x80 if dts is None else 0xC0
    return b"\0\0\1" + bytes([stream_id, 0, 0, 0x80, flags, len(fields)]) + fields + body


def unit(pid: int, data: bytes, *, cc: int = 0, flags: int = 0) -> list[bytes]:
    """`data` (a PES packet) over as many packets as it needs; `flags` for the first of them."""
    room = PACKET - 4 - (2 if flags else 0)
    first = packet(pid, data[:room], cc=cc, start=True, flags=flags or None)
    rest = data[room:]
    more = [
        packet(pid, rest[at : at + 184], cc=cc + 1 + number)
        for number, at in enumerate(range(0, len(rest), 184))
    ]
    return [first, *more]


def section(
    table_id: int,
    extension: int,
    body: bytes,
    *,
    version: int = 0,
    current: bool = True,
    number: int = 0,
    last: int = 0,
) -> bytes:
    head = bytes([table_id]) + (0xB000 | len(body) + 9).to_bytes(2, "big")
    head += extension.to_bytes(2, "big") + bytes([0xC0 | version << 1 | current, number, last])
    return head + body + crc32_mpeg(head + body).to_bytes(4, "big")


def pat(programs: dict[int, int], **fields: int) -> bytes:
    entries = [
        number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big")
        for number, pid in programs.items()
    ]
    return section(0x00, 1, b"".join(entries), **fields)


def pmt(
    number: int, pcr_pid: int, streams: Iterable[tuple[int, int, bytes]], **fields: int
) -> bytes:
    """`streams`: stream_type, PID and descriptors of each."""
    body = (0xE000 | pcr_pid).to_bytes(2, "big") + b"\xf0\0"
    for stream_type, pid, descriptors in streams:
        body += bytes([stream_type]) + (0xE000 | pid).to_bytes(2, "big")
        body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    return section(0x02, number, body, **fields)


def table(pid: int, *sections: bytes, cc: int = 0, pointer: bytes = b"") -> list[bytes]:
    """Sections in packets of a PID, one right behind the other; `pointer`: what stands before them.

    A packet in which a section begins says so by its unit start and pointer_field (2.4.4.1).
    """
    data = pointer + b"".join(sections)
    begins = list(accumulate((len(part) for part in sections[:-1]), initial=len(pointer)))
    packets: list[bytes] = []
    at = 0
    while at < len(data) or not packets:
        begin = next((place for place in begins if at <= place < at + 184), None)
        if begin is None or begin == at + 183:
            payload = data[at : at + 184 if begin is None else begin]
            at += len(payload)
        else:
            payload = bytes([begin - at]) + data[at : at + 183]
            at += 183
        starts = begin is not None and begin < at
        if at >= len(data):
            payload = payload.ljust(184, b"\xff")
        packets.append(packet(pid, payload, cc=cc + len(packets), start=starts))
    return packets


@cache
def keyed(
    keys: tuple[int, ...], pictures: int, *, rate: int = RATE, options: str = "bframes=0"
) -> bytes:
    """A small H.264 stream without sound that has key pictures at these numbers only."""
    out_file = io.BytesIO()
    with (
        av.open(f"testsrc2=size=64x48:rate={rate}", format="lavfi") as source,
        av.open(out_file, "w", format="mpegts") as out,
    ):
        x264 = f"scenecut=0:keyint=100000:min-keyint=1:{options}"
        video = out.add_stream(
            "libx264", rate=rate, options={"preset": "ultrafast", "x264-params": x264}
        )
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number, picture in zip(range(pictures), source.decode(video=0), strict=False):
            picture = picture.reformat(format="yuv420p")
            kinds = av.video.frame.PictureType
            picture.pict_type = kinds.I if number in keys else kinds.NONE
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
    return out_file.getvalue()
