"""The OpenAPI document (version 3.1) of the operator's interface, out of its own table.

Owns: how an operation is written down there. Must not know: what operations do.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import orjson
from pydantic import BaseModel, TypeAdapter

from rawstream import __version__
from rawstream.rest import JSON, PREFIX, PROBLEM, Operation, Problem, Raw, is_number

_REFERENCE: Final = "#/components/schemas/{model}"
_TAGGED: Final = {"ETag": {"required": True, "schema": {"type": "string"}}}
_INFO: Final = {
    "title": "rawstream",
    "version": __version__,
    "description": "The operator's interface. Times are seconds since 1970 unless a name says so;"
    " sizes are bytes, rates bit/s.",
}


def document(operations: Sequence[Operation], server: str = "") -> bytes:
    """`server`: the address below which the paths are, '' for that of the document."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for operation in operations:
        path = paths.setdefault(PREFIX + operation.path, {})
        path[operation.method.lower()] = _operation(operation, schemas)
    _schema(Problem, schemas)
    tags = dict.fromkeys(operation.tag for operation in operations)
    made = {
        "openapi": "3.1.0",
        "info": _INFO,
        "servers": [{"url": server or "/"}],
        "tags": [{"name": tag} for tag in tags],
        "security": [{"session": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "rawstream_session"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }
    return orjson.dumps(made, option=orjson.OPT_INDENT_2)


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    words = [operation.method.lower(), *operation.path.strip("/").replace("{", "").split("/")]
    found: dict[str, Any] = {
        "operationId": "_".join(word.rstrip("}") for word in words).replace("-", "_"),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation, schemas),
        "responses": _responses(operation, schemas),
    }
    if operation.open:
        found["security"] = []
    if operation.description:
        found["description"] = operation.description
    if operation.body is not None:
        schema = _schema(operation.body, schemas, mode="validation")
        found["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    elif operation.takes:
        found["requestBody"] = {"required": True, "content": {operation.takes: {}}}
    return found


def _parameters(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in operation.names:
        schema: dict[str, Any] = {"type": "string", "minLength": 1}
        if is_number(name):
            schema = {"type": "integer", "minimum": 0, "maximum": 2147483647}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if operation.query is not None:
        whole = operation.query.model_json_schema(ref_template=_REFERENCE)
        schemas.update(whole.pop("$defs", {}))
        for name, schema in whole.get("properties", {}).items():
            required = name in whole.get("required", ())
            found.append({"name": name, "in": "query", "required": required, "schema": schema})
    condition = "If-Match" if operation.current is not None else ""
    if operation.tagged and operation.method == "GET" and not operation.volatile:
        condition = "If-None-Match"
    if condition:
        text = {"type": "string"}
        found.append({"name": condition, "in": "header", "required": False, "schema": text})
    return found


def _responses(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(operation.answer, Raw):
        content: dict[str, Any] = {kind: {} for kind in operation.answer.kinds}
        found["200"] = {"description": operation.summary, "content": content}
        for status in operation.answer.statuses:
            found[str(status)] = {"description": HTTPStatus(status).phrase}
            if status == HTTPStatus.PARTIAL_CONTENT:
                found[str(status)]["content"] = content
    elif operation.answer is None:
        found["204"] = {"description": "done"}
    else:
        schema = _schema(operation.answer, schemas)
        content = {JSON: {"schema": schema}}
        found[str(operation.status)] = {"description": operation.summary, "content": content}
    if operation.tagged:
        found[str(operation.status)]["headers"] = _TAGGED
        if operation.method == "GET" and not operation.volatile:
            found["304"] = {"description": "not changed", "headers": _TAGGED}
    plain = isinstance(operation.answer, Raw) and operation.answer.plain
    for status in _failures(operation):
        found[str(status)] = _told(HTTPStatus(status).phrase, plain=plain)
    return found


def _failures(operation: Operation) -> list[int]:
    statuses = {403, 503, *operation.errors}
    if not operation.open:
        statuses.add(401)
    if operation.method != "GET":
        statuses.add(409)  # two at once
    if operation.names:
        statuses.add(404)
    if operation.query is not None:
        statuses.add(422)
    if operation.body is not None:
        statuses |= {400, 413, 415, 422}
    if operation.current is not None:
        statuses.add(412)
    return sorted(statuses)


def _told(description: str, *, plain: bool) -> dict[str, Any]:
    reference = {"$ref": _REFERENCE.format(model="Problem")}
    content: dict[str, Any] = {PROBLEM: {"schema": reference}}
    if plain:
        content["text/plain"] = {"schema": {"type": "string"}}
    return {"description": description, "content": content}


def _schema(answer: Any, schemas: dict[str, Any], mode: Any = "serialization") -> dict[str, Any]:
    """A reference to the model's schema, which is put among `schemas`; of anything else its own."""
    whole = TypeAdapter(answer).json_schema(ref_template=_REFERENCE, mode=mode)
    schemas.update(whole.pop("$defs", {}))
    if isinstance(answer, type) and issubclass(answer, BaseModel):
        name = whole.get("title", answer.__name__)
        schemas[name] = whole
        return {"$ref": _REFERENCE.format(model=name)}
    return whole
