"""What happened, for operators: the history that is kept, and the end of the log.

Owns: what of both is shown and how it is looked through. Must not know: who writes them.
"""

from __future__ import annotations

import logging
from typing import Final, Literal

from pydantic import Field

from rawstream.log_tail import LogTail
from rawstream.redaction import redacted
from rawstream.rest import Call, Model, Operation, Page, PageQuery
from rawstream.store import Store

Level = Literal["debug", "info", "warning", "error"]
_LINES: Final = 2000


class HistoryLine(Model):
    """One thing that happened. `kind`: login, login refused, play, stop, import, edit. `channel`:
    its id and name. What is not known of it is ''.
    """

    id: int
    at: int
    kind: str
    account: str
    channel: str
    address: str
    text: str


class HistoryQuery(PageQuery):
    """`kind`, `account`: exactly that. `q`: a part of any of its texts."""

    kind: str = Field(default="", max_length=64)
    account: str = Field(default="", max_length=64)
    q: str = Field(default="", max_length=200)


class LogRecordLine(Model):
    """A line of the log. `at`: seconds since 1970, with a fraction. `text` has line breaks where a
    traceback is in it.
    """

    id: int
    at: float
    level: str
    logger: str
    text: str


class LogLines(Model):
    """In the order they came. `last_id`: of the newest line there is, for the next `after`."""

    lines: list[LogRecordLine]
    last_id: int


class LogQuery(Model):
    """The newest `lines` of at least `level`. `after`: only what came after the line of this id."""

    lines: int = Field(default=200, ge=1, le=_LINES)
    level: Level = "debug"
    after: int = Field(default=0, ge=0, le=1 << 53)


class HistoryOperations:
    """The handlers."""

    def __init__(self, store: Store, log: LogTail) -> None:
        self._store = store
        self._log = log

    def table(self) -> list[Operation]:
        return [
            Operation(
                *("GET", "/history", self.history, "What happened, the newest first", "history"),
                query=HistoryQuery,
                answer=Page[HistoryLine],
            ),
            Operation(
                *("GET", "/log", self.log, "The end of the log", "log"),
                query=LogQuery,
                answer=LogLines,
                description="Since the server started, 2000 lines at most. User names, passwords"
                " and tokens are left out.",
            ),
        ]

    async def history(self, call: Call) -> Page[HistoryLine]:
        query: HistoryQuery = call.query
        found, total = await self._store.history_page(
            kind=query.kind,
            account=query.account,
            q=query.q,
            offset=query.offset,
            limit=query.limit,
        )
        items = [
            HistoryLine(
                id=number,
                at=one.at,
                kind=one.kind,
                account=one.account,
                channel=one.channel,
                address=one.address,
                text=redacted(one.text),
            )
            for number, one in found
        ]
        return Page[HistoryLine](items=items, total=total, offset=query.offset, limit=query.limit)

    async def log(self, call: Call) -> LogLines:
        query: LogQuery = call.query
        level = logging.getLevelNamesMapping()[query.level.upper()]
        found = self._log.lines(query.lines, level=level, after=query.after)
        shown = [LogRecordLine(**one._asdict()) for one in found]
        return LogLines(lines=shown, last_id=self._log.last_id)
