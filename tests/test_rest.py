"""Requests read by models, answers with tags and pages, and problems that name the field."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from operators import Desk
from pydantic import Field

from rawstream.errors import ConfigError, FormatError, StateError, UpstreamError, ViewerError
from rawstream.rest import Call, Failed, Model, NotThere, Operation, Page, PageQuery


class Thing(Model):
    name: str
    size: int = 0


class Change(Model):
    size: int = Field(ge=0, le=10)


class Query(PageQuery):
    q: str = ""
    tags: list[str] = Field(default_factory=list)


class Shelf:
    def __init__(self) -> None:
        self.things = {1: Thing(name="one"), 2: Thing(name="two", size=2)}
        self.failure: Exception | None = None

    def table(self) -> list[Operation]:
        one = "/things/{id}"
        return [
            Operation("GET", "/things", self.all, "All", "t", query=Query, answer=Page[Thing]),
            Operation("GET", one, self.read, "One", "t", answer=Thing, tagged=True),
            Operation(
                *("PATCH", one, self.change, "Change", "t"),
                body=Change,
                answer=Thing,
                current=self.read,
                tagged=True,
            ),
            Operation("DELETE", one, self.remove, "Remove", "t", current=self.read),
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


@pytest.fixture
def shelf(desk: Desk) -> Shelf:
    made = Shelf()
    desk.open(made.table())
    return made


async def test_a_list_comes_in_pages_and_says_how_long_it_is(desk: Desk, shelf: Shelf) -> None:
    found = await desk.ask("GET", "/things?offset=1&limit=1&tags=a&tags=b")
    assert found == {"items": [{"name": "two", "size": 2}], "total": 2, "offset": 1, "limit": 1}
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


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (Failed(409, "taken"), 409),
        (ConfigError("username", "is taken"), 422),
        (FormatError("playlist", "is none"), 422),
        (UpstreamError("head", "http://x", "answered 500"), 502),
        (StateError("db", "disk full"), 503),
        (ViewerError(503, "too many", retry_after=2), 503),
    ],
)
async def test_every_failure_of_ours_has_its_status(
    desk: Desk, shelf: Shelf, failure: Exception, status: int
) -> None:
    shelf.failure = failure
    answer = await desk.answer("GET", "/things")
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    if isinstance(failure, ViewerError):
        assert dict(answer.headers)["Retry-After"] == "2"


async def test_who_is_not_logged_in_learns_nothing(desk: Desk, shelf: Shelf) -> None:
    desk.secret = "guess"
    answer = await desk.answer("GET", "/things/9")
    assert (answer.status, answer.content_type) == (401, "application/problem+json")
    assert dict(answer.headers)["WWW-Authenticate"] == "Bearer"
