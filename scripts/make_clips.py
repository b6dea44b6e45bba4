#!/usr/bin/env python3
"""Make the simulator's four bundled clips with ffmpeg: drawn and synthesised here.

    scripts/make_clips.py [--out rawstream/clips]

Every clip loops without a seam: its length is a whole number of video frames and of audio
frames, its GOPs are closed, and its audio frames are taken from the middle of a signal whose
period is the length of the clip, so that the overlap of the audio transform fits at the edge too.

Needs ffmpeg with libx264, libx265 and drawtext, and the DejaVu fonts (in Debian: ffmpeg and
fonts-dejavu-core).
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FRAME_RATE = 25
SAMPLE_RATE = 48_000
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
MONO = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono-Bold.ttf"


@dataclass(frozen=True)
class Clip:
    """What one file holds. `seconds` must be whole in frames of both streams."""

    file: str
    title: str
    detail: str
    seconds: int
    tone_hz: int  # of the tick, a different note per channel
    audio_format: str
    audio_codec: tuple[str, ...]
    samples_per_frame: int
    size: tuple[int, int] = (640, 360)
    colours: tuple[str, str, str] = ("", "", "")  # ground, panel, accent
    video_codec: tuple[str, ...] = ()  # empty: audio only


CLIPS = (
    Clip(
        file="one-h264-aac.ts",
        title="rawstream one",
        detail="H.264 + AAC  960x540  25 fps",
        seconds=16,
        tone_hz=880,
        audio_format="adts",
        audio_codec=("-c:a", "aac", "-b:a", "96k"),
        samples_per_frame=1024,
        size=(960, 540),
        colours=("0x0b2a4a", "0x14477a", "0x4db2ff"),
        video_codec=(
            *("-c:v", "libx264", "-preset", "veryslow", "-tune", "animation", "-profile:v", "main"),
            *("-crf", "20", "-maxrate", "900k", "-bufsize", "900k", "-pix_fmt", "yuv420p"),
            *("-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-bf", "2"),
            *("-x264-params", "open-gop=0:threads=1"),
        ),
    ),
    Clip(
        file="two-hevc-ac3.ts",
        title="rawstream two",
        detail="HEVC + AC-3  960x540  25 fps",
        seconds=16,
        tone_hz=660,
        audio_format="ac3",
        audio_codec=("-c:a", "ac3", "-b:a", "128k"),
        samples_per_frame=1536,
        size=(960, 540),
        colours=("0x123b1c", "0x1f6330", "0x7be08a"),
        video_codec=(
            *("-c:v", "libx265", "-preset", "slow", "-crf", "24", "-pix_fmt", "yuv420p"),
            "-x265-params",
            "keyint=50:min-keyint=50:scenecut=0:open-gop=0:repeat-headers=1:bframes=2"
            ":pools=1:frame-threads=1:vbv-maxrate=800:vbv-bufsize=800:log-level=error",
        ),
    ),
    Clip(
        file="three-mpeg2-mp2.ts",
        title="rawstream three",
        detail="MPEG-2 + MP2  640x360  25 fps",
        seconds=12,
        tone_hz=523,
        audio_format="mp2",
        audio_codec=("-c:a", "mp2", "-b:a", "96k"),
        samples_per_frame=1152,
        colours=("0x4a1212", "0x7a2020", "0xff9d5c"),
        video_codec=(
            *("-c:v", "mpeg2video", "-g", "25", "-bf", "2", "-flags", "+cgop", "-sc_threshold"),
            *("1000000000", "-qmin", "3", "-b:v", "380k", "-maxrate", "900k", "-bufsize", "900k"),
            *("-pix_fmt", "yuv420p", "-threads", "1"),
        ),
    ),
    Clip(
        file="four-aac.ts",
        title="rawstream four",
        detail="AAC, audio only",
        seconds=16,
        tone_hz=440,
        audio_format="adts",
        audio_codec=("-c:a", "aac", "-b:a", "80k"),
        samples_per_frame=1024,
    ),
)


def ffmpeg(*arguments: str) -> None:
    subprocess.run(
        ("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments), check=True
    )


def picture(clip: Clip) -> str:
    """The filter graph: a clock, a frame counter, a bouncing ball, a light at each tick.

    Every motion has a whole number of periods in the clip: the ball does not jump at the edge.
    """
    width, height = clip.size
    ground, panel, accent = clip.colours
    unit = height // 18
    clock = (
        "%{eif\\:floor(t+0.001)\\:d\\:2}.%{eif\\:mod(n*4\\,100)\\:d\\:2}"  # 25 fps: 4 hundredths
    )
    counter = "frame %{eif\\:n\\:d\\:3}"
    travel = width - 4 * unit
    swing = f"{2 * unit}+({travel}-{3 * unit})*(1-cos(2*PI*t/4))/2"
    bounce = f"{height}-{6 * unit}-{3 * unit}*abs(sin(2*PI*t/2))"

    def text(words: str, size: int, x: str, y: int, colour: str, font: str = FONT) -> str:
        look = f"fontfile={font}:fontsize={size}:fontcolor={colour}"
        return f"drawtext={look}:text='{words}':x={x}:y={y}"

    return ";".join(
        (
            f"color=c={ground}:s={width}x{height}:r={FRAME_RATE}[ground]",
            f"color=c={accent}:s={3 * unit}x{3 * unit}:r={FRAME_RATE},format=yuva420p,"
            "geq=lum='lum(X,Y)':cb='cb(X,Y)':cr='cr(X,Y)'"
            ":a='255*clip(W/2-hypot(X-W/2+0.5,Y-H/2+0.5),0,1)'[ball]",
            f"color=c={accent}:s={width}x{unit // 2}:r={FRAME_RATE}[bar]",
            f"color=c=white:s={3 * unit}x{3 * unit}:r={FRAME_RATE}[light]",
            f"[ground]drawbox=x=0:y=0:w=iw:h={4 * unit}:color={panel}:t=fill,"
            f"drawbox=x=0:y=ih-{2 * unit}:w=iw:h={2 * unit}:color={panel}:t=fill,"
            + text(clip.title, 2 * unit, str(unit), unit, "white")
            + ","
            + text(clip.detail, unit, str(unit), height - unit - unit // 2, "white")
            + ","
            + text(clock, 4 * unit, "(w-tw)/2", 6 * unit, accent, MONO)
            + ","
            + text(counter, unit, "(w-tw)/2", 10 * unit + unit // 2, "white", MONO)
            + "[face]",
            f"[face][bar]overlay=x='-w+w*t/{clip.seconds}':y={4 * unit}[timed]",
            f"[timed][ball]overlay=x='{swing}':y='{bounce}'[moving]",
            f"[moving][light]overlay=x={width - 4 * unit}:y={6 * unit}"
            ":enable='lt(mod(t+0.001,1),0.12)'[out]",
        )
    )


def sound(clip: Clip) -> str:
    """A soft chord, and a tick of 60 ms at every second, higher at the start of the loop."""
    tick = f"0.5*sin(2*PI*{clip.tone_hz}*t*if(lt(mod(t,{clip.seconds}),0.5),2,1))*lt(mod(t,1),0.06)"
    low = clip.tone_hz // 4
    chord = f"0.04*sin(2*PI*{low}*t)+0.03*sin(2*PI*{low * 3 // 2}*t)*(1+cos(2*PI*t/4))/2"
    return f"aevalsrc=exprs='{tick}+{chord}':s={SAMPLE_RATE}:d={3 * clip.seconds}:c=mono"


def adts_length(data: bytes, at: int) -> int:
    """aac_frame_length, ISO/IEC 13818-7 §6.2."""
    return (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5


def middle_period(data: bytes, frames: int, length_at: Callable[[bytes, int], int]) -> bytes:
    """The second `frames` frames of an elementary stream: from a transform that has settled."""
    edges = [0]
    while edges[-1] < len(data):
        edges.append(edges[-1] + length_at(data, edges[-1]))
    if len(edges) <= 2 * frames:
        raise SystemExit(f"only {len(edges) - 1} audio frames, {2 * frames} wanted")
    return data[edges[frames] : edges[2 * frames]]


def make(clip: Clip, out: Path, work: Path) -> None:
    frames, rest = divmod(clip.seconds * SAMPLE_RATE, clip.samples_per_frame)
    if rest:
        raise SystemExit(f"{clip.file}: {clip.seconds} s are not whole audio frames")
    long_audio, audio = work / f"long.{clip.audio_format}", work / f"cut.{clip.audio_format}"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        sound(clip),
        *clip.audio_codec,
        "-f",
        clip.audio_format,
        str(long_audio),
    )
    data = long_audio.read_bytes()
    if clip.audio_format == "adts":
        audio.write_bytes(middle_period(data, frames, adts_length))
    else:
        constant = int(clip.audio_codec[-1].removesuffix("k")) * 1000 // 8
        length = constant * clip.samples_per_frame // SAMPLE_RATE
        audio.write_bytes(middle_period(data, frames, lambda _data, _at: length))
    inputs: tuple[str, ...] = ()
    if clip.video_codec:
        video = work / "video.nut"
        count = clip.seconds * FRAME_RATE
        graph = ("-filter_complex", picture(clip), "-map", "[out]", "-frames:v", str(count))
        ffmpeg(*graph, *clip.video_codec, "-f", "nut", str(video))
        inputs = ("-i", str(video))
    demuxer = "aac" if clip.audio_format == "adts" else clip.audio_format
    if clip.audio_format == "mp2":
        demuxer = "mp3"
    ffmpeg(
        *inputs,
        *("-f", demuxer, "-i", str(audio)),
        *(("-map", "0:v", "-map", "1:a") if inputs else ("-map", "0:a")),
        *("-c", "copy", "-f", "mpegts"),
        *("-pat_period", "0.15", "-sdt_period", "1", "-pcr_period", "20"),
        *("-pes_payload_size", "0" if not inputs else "900"),
        *("-muxdelay", "0.4", "-muxpreload", "0", "-fflags", "+bitexact", "-metadata"),
        f"service_name={clip.title}",
        *("-metadata", "service_provider=rawstream"),
        str(out / clip.file),
    )
    print(f"{clip.file}: {(out / clip.file).stat().st_size} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the simulator's bundled clips.")
    default = Path(__file__).resolve().parent.parent / "rawstream" / "clips"
    parser.add_argument("--out", type=Path, default=default)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for clip in CLIPS:
        with tempfile.TemporaryDirectory() as work:
            make(clip, out, Path(work))


if __name__ == "__main__":
    main()
