"""The end of the log, kept in memory for operators who have no shell, with nothing secret in it.

Owns: how much is kept. Must not know: where else the log goes, who reads this, what a secret looks
like (`redaction`).

What comes in here was written for a terminal, most of it without secrets; but an error of a library
may say a whole URL, and a page that shows the log is seen by more eyes than a terminal.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from typing import Final, NamedTuple

from rawstream.redaction import redacted

_LINES: Final = 2000
_LINE_LIMIT: Final = 4000  # characters of one record, a traceback among them
_PLAIN: Final = re.compile(r"[^\n\t -~\u00a0-\U0010ffff]")


class LogLine(NamedTuple):
    """`id` grows by one with each line. `at`: seconds since 1970."""

    id: int
    at: float
    level: str
    logger: str
    text: str


class LogTail(logging.Handler):
    """The last lines. To be added to a logger."""

    def __init__(self, lines: int = _LINES) -> None:
        super().__init__()
        self._lines: deque[LogLine] = deque(maxlen=lines)
        self._last = 0
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # a record that can't be told, which is its writer's bug
            self.handleError(record)
            return
        # cut before and after: redacting takes time by the length, and a cut may uncover nothing
        text = redacted(text[: 4 * _LINE_LIMIT])
        text = _PLAIN.sub("?", text)[:_LINE_LIMIT]
        self._last += 1
        line = LogLine(self._last, record.created, record.levelname.lower(), record.name, text)
        self._lines.append(line)

    @property
    def last_id(self) -> int:
        """Of the newest line, 0 before there is one."""
        return self._last

    def lines(self, limit: int, *, level: int = logging.NOTSET, after: int = 0) -> list[LogLine]:
        """The newest of at least this level, in the order they came. `after`: only what came after
        the line with this id.
        """
        found: list[LogLine] = []
        for line in reversed(list(self._lines)):
            if line.id <= after or len(found) >= limit:
                break
            if logging.getLevelNamesMapping().get(line.level.upper(), level) >= level:
                found.append(line)
        return found[::-1]
