"""What the simulated engine broadcasts, what goes wrong with it, and what is counted.

Owns: `SimContent` (a channel or a film and its switches), `Fault` (one thing that goes wrong,
where, when and how often), `Counters`, and the bundled demo contents.
Must not know: HTTP, sessions, the event loop.

A fault has a `kind` and, for the kinds that spoil an answer, a `where`. Everything here can also be
set over HTTP (see `simulator`).

Answers (any `where` of WHERES; the default stands first):

    delay            playback   the answer comes `seconds` late, then everything is right
    status           playback   HTTP `status` (500) with `text`, e.g. "start timeout"
    html_500         start      500 with an HTML page
    empty_500        start      500 with no body
    half_body        start      the announced length, half of a JSON body, FIN
    malformed        start      bytes that are no HTTP, FIN
    reset            start      RST instead of an answer
    close            start      FIN instead of an answer
    hang             stop       no answer, ever
    error            start      200 with {"response": null, "error": text}; `option` adds extra_data
    odd_types        start      numbers as strings, flags as booleans, floats for ints, unknown keys
    string_response  start      "response" is a string
    empty_response   start      "response" is {}
    huge             start      a right answer with 2 MB of padding in it
    foreign_redirect playback   302 to `text`, an address off the engine
    redirect_loop    playback   302 to itself

Media (where it strikes is told by `after_bytes` of body and `after_seconds` since its head; of a
film by `after_bytes` of the film, and only silent_stall, eof, cut, rst and trickle):

    silent_stall     the socket stays open, no bytes, stat says dl with `downloaded` frozen; for
                     `seconds` (0: until cleared)
    eof              a clean end of the body; at 0 bytes this is the empty 200
    cut              FIN without the end of the framing
    rst              RST
    bad_chunk        a chunk size that is none, FIN
    garbage          `amount` bytes (1000) that are no packets, then the stream goes on
    skip             `seconds` of media are missing
    trickle          `amount` bytes (100) once in 0.1 s, for `seconds` (0: until cleared)
    loop_window      the broadcast has ended: the last `seconds` (5) come again and again

The content as a whole:

    dead             prebuf for ever, `amount` peers (0), the media head never comes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

WHERES = frozenset(
    ("start", "playback", "content", "stat", "stop", "event", "list", "segment", "files", "api")
)
ANSWER_FAULTS: dict[str, str] = {
    "delay": "playback",
    "status": "playback",
    "html_500": "start",
    "empty_500": "start",
    "half_body": "start",
    "malformed": "start",
    "reset": "start",
    "close": "start",
    "hang": "stop",
    "error": "start",
    "odd_types": "start",
    "string_response": "start",
    "empty_response": "start",
    "huge": "start",
    "foreign_redirect": "playback",
    "redirect_loop": "playback",
}
MEDIA_FAULTS = frozenset(
    (
        *("silent_stall", "eof", "cut", "rst", "bad_chunk"),
        *("garbage", "skip", "trickle", "loop_window"),
    )
)
FAULT_KINDS = frozenset(ANSWER_FAULTS) | MEDIA_FAULTS | {"dead"}
FRAMINGS = ("chunked", "close")

# Engine words (engine reference §1.4), for Fault("error", text=...).
LOAD_FAILED = "failed to load content"
PREMIUM = "To continue, you need to activate premium"
MOD_DETECTED = "mod_detected"
UNKNOWN_SESSION = "unknown playback session id"


@dataclass(slots=True)
class Fault:
    """One thing that goes wrong; the kinds are in the module's docstring.

    `times`: how often it strikes before it is gone; None for ever. `where`: for answers only.
    Raises ValueError for a kind or a place that does not exist.
    """

    kind: str
    where: str = ""
    times: int | None = None
    after_bytes: int = 0
    after_seconds: float = 0.0
    seconds: float = 0.0
    status: int = 500
    text: str = ""
    option: str = ""
    amount: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(
                f"no such fault: {self.kind!r}; one of {', '.join(sorted(FAULT_KINDS))}"
            )
        if self.kind in ANSWER_FAULTS:
            self.where = self.where or ANSWER_FAULTS[self.kind]
            if self.where not in WHERES:
                raise ValueError(
                    f"no such place: {self.where!r}; one of {', '.join(sorted(WHERES))}"
                )
        elif self.where:
            raise ValueError(f"{self.kind} has no place, only a moment")


class Faults:
    """The faults of one content (or of the engine's services), at most one per kind and place."""

    __slots__ = ("_set", "clears")

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._set: dict[tuple[str, str], Fault] = {}
        self.clears = 0  # a stall that waits to be taken back looks at this
        for fault in faults:
            self.add(fault)

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._set.values())

    def add(self, fault: Fault) -> None:
        """Set it; one of the same kind and place gives way."""
        self._set[fault.kind, fault.where] = fault

    def clear(self, kind: str = "") -> None:
        """Take back all faults, or those of one kind."""
        self._set = {key: fault for key, fault in self._set.items() if kind and key[0] != kind}
        self.clears += 1

    def find(self, kind: str, where: str = "") -> Fault | None:
        return self._set.get((kind, where))

    def at(self, where: str) -> list[Fault]:
        """The faults that spoil an answer there, delays first."""
        found = [fault for fault in self._set.values() if fault.where == where]
        return sorted(found, key=lambda fault: fault.kind != "delay")

    def media(self) -> list[Fault]:
        return [fault for fault in self._set.values() if fault.kind in MEDIA_FAULTS]

    def strike(self, fault: Fault) -> None:
        """It has struck once; the last time takes it away."""
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0 and self._set.get((fault.kind, fault.where)) is fault:
                del self._set[fault.kind, fault.where]


@dataclass(slots=True)
class Counters:
    """What happened, for one content or for the engine as a whole."""

    getstream_calls: int = 0  # starts asked for, of either form
    opens: int = 0  # sessions made
    stops: int = 0  # method=stop that found a session
    unknown_stops: int = 0  # method=stop that found none
    superseded: int = 0  # sessions ended by a newer one of the same content
    replaced: int = 0  # sessions ended because their player asked for another content
    leaked_sessions: int = 0  # sessions nobody stopped: ended by the idle time
    playback_calls: int = 0  # /ace/r
    reader_opens: int = 0  # /content
    readers_now: int = 0  # sockets that read or wait for media, refused ones too
    readers_max: int = 0  # the most of them at one time; above 1 a client hurts itself
    doubled_readers: int = 0  # second readers, answered by two status lines
    bytes_sent: int = 0  # media bytes in bodies
    overruns: int = 0  # jumps of a reader that fell out of the live window
    rejected_ranges: int = 0  # Range on live, and ranges that can't be satisfied
    stat_polls: int = 0
    event_polls: int = 0
    media_files_calls: int = 0
    list_calls: int = 0  # HLS playlists
    segment_calls: int = 0
    heads: int = 0  # HEAD requests
    faults: int = 0  # how often a fault struck

    def reset(self) -> None:
        """All back to zero, but for the readers that are there."""
        for each in fields(self):
            setattr(self, each.name, self.readers_now if each.name.startswith("readers_") else 0)


@dataclass(slots=True, eq=False)
class SimContent:
    """One content of the catalogue.

    `content_id`, `infohash`: 40 lower-case hex digits each; a content may have an infohash only
    (content_id ""). `clip`: an MPEG-TS file, played in a loop when `live`, else `repeats` times.
    """

    content_id: str
    infohash: str
    name: str
    clip: Path
    # what it is
    live: bool = True
    encrypted: bool = False
    repeats: int = 1  # of a film: how often its clip stands in it
    file: Path | None = None  # of a film: what it is instead of its clip, in any format
    ranges: bool = True  # of a film: whether the engine serves parts of it
    url: str = ""  # getstream?url= that names it
    files: tuple[str, ...] = ()  # names in a multi-file transport (VOD)
    categories: tuple[str, ...] = ("tv",)
    infohash_as_id: bool = False  # the engine has it cached under its infohash
    first_ticks: int = 0  # 90 kHz, added to the timeline
    # how it comes
    speed: float = 1.0  # media seconds per second, times the engine's own; fixed once on the air
    preload_seconds: float = 0.3  # prebuf, with the media head held back
    burst_bytes: int = 9_000_000  # the burst is what is smaller of the two
    burst_seconds: float = 20.0
    window_seconds: float = 60.0  # the live window: a slower reader is thrown forward
    jitter: bool = False  # 0.5 to 2.5 times the mean in every 10 s of media
    piece_bytes: int = 16 * 1024
    aligned_jumps: bool = True  # a jump lands on a packet's edge
    framing: str = "chunked"  # or "close": until the socket ends
    content_type: str = "video/mp2t"  # empty: no such header
    redirects: int = 1  # between /ace/r and the media; 0: media on /ace/r itself
    peers: int = 12
    faults: Faults = field(default_factory=Faults)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        for value in (self.infohash, self.content_id or "0" * 40):
            if len(value) != 40 or set(value) - set("0123456789abcdef"):
                raise ValueError(f"not 40 lower-case hex digits: {value!r}")
        if self.framing not in FRAMINGS:
            raise ValueError(f"no such framing: {self.framing!r}; one of {', '.join(FRAMINGS)}")
        if not isinstance(self.faults, Faults):
            self.faults = Faults(self.faults)

    def fault(
        self,
        kind: str,
        *,
        where: str = "",
        times: int | None = None,
        after_bytes: int = 0,
        after_seconds: float = 0.0,
        seconds: float = 0.0,
        status: int = 500,
        text: str = "",
        option: str = "",
        amount: int = 0,
    ) -> Fault:
        """Set a fault now, also for readers that are in the middle of the stream."""
        made = Fault(
            kind, where, times, after_bytes, after_seconds, seconds, status, text, option, amount
        )
        self.faults.add(made)
        return made


CLIPS = Path(__file__).parent / "clips"

# (content id, infohash, name, file). The ids are fixed, so that a printed URL stays good.
_BUNDLED = (
    (
        "1f0e5a6c9b27d4835e10c6f2a8b3974d50e1c701",
        "a1d94c07e35b82f6109c7de4b85a23f6c90d1e01",
        "rawstream one (H.264 + AAC)",
        "one-h264-aac.ts",
    ),
    (
        "2f0e5a6c9b27d4835e10c6f2a8b3974d50e1c702",
        "a2d94c07e35b82f6109c7de4b85a23f6c90d1e02",
        "rawstream two (HEVC + AC-3)",
        "two-hevc-ac3.ts",
    ),
    (
        "3f0e5a6c9b27d4835e10c6f2a8b3974d50e1c703",
        "a3d94c07e35b82f6109c7de4b85a23f6c90d1e03",
        "rawstream three (MPEG-2 + MP2)",
        "three-mpeg2-mp2.ts",
    ),
    (
        "4f0e5a6c9b27d4835e10c6f2a8b3974d50e1c704",
        "a4d94c07e35b82f6109c7de4b85a23f6c90d1e04",
        "rawstream four (AAC, audio only)",
        "four-aac.ts",
    ),
)


def bundled_contents() -> list[SimContent]:
    """Fresh copies of the four demo channels, made by `scripts/make_clips.py`."""
    contents = [
        SimContent(content_id, infohash, name, CLIPS / file)
        for content_id, infohash, name, file in _BUNDLED
    ]
    # At 165 kbit/s the engine's 16 KiB would be one write in 0.8 s.
    contents[3].piece_bytes = 4 * 1024
    return contents


def dead_content(*, peers: int = 0) -> SimContent:
    """A fresh content that never gets beyond prebuf."""
    return SimContent(
        "df0e5a6c9b27d4835e10c6f2a8b3974d50e1c7dd",
        "add94c07e35b82f6109c7de4b85a23f6c90d1edd",
        "rawstream dead",
        CLIPS / _BUNDLED[0][3],
        faults=Faults([Fault("dead", amount=peers)]),
    )


def film_contents() -> list[SimContent]:
    """Fresh copies of the demo's films: one movie, and two episodes of a series."""
    episodes = [
        SimContent(
            f"{place}f0e5a6c9b27d4835e10c6f2a8b3974d50e1c7e{place}",
            f"a{place}d94c07e35b82f6109c7de4b85a23f6c90d1ee{place}",
            f"rawstream show S01E0{place}",
            CLIPS / _BUNDLED[place][3],
            live=False,
            files=(f"rawstream show S01E0{place}.ts",),
        )
        for place in (1, 2)
    ]
    return [vod_content(), *episodes]


def vod_content() -> SimContent:
    """A fresh content with a length: the first clip as a film."""
    return SimContent(
        "ef0e5a6c9b27d4835e10c6f2a8b3974d50e1c7ee",
        "aed94c07e35b82f6109c7de4b85a23f6c90d1eee",
        "rawstream film",
        CLIPS / _BUNDLED[0][3],
        live=False,
        files=("rawstream film.ts",),
    )
