"""The log: one event, one line, as text or as JSON, and no secret in either.

Owns: how a record becomes a line, where lines go. Must not know: what is logged, who reads it; what
a secret looks like (`redaction`).
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import IO, Any, Final

import orjson

from rawstream.config import LogFormat
from rawstream.redaction import RedactingFilter, redacted, redacted_value
from rawstream.status import clean

_TEXT: Final = "%(asctime)s %(levelname)-7s %(message)s"
# what every record has; what else is in it was given as `extra`
_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TextLines(logging.Formatter):
    """A line for people, whatever an engine or a viewer wrote into it; tracebacks are more."""

    def __init__(self) -> None:
        super().__init__(_TEXT, "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        return clean(super().formatMessage(record))


class JsonLines(logging.Formatter):
    """A line for programs: `time` (RFC 3339, UTC), `level`, `logger`, `message`, `traceback` if
    there is one, and all that was given as `extra`, which takes the place of none of these.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            name: redacted_value(value, name)
            for name, value in vars(record).items()
            if name not in _OWN and not name.startswith("_")
        }
        at = datetime.fromtimestamp(record.created, UTC)
        line |= {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_text is None:
            record.exc_text = redacted(self.formatException(record.exc_info))
        if record.exc_text:
            line["traceback"] = record.exc_text
        if record.stack_info:
            line["stack"] = record.stack_info
        return _dumped(dict(sorted(line.items(), key=lambda item: item[0] not in _FIRST)))


_FIRST: Final = ("time", "level", "logger", "message")


def _dumped(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # lone surrogates, or numbers beyond 64 bits
        return orjson.dumps(_plain(line)).decode()


def _plain(value: Any) -> Any:
    """The same with what JSON can't hold replaced."""
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    return value


def log_to(level: str, form: LogFormat = "text", stream: IO[str] | None = None) -> logging.Handler:
    """From here on everything logged goes to this stream, standard error if there is none, and
    nowhere else.
    """
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(RedactingFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    return handler
