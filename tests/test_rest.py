"""Requests read by models, answers with tags and pages, and problems that name the field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from operators import Desk
from pydantic import Field

from rawstream.errors import (
    ClashError,
    ConfigError,
    FormatError,
    StateError,
    UpstreamError,
    ViewerError,
)
from rawstream.http1 import Response
from rawstream.rest import Call, Edit, Failed, Model, NotThere, Operation, Page, PageQuery, Raw


class Thing(Model):
    name: str
    size: int = 0
    seen: int = 0


class Query(PageQuery):
    q: str = ""
    tags: list[str] = Field(default_factory=list)


class Change(Model):
    size: int = Field(ge=0, le=10)
    secret: str | None = None
    inner: Query | None = None


class Cleared(Model):
    changed: int


class Shelf:
    def __init__(self) -> None:
        self.things = {1: Thing(name="one"), 2: Thing(name="two", size=2)}
        self.failure: Exception | None = None
        self.volatile: frozenset[str] = frozenset()

    def table(self) -> list[Operation]:
        one = "/things/{id}"
        return [
            Operation("GET", "/things", self.all, "All", "t", query=Query, answer=Page[Thing]),
            Operation(
                *("GET", one, self.read, "One", "t"),
                answer=Thing,
                tagged=True,
                volatile=self.volatile,
            ),
            Operation(
                *("PATCH", one, self.change, "Change", "t"),
                body=Change,
                answer=Thing,
                current=self.read,
                tagged=True,
                volatile=self.volatile,
            ),
            Operation(
                *("DELETE", one, self.remove, "Remove", "t"),
                current=self.read,
                volatile=self.volatile,
            ),
            Operation("POST", "/clear", self.clear, "Clear all", "t", answer=Cleared),
            Operation("POST", "/look", self.read_none, "Look", "t", noted=False),
            Operation(
                *("GET", f"{one}/picture", self.picture, "Its picture", "t"),
                answer=Raw(("image/*",), (206, 304), plain=True),
            ),
        ]

    async def all(self, call: Call) -> Page[Thing]:
        if self.failure is not None:
            raise self.failure
        wanted = [one for one in self.things.values() if call.query.q in one.name]
        assert call.query.tags == list(call.query.tags)
        return Page[Thing].of(wanted, call.query)

    async def read(self, call: Call) -> Thing:
        if call.ids["id"] not in self.things:
            raise NotThere("thing")
        return self.things[call.ids["id"]]

    async def change(self, call: Call) -> Thing:
        thing = await self.read(call)
        changed = thing.model_copy(update={"size": call.body.size})
        self.things[call.ids["id"]] = changed
        return changed

    async def remove(self, call: Call) -> None:
        await self.read(call)
        del self.things[call.ids["id"]]

    async def clear(self, _call: Call) -> Cleared:
        count = len(self.things)
        self.things.clear()
        return Cleared(changed=count)

    async def read_none(self, _call: Call) -> None:
        return None

    async def picture(self, call: Call) -> Response:
        await self.read(call)
        return Response(200, b"PNG", "image/png")


@pytest.fixture
def shelf(desk: Desk) -> Shelf:
    made = Shelf()
    desk.open(made.table())
    return made


async def test_a_list_comes_in_pages_and_says_how_long_it_is(desk: Desk, shelf: Shelf) -> None:
    found = await desk.ask("GET", "/things?offset=1&limit=1&tags=a&tags=b")
    assert found == {
        "items": [{"name": "two", "size": 2, "seen": 0}],
        "total": 2,
        "offset": 1,
        "limit": 1,
    }
    assert (await desk.ask("GET", "/things?q=on"))["total"] == 1
    assert (await desk.ask("GET", "/things?offset=9"))["items"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/things/1", {"size": 11}, 422, "size"),
        ("/things/1", {"size": "x"}, 422, "size"),
        ("/things/1", {}, 422, "size"),
        ("/things/1", {"size": 1, "colour": "red"}, 422, "colour"),
        ("/things/1", b"{", 400, None),
        ("/things/1", b"[]", 422, ""),
        ("/things/9", {"size": 1}, 404, None),
        ("/things/x", {"size": 1}, 404, None),
        ("/things/99999999999", {"size": 1}, 404, None),
    ],
)
async def test_what_is_wrong_is_named(
    desk: Desk, shelf: Shelf, path: str, body: Any, status: int, field: str | None
) -> None:
    answer = await desk.answer("PATCH", path, body)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    told = orjson.loads(answer.body)
    assert told["status"] == status and told["title"] and told["detail"]
    assert [one["field"] for one in told["errors"]] == ([] if field is None else [field])


async def test_of_very_many_faults_some_are_named_then_none(desk: Desk, shelf: Shelf) -> None:
    for faults, named in ((100, 100), (500, 100), (2000, 0)):
        body = {"size": 1, **{f"colour{n}": 1 for n in range(faults)}}
        told = await desk.ask("PATCH", "/things/1", body, status=422)
        assert len(told["errors"]) == named
        assert named or "2000 faults" in told["detail"]


async def test_a_body_that_does_not_say_it_is_json_is_not_read(desk: Desk, shelf: Shelf) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await desk.answer("PATCH", "/things/1", b"size=1", headers=headers)).status == 415
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    assert (await desk.answer("PATCH", "/things/1", {"size": 1}, headers=headers)).status == 200


async def test_query_parameters_are_checked_too(desk: Desk, shelf: Shelf) -> None:
    for wrong in ("limit=0", "limit=1001", "offset=-1", "colour=red"):
        told = await desk.ask("GET", f"/things?{wrong}", status=422)
        assert [one["field"] for one in told["errors"]] == [wrong.partition("=")[0]]


async def test_an_edit_of_what_has_changed_meanwhile_is_not_done(desk: Desk, shelf: Shelf) -> None:
    tag = dict((await desk.answer("GET", "/things/1")).headers)["ETag"]
    known = await desk.answer("GET", "/things/1", headers={"if-none-match": f'"x", W/{tag}'})
    assert (known.status, known.body) == (304, b"")
    match = {"if-match": tag}
    changed = await desk.answer("PATCH", "/things/1", {"size": 5}, headers=match)
    assert changed.status == 200
    assert dict(changed.headers)["ETag"] != tag
    for method, body in (("PATCH", {"size": 6}), ("DELETE", None)):
        assert (await desk.answer(method, "/things/1", body, headers=match)).status == 412
    assert shelf.things[1].size == 5
    match = {"if-match": dict(changed.headers)["ETag"]}
    assert (await desk.answer("DELETE", "/things/1", headers=match)).status == 204
    assert 1 not in shelf.things


async def test_what_changes_by_itself_is_in_no_way_of_an_edit(desk: Desk, shelf: Shelf) -> None:
    shelf.volatile = frozenset(("seen",))
    desk.open(shelf.table())
    tag = dict((await desk.answer("GET", "/things/1")).headers)["ETag"]
    assert tag.startswith("W/"), "it does not stand for all of the answer"
    shelf.things[1] = shelf.things[1].model_copy(update={"seen": 7})
    again = await desk.answer("GET", "/things/1", headers={"if-none-match": tag})
    assert (again.status, orjson.loads(again.body)["seen"]) == (200, 7)
    match = {"if-match": tag}
    assert (await desk.answer("PATCH", "/things/1", {"size": 5}, headers=match)).status == 200
    assert (await desk.answer("DELETE", "/things/1", headers=match)).status == 412


async def test_an_edit_leaves_a_line_without_values(desk: Desk, shelf: Shelf) -> None:
    change = {"size": 5, "secret": "hunter2", "inner": {"q": "hunter2"}}
    await desk.ask("PATCH", "/things/1", change)
    assert desk.edits.pop() == Edit(
        "boss", "", "127.0.0.1", "t 1 one · change (size, secret, inner.q)"
    )
    await desk.ask("PATCH", "/things/1", {"size": 5})
    assert desk.edits == [], "it was so before"
    await desk.ask("PATCH", "/things/1", {"size": 50}, status=422)
    await desk.ask("DELETE", "/things/9", status=404)
    await desk.ask("GET", "/things")
    assert desk.edits == []
    await desk.ask("DELETE", "/things/1", status=204)
    await desk.ask("POST", "/clear")
    assert [one.text for one in desk.edits] == ["t 1 one · remove", "t · clear all (1 changed)"]


async def test_what_changes_nothing_leaves_no_line(desk: Desk, shelf: Shelf) -> None:
    await desk.ask("POST", "/look", status=204)
    assert desk.edits == []


async def test_a_raw_answer_is_the_handlers(desk: Desk, shelf: Shelf) -> None:
    answer = await desk.answer("GET", "/things/1/picture")
    assert (answer.status, answer.body, answer.content_type) == (200, b"PNG", "image/png")
    assert (await desk.answer("GET", "/things/9/picture")).status == 404


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failed(409, "taken"), 409),
        (ConfigError("username", "is taken"), 422),
        (FormatError("playlist", "is none"), 422),
        (UpstreamError("head", "http://x", "answered 500"), 502),
        (StateError("db", "disk full"), 503),
        (ClashError("db", "UNIQUE constraint failed: lists.url"), 409),
        (ViewerError(503, "too many", retry_after=2), 503),
    ],
)
async def test_every_failure_of_ours_has_its_status(
    desk: Desk, shelf: Shelf, failure: Exception, status: int
) -> None:
    shelf.failure = failure
    answer = await desk.answer("GET", "/things")
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert b"constraint" not in answer.body
    if isinstance(failure, ViewerError):
        assert dict(answer.headers)["Retry-After"] == "2"


async def test_who_is_not_logged_in_learns_nothing(desk: Desk, shelf: Shelf) -> None:
    desk.secret = "guess"
    answer = await desk.answer("GET", "/things/9")
    assert (answer.status, answer.content_type) == (401, "application/problem+json")
    assert dict(answer.headers)["WWW-Authenticate"] == "Bearer"
