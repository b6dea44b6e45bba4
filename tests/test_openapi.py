"""The document says what the table does."""

from __future__ import annotations

import orjson
from test_rest import Shelf

from rawstream.openapi import document


def test_the_document_has_every_operation_with_its_models_and_failures() -> None:
    made = orjson.loads(document(Shelf().table()))
    assert made["openapi"].startswith("3.1")
    assert set(made["paths"]) == {"/api/v1/things", "/api/v1/things/{id}"}
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


def test_every_reference_leads_somewhere() -> None:
    made = orjson.loads(document(Shelf().table()))
    text = orjson.dumps(made).decode()
    for piece in text.split('"$ref":"')[1:]:
        name = piece.partition('"')[0].rpartition("/")[2]
        assert name in made["components"]["schemas"], name
