"""The document says what the table does."""

from __future__ import annotations

import dataclasses

import orjson
from test_rest import Shelf

from rawstream.openapi import document


def test_the_document_has_every_operation_with_its_models_and_failures() -> None:
    made = orjson.loads(document(Shelf().table()))
    assert made["openapi"].startswith("3.1")
    assert {"/api/v1/things", "/api/v1/things/{id}"} <= set(made["paths"])
    patch = made["paths"]["/api/v1/things/{id}"]["patch"]
    assert set(patch["responses"]) >= {"200", "400", "401", "403", "404", "412", "415", "422"}
    (number,) = (one for one in patch["parameters"] if one["in"] == "path")
    assert number["schema"]["type"] == "integer"
    body = patch["requestBody"]["content"]["application/json"]["schema"]
    change = made["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert change["properties"]["size"]["maximum"] == 10
    assert change["additionalProperties"] is False
    listed = made["paths"]["/api/v1/things"]["get"]
    assert {one["name"] for one in listed["parameters"]} == {"offset", "limit", "q", "tags"}
    assert "204" in made["paths"]["/api/v1/things/{id}"]["delete"]["responses"]


def test_conditions_and_tags_are_told_where_they_count() -> None:
    shelf = Shelf()
    for volatile in (frozenset[str](), frozenset(("seen",))):
        shelf.volatile = volatile
        one = orjson.loads(document(shelf.table()))["paths"]["/api/v1/things/{id}"]
        headers = [{part["name"] for part in one[method]["parameters"]} for method in one]
        asked = {"id"} if volatile else {"id", "If-None-Match"}
        assert headers == [asked, {"id", "If-Match"}, {"id", "If-Match"}]
        assert ("304" in one["get"]["responses"]) is not bool(volatile)
        assert one["get"]["responses"]["200"]["headers"]["ETag"]["required"]
        assert "412" in one["delete"]["responses"]


def test_who_is_not_logged_in_may_ask_for_what_is_open_alone() -> None:
    shelf = Shelf()
    first, *others = shelf.table()
    made = orjson.loads(document([dataclasses.replace(first, open=True), *others]))["paths"]
    listed, read = made["/api/v1/things"]["get"], made["/api/v1/things/{id}"]["get"]
    assert (listed["security"], "401" in listed["responses"]) == ([], False)
    assert ("security" in read, "401" in read["responses"]) == (False, True)


def test_a_raw_answer_is_told_by_its_media_types() -> None:
    made = orjson.loads(document(Shelf().table()))
    told = made["paths"]["/api/v1/things/{id}/picture"]["get"]["responses"]
    assert set(told["200"]["content"]) == set(told["206"]["content"]) == {"image/*"}
    assert "content" not in told["304"]
    assert set(told["404"]["content"]) == {"application/problem+json", "text/plain"}


def test_every_reference_leads_somewhere() -> None:
    made = orjson.loads(document(Shelf().table()))
    text = orjson.dumps(made).decode()
    for piece in text.split('"$ref":"')[1:]:
        name = piece.partition('"')[0].rpartition("/")[2]
        assert name in made["components"]["schemas"], name
