"""A REST interface out of a table: what each operation takes and answers, checked by its models.

Owns: the reading of a request by pydantic models, pages, entity tags and `If-Match` (RFC 9110 §13),
problems (RFC 9457) that name the field, which failure is which status. Must not know: what any
operation does; who may ask.

The same table makes the OpenAPI document (`openapi`), so that it can't say anything else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rawstream.connection import Exchange
from rawstream.errors import (
    ConfigError,
    FormatError,
    StateError,
    UpstreamError,
    ViewerError,
)
from rawstream.http1 import STATUS_LINES, Headers, Request, Response
from rawstream.operators import Operator

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
PREFIX: Final = "/api/v1"
_NO_STORE: Headers = (("Cache-Control", "no-store"),)
_TAG: Final = re.compile(r'(?:W/)?"[^"\x00-\x20\x7f]*"')  # RFC 9110 §8.8.3
_WHOLE: Final = re.compile(r"[0-9]{1,10}")
Item = TypeVar("Item")


class Model(BaseModel):
    """What goes in or out. A field nobody knows is a mistake that is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldProblem(Model):
    """`field`: its dotted name in the body or query."""

    field: str
    problem: str


class Problem(Model):
    """Why not (RFC 9457). `errors`: which fields."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = Field(default_factory=list)


class PageQuery(Model):
    """Which part of a list."""

    offset: int = Field(default=0, ge=0, le=1 << 31)
    limit: int = Field(default=100, ge=1, le=1000)


class Page(Model, Generic[Item]):
    """A part of a list, and how long the whole is."""

    items: list[Item]
    total: int
    offset: int
    limit: int

    @classmethod
    def of(cls, items: Sequence[Item], query: PageQuery) -> Page[Item]:
        part = list(items[query.offset : query.offset + query.limit])
        return cls(items=part, total=len(items), offset=query.offset, limit=query.limit)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read. `ids`: the parts of its path that stand for something, by name. `query`,
    `body`: of the operation's models, None where it has none.
    """

    request: Request
    operator: Operator
    ids: Mapping[str, Any]
    query: Any
    body: Any
    exchange: Exchange | None = None  # for an operation whose answer is a stream


class Failed(Exception):
    """An operation can't be done: told as a problem."""

    def __init__(self, status: int, detail: str, errors: Sequence[FieldProblem] = ()) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.errors = errors


class NotThere(Failed):
    """404. `what`: what there is none of."""

    def __init__(self, what: str) -> None:
        super().__init__(404, f"there is no such {what}")


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """One row. `path`: below `PREFIX`; `{name}` is text in it, `{id}` and what ends in `_id` a
    number. `answer`: a model, or anything pydantic knows; None answers nothing (204).

    `current`: what the path names now, for `If-Match`; an edit of something that may have changed
    meanwhile has it. `tagged`: its answer has an entity tag.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    answer: Any = None
    status: int = 200
    current: Handler | None = None
    tagged: bool = False
    errors: tuple[int, ...] = ()
    description: str = ""
    raw: str = ""  # the media type of an answer that is no JSON, which the handler makes itself
    takes: str = ""  # the media type of a body that is no JSON, which the handler reads itself

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.answer)

    @property
    def names(self) -> list[str]:
        """Those in the path."""
        return re.findall(r"{(\w+)}", self.path)


def is_number(name: str) -> bool:
    """Whether a part of a path with this name is a number."""
    return name == "id" or name.endswith("_id")


@dataclass
class Resource:
    """All operations of one path: what a route leads to."""

    path: str
    operations: dict[str, Operation] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        found = dict.fromkeys(self.operations)
        return tuple(found) if "GET" not in found else (*found, "HEAD")

    @property
    def summaries(self) -> list[str]:
        return [operation.summary for operation in self.operations.values()]

    async def answer(
        self, request: Request, operator: Operator, exchange: Exchange | None = None
    ) -> Response | None:
        """None: the handler has taken the exchange for itself."""
        method = "GET" if request.method == "HEAD" else request.method
        operation = self.operations[method]
        try:
            return await _perform(operation, self.path, request, operator, exchange)
        except Failed as error:
            return problem(error.status, error.detail, error.errors)
        except ViewerError as error:
            return problem_of(error)
        except ConfigError as error:
            fields = [FieldProblem(field=error.field, problem=error.problem)]
            return problem(422, str(error), fields)
        except FormatError as error:
            return problem(422, str(error))
        except UpstreamError as error:
            return problem(502, str(error))
        except StateError as error:
            return problem(503, str(error))


def resources(operations: Sequence[Operation]) -> list[Resource]:
    """The operations by path, in the order of the table."""
    found: dict[str, Resource] = {}
    for operation in operations:
        path = PREFIX + operation.path
        resource = found.setdefault(path, Resource(path))
        assert operation.method not in resource.operations, f"{operation.method} {path} twice"
        resource.operations[operation.method] = operation
    return list(found.values())


async def _perform(
    operation: Operation,
    path: str,
    request: Request,
    operator: Operator,
    exchange: Exchange | None,
) -> Response | None:
    call = Call(
        request,
        operator,
        _ids(path, request),
        _query(operation, request),
        _body(operation, request),
        exchange,
    )
    if operation.current is not None:
        await _check_match(operation, call)
    result = await operation.handler(call)
    if result is None or isinstance(result, Response):
        return Response(204, headers=_NO_STORE) if operation.answer is None else result
    return _answer(operation, result, request)


# -- in --


def _ids(path: str, request: Request) -> dict[str, Any]:
    """Raises Failed 404: a number that is none names nothing."""
    found: dict[str, Any] = {}
    for part, text in zip(path.strip("/").split("/"), request.segments, strict=True):
        if not part.startswith("{"):
            continue
        name = part[1:-1]
        if not is_number(name):
            found[name] = text
        elif _WHOLE.fullmatch(text):
            found[name] = int(text)
        else:
            raise NotThere(f"{name}: it is a number")
    return found


def _query(operation: Operation, request: Request) -> BaseModel | None:
    if operation.query is None:
        return None
    given: dict[str, Any] = {}
    known = operation.query.model_fields
    for name, value in request.query_all:
        if name in known and _is_list(known[name].annotation):
            given.setdefault(name, []).append(value)
        else:
            given.setdefault(name, value)
    return _read(operation.query, given)


def _is_list(annotation: Any) -> bool:
    return "list[" in str(annotation)


def _body(operation: Operation, request: Request) -> BaseModel | None:
    if operation.body is None:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise Failed(415, "the body is to be JSON (Content-Type: application/json)")
    try:
        given = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise Failed(400, f"the body is no JSON: {error}") from None
    return _read(operation.body, given)


def _read(model: type[BaseModel], given: Any) -> BaseModel:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = [
            FieldProblem(field=_dotted(one), problem=_sentence(one))
            for one in error.errors(include_url=False, include_context=False)
        ]
        first = f"{found[0].field}: {found[0].problem}" if found[0].field else found[0].problem
        raise Failed(422, first, found) from None


def _dotted(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"])


def _sentence(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "no such field"
    return error["msg"].removeprefix("Value error, ")


# -- out --


def _answer(operation: Operation, result: Any, request: Request) -> Response:
    body = operation.adapter.dump_json(result)
    headers = _NO_STORE
    if operation.tagged:
        tag = _tag_of(body)
        headers = (("Cache-Control", "private, no-cache"), ("ETag", tag))
        if request.method in ("GET", "HEAD") and _names(
            request.headers.get("if-none-match", ""), tag
        ):
            return Response(304, headers=headers)
    return Response(operation.status, body, JSON, headers)


async def _check_match(operation: Operation, call: Call) -> None:
    """RFC 9110 §13.1.1: an edit of what has changed meanwhile is not done. Raises Failed 412."""
    said = call.request.headers.get("if-match", "")
    if not said or operation.current is None:
        return
    present = await operation.current(call)
    tag = _tag_of(TypeAdapter(type(present)).dump_json(present))
    if not _names(said, tag):
        raise Failed(412, "it has changed meanwhile; read it again")


def _tag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _names(said: str, tag: str) -> bool:
    return said.strip() == "*" or tag in [one.removeprefix("W/") for one in _TAG.findall(said)]


def problem_of(error: ViewerError) -> Response:
    """A refusal as a problem, with Retry-After if it has one."""
    headers: Headers = ()
    if error.retry_after is not None:
        headers = (("Retry-After", str(error.retry_after)),)
    return problem(error.status, error.reason, headers=headers)


def problem(
    status: int, detail: str, errors: Sequence[FieldProblem] = (), headers: Headers = ()
) -> Response:
    """An answer that says why not."""
    title = STATUS_LINES[status].split(b" ", 2)[2].strip().decode()
    told = Problem(title=title, status=status, detail=detail, errors=list(errors))
    return Response(status, told.model_dump_json().encode(), PROBLEM, (*_NO_STORE, *headers))
