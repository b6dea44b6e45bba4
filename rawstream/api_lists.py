"""Playlists and guides, for operators: where the line-up comes from, what came of it, undo.

Owns: these operations. Must not know: how a list is read (`lineup`), when (`importer`).

A list is an address on the web, or a text that was pasted or uploaded: that is kept as a file of
the data directory. Files elsewhere on this machine are the command line's affair.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from rawstream.config import Config
from rawstream.importer import Refresher
from rawstream.lineup import try_out
from rawstream.records import ListKind, ListSource
from rawstream.rest import Call, Failed, Model, NotThere, Operation, Page, PageQuery
from rawstream.store import Store

FOLDER: Final = "lists"
_HOURS: Final = {"playlist": 6, "guide": 12}
_HOUR_SECONDS: Final = 3600
Interval = Annotated[int, Field(ge=0, le=366 * 86_400, description="Seconds; 0: never by itself")]
Agent = Annotated[str, Field(max_length=200, pattern=r"^[\t\x20-\x7e]*$")]
Name = Annotated[str, Field(max_length=200)]
Days = Annotated[int, Field(ge=0, le=3650)]
Priority = Annotated[int, Field(ge=0, le=1_000_000)]
Offset = Annotated[int, Field(ge=-86_400, le=86_400)]


class ListView(Model):
    """A list. `shown_url`: its address without what may be secret in it. `last_result`: the report
    of the last import, None until there is one.
    """

    id: int
    kind: ListKind
    name: str
    shown_url: str
    enabled: bool
    interval_seconds: int
    priority: int
    user_agent: str
    merge_names: bool
    retire_days: int
    zoneless_offset: int
    shift_seconds: int
    refreshed_at: int | None
    succeeded_at: int | None
    last_error: str
    last_result: dict[str, Any] | None
    running: bool


class ListWhole(ListView):
    """The same with its address, for who edits it; '' for a text that was brought."""

    url: str


class Place(Model):
    """Where a list is: `url`, or its text itself in `body`."""

    kind: ListKind
    url: str = Field(default="", max_length=4000)
    body: str = ""
    user_agent: Agent = ""
    merge_names: bool = False

    @field_validator("url")
    @classmethod
    def _on_the_web(cls, value: str) -> str:
        return _web_address(value) if value.strip() else ""


class ListNew(Place):
    """A list that is kept, and read again by itself."""

    name: Name = ""
    interval_seconds: Interval | None = None
    priority: Priority = 100
    retire_days: Days = 7
    zoneless_offset: Offset = 0
    shift_seconds: Offset = 0


class ListChange(Model):
    """What is not named stays as it is."""

    url: str | None = Field(default=None, max_length=4000)
    name: Name | None = None
    enabled: bool | None = None
    interval_seconds: Interval | None = None
    priority: Priority | None = None
    user_agent: Agent | None = None
    merge_names: bool | None = None
    retire_days: Days | None = None
    zoneless_offset: Offset | None = None
    shift_seconds: Offset | None = None

    @field_validator("url")
    @classmethod
    def _on_the_web(cls, value: str | None) -> str | None:
        return None if value is None else _web_address(value)


class ListQuery(PageQuery):
    kind: Literal["", "playlist", "guide"] = ""


class Refresh(Model):
    """`force`: also if its server says that it has not changed."""

    force: bool = False


class Started(Model):
    """The list has its turn as soon as the one before it is done; events tell of it."""

    list_id: int


class Preview(Model):
    """What an import would do; nothing was written. `diff`: names by kind of change."""

    report: dict[str, Any]
    diff: dict[str, list[str]]


class Undone(Model):
    """Whether there was an import to take back."""

    undone: bool


_SETTABLE: Final = tuple(name for name in ListChange.model_fields if name != "url")
_SHOWN: Final = tuple(
    name
    for name in ListView.model_fields
    if name not in ("shown_url", "last_result", "last_error", "running")
)


class ListOperations:
    """The handlers."""

    def __init__(self, store: Store, config: Config, refresher: Refresher) -> None:
        self._store = store
        self._config = config
        self._refresher = refresher

    def table(self) -> list[Operation]:
        tag, one = "lists", "/lists/{id}"
        return [
            Operation(
                *("GET", "/lists", self.all, "Playlists and guides", tag),
                query=ListQuery,
                answer=Page[ListView],
            ),
            Operation(
                *("POST", "/lists", self.add, "Keep a list, and read it", tag),
                body=ListNew,
                answer=ListView,
                status=201,
                errors=(409,),
            ),
            Operation(
                *("POST", "/lists/preview", self.preview, "What an import would do", tag),
                body=Place,
                answer=Preview,
                errors=(502,),
            ),
            Operation("GET", one, self.read, "One list", tag, answer=ListWhole, tagged=True),
            Operation(
                *("PATCH", one, self.change, "Change a list", tag),
                body=ListChange,
                answer=ListWhole,
                current=self.read,
                tagged=True,
                errors=(409,),
            ),
            Operation(
                *("DELETE", one, self.remove, "Remove a list; its channels stay", tag),
                current=self.read,
            ),
            Operation(
                *("POST", f"{one}/refresh", self.refresh, "Read it again now", tag),
                body=Refresh,
                answer=Started,
                status=202,
            ),
            Operation(
                *("POST", f"{one}/undo", self.undo, "Take its last import back", tag),
                answer=Undone,
                errors=(409,),
            ),
        ]

    async def all(self, call: Call) -> Page[ListView]:
        query: ListQuery = call.query
        lists = await self._store.lineup.lists(query.kind or None)
        return Page[ListView].of([self._view(one) for one in lists], query)

    async def read(self, call: Call) -> ListWhole:
        return self._whole(await self._found(call))

    async def add(self, call: Call) -> ListView:
        wanted: ListNew = call.body
        url = await self._kept(wanted)
        if any(one.url == url for one in await self._store.lineup.lists(wanted.kind)):
            raise Failed(409, "this list is there already")
        interval = wanted.interval_seconds
        if interval is None:
            interval = 0 if wanted.body else _HOURS[wanted.kind] * _HOUR_SECONDS
        given = wanted.model_dump(exclude={"url", "body", "kind", "interval_seconds"})
        source = ListSource(0, wanted.kind, url, interval_seconds=interval, **given)
        number = await self._store.lineup.add_list(source)
        self._refresher.ask(number)
        return self._view(dataclasses.replace(source, id=number))

    async def change(self, call: Call) -> ListWhole:
        source = await self._found(call)
        wanted: ListChange = call.body
        given = {
            name: getattr(wanted, name)
            for name in _SETTABLE
            if name in wanted.model_fields_set and getattr(wanted, name) is not None
        }
        if wanted.url is not None and wanted.url != source.url:
            if any(one.url == wanted.url for one in await self._store.lineup.lists(source.kind)):
                raise Failed(409, "another list has this address")
            given["url"] = wanted.url
        changed = dataclasses.replace(source, **given)
        await self._store.lineup.set_list(changed)
        self._refresher.wake()
        return self._whole(changed)

    async def remove(self, call: Call) -> None:
        source = await self._found(call)
        await self._store.lineup.delete_list(source.id)
        if self._is_ours(source):
            await asyncio.to_thread(Path(source.url).unlink, missing_ok=True)

    async def refresh(self, call: Call) -> Started:
        source = await self._found(call)
        wanted: Refresh = call.body
        if wanted.force:
            await self._store.lineup.forget_validators(source.id)
        self._refresher.ask(source.id)
        return Started(list_id=source.id)

    async def preview(self, call: Call) -> Preview:
        wanted: Place = call.body
        url = await self._kept(wanted)
        source = ListSource(
            0, wanted.kind, url, user_agent=wanted.user_agent, merge_names=wanted.merge_names
        )
        try:
            report = json.loads((await try_out(source, self._config)).to_json())
        finally:
            if wanted.body:
                await asyncio.to_thread(Path(url).unlink, missing_ok=True)
        names = report.pop("names", {})
        if wanted.kind == "guide":  # of a guide: which channel found which programmes
            names = {"matched": [f"{ours} → {theirs}" for ours, theirs in names.items()]}
        return Preview(report=report, diff={kind: list(some) for kind, some in names.items()})

    async def undo(self, call: Call) -> Undone:
        source = await self._found(call)
        if source.kind != "playlist":
            raise Failed(409, "a guide's import is not taken back: read another one")
        return Undone(undone=await self._store.lineup.undo_last(source.id))

    # -- what they share --

    async def _found(self, call: Call) -> ListSource:
        source = await self._store.lineup.list_source(call.ids["id"])
        if source is None:
            raise NotThere("list")
        return source

    async def _kept(self, place: Place) -> str:
        """Where the list is: its address, or the file that its text becomes."""
        if bool(place.url) == bool(place.body):
            raise Failed(422, "a list has an address (url) or a text (body), one of them")
        if place.url:
            return place.url
        folder = self._config.data / FOLDER
        file = folder / f"{secrets.token_hex(8)}.{'m3u' if place.kind == 'playlist' else 'xml'}"
        await asyncio.to_thread(_write, file, place.body)
        return str(file.absolute())

    def _is_ours(self, source: ListSource) -> bool:
        return Path(source.url).parent == (self._config.data / FOLDER).absolute()

    def _view(self, source: ListSource) -> ListView:
        return ListView(**self._fields(source))

    def _whole(self, source: ListSource) -> ListWhole:
        return ListWhole(**self._fields(source), url="" if self._is_ours(source) else source.url)

    def _fields(self, source: ListSource) -> dict[str, Any]:
        fields = {name: getattr(source, name) for name in _SHOWN}
        fields["shown_url"] = "(a text)" if self._is_ours(source) else _shown(source.url)
        fields["last_error"] = source.last_error.replace(source.url, _shown(source.url))
        fields["last_result"] = json.loads(source.last_result) if source.last_result else None
        fields["running"] = self._refresher.running == source.id
        return fields


def _web_address(text: str) -> str:
    """Raises ValueError."""
    address = text.strip()
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not address.isprintable() or " " in address:
        raise ValueError("takes an address that begins with http:// or https://")
    return address


def _shown(url: str) -> str:
    """Host and path: a login before the host, and all of a query, may be secret."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
