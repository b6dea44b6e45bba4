"""The exception tree: whose fault it is decides the class.

    RawstreamError
    +-- ConfigError          the operator's settings: a field, what is wrong with it
    +-- FormatError          bad bytes: what was being read, at which offset
    +-- ViewerError          the viewer's request: answered with its HTTP status
    |   +-- ChannelUnavailable   not the viewer's fault, but told to him: 503 with Retry-After
    +-- UpstreamError        an engine or another source: in which phase, at which address
    |   +-- UpstreamTimeout      it did not answer within the phase's time
    |   +-- EngineError          the engine answered, and the answer was a refusal, in its own words
    +-- StateError           what we keep on disk can't be read or written
        +-- ClashError           what is to be kept does not fit what is kept by now

Fields first, text in `__str__`. Our own bugs are not in this tree.
This module imports nothing of ours and must stay so.
"""

from __future__ import annotations


class RawstreamError(Exception):
    """The root: whoever catches it handles every failure that is not a bug of ours."""


class ConfigError(RawstreamError):
    """A setting can't be used. `field` is its name as the operator wrote it, `problem` one
    sentence.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}" if self.field else self.problem


class FormatError(RawstreamError):
    """Bytes that are not what they should be. `offset` counts from where the reader began, -1 if
    unknown.
    """

    def __init__(self, what: str, reason: str, offset: int = -1) -> None:
        super().__init__(what, reason, offset)
        self.what = what
        self.reason = reason
        self.offset = offset

    def __str__(self) -> str:
        where = f" at byte {self.offset}" if self.offset >= 0 else ""
        return f"{self.what}{where}: {self.reason}"


class ViewerError(RawstreamError):
    """A request we refuse. `status` is the HTTP status to answer with, `reason` is shown to the
    caller.
    """

    def __init__(self, status: int, reason: str, *, retry_after: int | None = None) -> None:
        super().__init__(status, reason, retry_after)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status} {self.reason}"


class ChannelUnavailable(ViewerError):
    """A channel that can't be watched now. Always 503; `retry_after` (seconds) says when to ask
    again.
    """

    def __init__(self, reason: str, *, retry_after: int = 1) -> None:
        super().__init__(503, reason, retry_after=retry_after)


class UpstreamError(RawstreamError):
    """A source failed. `phase`: connect, head, start, open, first byte, read, stat or stop."""

    def __init__(self, phase: str, address: str, reason: str, *, status: int | None = None) -> None:
        super().__init__(phase, address, reason)
        self.phase = phase
        self.address = address
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return f"{self.address}: {self.phase}: {self.reason}"


class UpstreamTimeout(UpstreamError):
    """The source did not answer within the phase's time."""


class EngineError(UpstreamError):
    """The engine answered with a refusal; `reason` holds its own words (reference §1.4)."""


class StateError(RawstreamError):
    """What rawstream keeps on disk can't be used. `path` names the file."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ClashError(StateError):
    """What somebody wanted kept needs what is gone meanwhile, or a place that is taken by now."""
