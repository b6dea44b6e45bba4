"""Playlists and guides that are read again and again, for operators.

Owns: what a list's address may be, uploads, what would come of an import before it is done. Must
not know: how a request is read (`rest`), how a list is read (`lineup`, `importer`).

A list's address may hold a provider's password: it is whole only where it is edited. Addresses are
of the web; a file of this machine can be named by the command line alone, since who may see the
warnings of a list would read with it whatever the server may read. Documents that an operator has
are uploaded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Collection
from typing import Any, Final, cast
from urllib.parse import urlsplit

from rawstream.config import Config
from rawstream.engine_client import shown_url
from rawstream.errors import ConfigError, StateError
from rawstream.importer import ListProgress, Outcome, Refresher
from rawstream.lineup import due_at, release, remove_list, undo_import, usual_interval
from rawstream.list_views import (
    ListChange,
    ListNew,
    ListQuery,
    ListReport,
    ListResult,
    ListSettings,
    ListView,
    PieceQuery,
    PreviewWanted,
    Progress,
    RefreshWanted,
    State,
    UploadView,
    brief_of,
    report_of,
)
from rawstream.operators import Operator
from rawstream.records import ListSource
from rawstream.redaction import redacted
from rawstream.rest import Call, Coded, Failed, NotThere, Operation, Page
from rawstream.store import Store
from rawstream.uploads import Uploads

_LEAST_SECONDS: Final = 60
_UPLOADED: Final = "uploaded"


# what of a list says where it is, which the store does not take as it stands
_PLACES: Final = frozenset(("url", "upload_id", "text"))
# with another one of these the same document says something else
_MEANINGS: Final = ("merge_names", "zoneless_offset", "shift_seconds", "retire_days")


class ListOperations:
    """The handlers."""

    def __init__(self, store: Store, refresher: Refresher, config: Config) -> None:
        self._store = store
        self._refresher = refresher
        self._uploads = Uploads(config.data, limit_bytes=config.limits.list_bytes)
        self._previews: dict[int, asyncio.Task[Outcome]] = {}  # by the session that wants it
        self._piece_bytes = config.limits.request_body_bytes

    def table(self) -> list[Operation]:
        return [*self._of_lists(), *self._of_uploads(), *self._of_one()]

    def _of_lists(self) -> list[Operation]:
        tag = "lists"
        return [
            Operation(
                *("GET", "/lists", self.list, "All playlists and guides, and how they fare", tag),
                query=ListQuery,
                answer=Page[ListView],
            ),
            Operation(
                *("POST", "/lists", self.add, "Read a playlist or a guide from now on", tag),
                body=ListNew,
                answer=ListView,
                status=201,
                errors=(409,),
                description="It is read at once; `state` and `progress` say how far that is.",
            ),
            Operation(
                *("POST", "/lists/preview", self.preview, "What an import would do", tag),
                body=PreviewWanted,
                answer=ListReport,
                noted=False,
                errors=(404, 409),
                description="Nothing is written. A document that can't be had or read is a 422."
                " Who asks again in the same session ends what he asked before (409).",
            ),
        ]

    def _of_uploads(self) -> list[Operation]:
        tag = "lists"
        return [
            Operation(
                *("POST", "/lists/uploads", self.begin_upload, "Begin to upload a document", tag),
                answer=UploadView,
                noted=False,
                status=201,
                errors=(409,),
                description="Then send it in pieces, in order. An upload that no list is made of is"
                " removed after a day.",
            ),
            Operation(
                *("PUT", "/lists/uploads/{upload_id}", self.add_piece, "A piece of it", tag),
                takes="application/octet-stream",
                query=PieceQuery,
                answer=UploadView,
                noted=False,
                errors=(409, 413),
            ),
        ]

    def _of_one(self) -> list[Operation]:
        tag, one = "lists", "/lists/{id}"
        return [
            Operation(
                *("GET", one, self.read, "A list's settings", tag),
                answer=ListSettings,
                tagged=True,
            ),
            Operation(
                *("PATCH", one, self.change, "Change a list's settings", tag),
                body=ListChange,
                answer=ListSettings,
                current=self.read,
                tagged=True,
                errors=(409,),
            ),
            Operation(
                *("DELETE", one, self.remove, "Read a list no more", tag),
                current=self.read,
                errors=(409,),
                description="A playlist's channels stay, a guide's programmes go.",
            ),
            Operation(
                *("GET", f"{one}/result", self.result, "What came of its last refresh", tag),
                answer=ListResult,
            ),
            Operation(
                *("POST", f"{one}/refresh", self.refresh, "Read it now", tag),
                body=RefreshWanted,
                answer=ListView,
                status=202,
            ),
            Operation(
                *("POST", f"{one}/undo", self.undo, "Take its last import back", tag),
                answer=ListView,
                errors=(409,),
                description="Of a playlist. What was set by hand since stays. From then on the list"
                " is `held`: not read by itself until somebody reads it or sets that back.",
            ),
        ]

    # -- all of them --

    async def list(self, call: Call) -> Page[ListView]:
        query: ListQuery = call.query
        wanted = query.q.casefold()
        undoable = await self._store.lineup.undoable()
        shown = [
            self._view(one, undoable)
            for one in await self._store.lineup.lists()
            if query.kind in ("", one.kind) and wanted in one.name.casefold()
        ]
        return Page[ListView].of(shown, query)

    async def add(self, call: Call) -> ListView:
        wanted: ListNew = call.body
        _check_interval(wanted.interval_seconds)
        place = await self._place(wanted)
        if place is None:
            raise ConfigError("url", "say url, upload_id or text")
        await self._check_free(wanted.kind, place)
        given = wanted.model_dump(exclude=set(_PLACES))
        if wanted.interval_seconds is None:
            given["interval_seconds"] = usual_interval(wanted.kind, place)
        number = await self._store.lineup.add_list(ListSource(0, url=place, **given))
        if wanted.enabled:
            self._refresher.ask(number, force=True)
        made = await self._store.lineup.list_source(number)
        if made is None:
            raise NotThere("list")
        return self._view(made, ())

    async def preview(self, call: Call) -> ListReport:
        wanted: PreviewWanted = call.body
        source = ListSource(0, wanted.kind, "")
        if wanted.list_id is not None:
            source = await self._known(wanted.list_id)
        place = await self._place(wanted)
        if place is None and wanted.list_id is None:
            raise ConfigError("url", "say url, upload_id, text or list_id")
        said = wanted.model_dump(exclude={"list_id", "kind", *_PLACES}, exclude_none=True)
        source = dataclasses.replace(source, url=source.url or place or "", **said)
        try:
            outcome = await self._tried(call.operator, source, place or source.url)
        finally:
            if wanted.text is not None and place is not None:
                await asyncio.to_thread(self._uploads.remove, place)
        report = report_of(outcome.text) if outcome.ok else None
        if report is None:
            raise Failed(422, redacted(outcome.text))
        return report

    async def _tried(self, operator: Operator, source: ListSource, place: str) -> Outcome:
        """A page that asks again has given up what it asked before: that may trickle for minutes,
        and there is one at a time.
        """
        number = operator.credential.id
        trying = asyncio.create_task(self._refresher.try_out(source, place), name="preview")
        if operator.credential.kind == "session":
            former = self._previews.get(number)
            if former is not None:
                former.cancel()
            self._previews[number] = trying
        try:
            return await trying
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Failed(409, "another preview was asked for meanwhile") from None
        finally:
            if self._previews.get(number) is trying:
                del self._previews[number]

    # -- uploads --

    async def begin_upload(self, _call: Call) -> UploadView:
        return self._upload(await self._begin(), 0)

    async def add_piece(self, call: Call) -> UploadView:
        number, offset = call.ids["upload_id"], cast(PieceQuery, call.query).offset
        for source in await self._store.lineup.lists():
            if self._uploads.number_of(source.url) == number:
                raise Failed(409, "a list is made of this one; begin another")
        try:
            size = await asyncio.to_thread(self._uploads.add, number, offset, call.request.body)
        except KeyError:
            raise NotThere("upload") from None
        return self._upload(number, size)

    async def _begin(self) -> int:
        used = {one.url for one in await self._store.lineup.lists()}
        try:
            return await asyncio.to_thread(self._uploads.begin, used)
        except ConfigError as error:
            raise Failed(409, error.problem) from None

    def _upload(self, number: int, size: int) -> UploadView:
        return UploadView(
            upload_id=number,
            size_bytes=size,
            limit_bytes=self._uploads.limit_bytes,
            piece_bytes=self._piece_bytes,
        )

    # -- one of them --

    async def read(self, call: Call) -> ListSettings:
        return self._settings(await self._found(call))

    async def result(self, call: Call) -> ListResult:
        source = await self._found(call)
        error = self._refresher.error_of(source)
        return ListResult(
            refreshed_at=source.refreshed_at,
            succeeded_at=source.succeeded_at,
            last_error=redacted(error),
            last_error_coded=Coded.said(redacted(error)),
            report=report_of(source.last_result),
        )

    async def change(self, call: Call) -> ListSettings:
        source = await self._found(call)
        wanted: ListChange = call.body
        _check_interval(wanted.interval_seconds)
        said = wanted.model_dump(exclude=set(_PLACES), exclude_none=True)
        place = await self._place(wanted) or source.url
        if place != source.url:
            await self._check_free(source.kind, place)
        changed = dataclasses.replace(source, url=place, **said)
        another = any(getattr(changed, name) != getattr(source, name) for name in _MEANINGS)
        read = changed.enabled and (place != source.url or another)
        if read and wanted.held is None:
            changed = dataclasses.replace(changed, held=False)
        await self._store.lineup.set_list(changed, before=source)
        if place != source.url:
            await asyncio.to_thread(self._uploads.remove, source.url)
        if read:
            self._refresher.ask(source.id, force=True)
        return self._settings(changed)

    async def remove(self, call: Call) -> None:
        source = await self._found(call)
        self._check_idle(source)
        await remove_list(self._store, source)
        await asyncio.to_thread(self._uploads.remove, source.url)

    async def refresh(self, call: Call) -> ListView:
        source = await self._found(call)
        await release(self._store, source)
        self._refresher.ask(source.id, force=cast(RefreshWanted, call.body).force)
        source = await self._found(call)
        return self._view(source, await self._store.lineup.undoable())

    async def undo(self, call: Call) -> ListView:
        source = await self._found(call)
        self._check_idle(source)
        if source.kind != "playlist" or not await undo_import(self._store, source):
            raise Failed(409, "there is nothing to take back")
        source = await self._found(call)
        return self._view(source, await self._store.lineup.undoable())

    # -- what they share --

    async def _found(self, call: Call) -> ListSource:
        return await self._known(call.ids["id"])

    async def _known(self, number: int) -> ListSource:
        source = await self._store.lineup.list_source(number)
        if source is None:
            raise NotThere("list")
        return source

    def _check_idle(self, source: ListSource) -> None:
        if self._refresher.running == source.id:
            raise Failed(409, "it is being read; wait for its end")

    async def _check_free(self, kind: str, place: str) -> None:
        if any(one.url == place and one.kind == kind for one in await self._store.lineup.lists()):
            raise Failed(409, "there is a list of this address already")

    async def _place(self, wanted: ListNew | ListChange | PreviewWanted) -> str | None:
        """Where the document is that was named; None when none was. Raises ConfigError."""
        said = [name for name in ("url", "upload_id", "text") if getattr(wanted, name) is not None]
        if len(said) > 1:
            raise ConfigError(said[1], f"there is {said[0]} already")
        if wanted.url is not None:
            return _checked(wanted.url)
        number = wanted.upload_id
        if wanted.text is not None:
            number = await self._begin()
            body = wanted.text.encode("utf-8", "replace")
            try:
                await asyncio.to_thread(self._uploads.add, number, 0, body)
            except StateError:
                await asyncio.to_thread(self._uploads.drop, number)
                raise
        if number is None:
            return None
        path = await asyncio.to_thread(self._uploads.path, number)
        if path is None:
            raise ConfigError("upload_id", "there is no such upload, or nothing in it")
        return str(path)

    def _view(self, source: ListSource, undoable: Collection[int]) -> ListView:
        progress = self._refresher.progress_of(source.id)
        error = self._refresher.error_of(source)
        brief = brief_of(source.last_result)
        due = due_at(source, 1, time.time())
        uploaded = self._uploads.number_of(source.url) is not None
        kept = {name: getattr(source, name) for name in _SHOWN}
        return ListView(
            **kept,
            shown_url=_UPLOADED if uploaded else _shown(source.url),
            uploaded=uploaded,
            state=_state(source, error, progress),
            progress=None if progress is None else _progress(progress),
            next_at=None if due is None else math.ceil(max(due, time.time())),
            last_error=redacted(error),
            last_error_coded=Coded.said(redacted(error)),
            **brief._asdict(),
            can_undo=source.id in undoable,
        )

    def _settings(self, source: ListSource) -> ListSettings:
        kept: dict[str, Any] = {name: getattr(source, name) for name in _SET}
        uploaded = self._uploads.number_of(source.url) is not None
        return ListSettings(**kept, url="" if uploaded else source.url, uploaded=uploaded)


_SHOWN: Final = (
    *("id", "kind", "name", "enabled", "held", "interval_seconds", "priority"),
    *("refreshed_at", "succeeded_at"),
)
_SET: Final = tuple(name for name in ListSettings.model_fields if name not in ("url", "uploaded"))


def _state(source: ListSource, error: str, progress: ListProgress | None) -> State:
    if progress is not None:
        return cast(State, progress.step)
    if not source.enabled:
        return "off"
    if source.held:
        return "held"
    if error:
        return "failed"
    return "never read" if source.succeeded_at is None else "well"


def _progress(progress: ListProgress) -> Progress:
    _list_id, step, done, size, _text = progress
    return Progress(step=step, done_bytes=done, all_bytes=size)


def _shown(place: str) -> str:
    return shown_url(place) if "://" in place else place


def _checked(url: str) -> str:
    """Raises ConfigError."""
    text = url.strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ConfigError("url", "it takes an address like https://example.org/list.m3u")
    return text


def _check_interval(seconds: int | None) -> None:
    if seconds and seconds < _LEAST_SECONDS:
        raise ConfigError("interval_seconds", f"at least {_LEAST_SECONDS}, or 0")
