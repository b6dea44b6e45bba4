"""A REST interface out of a table: what each operation takes and answers, checked by its models.

Owns: the reading of a request by pydantic models, pages, entity tags and `If-Match` (RFC 9110 §13),
problems (RFC 9457) that name the field, which failure is which status, the line that an edit leaves
in the history. Must not know: what any operation does; who may ask.

The same table makes the OpenAPI document (`openapi`), so that it can't say anything else.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rawstream.codes import told
from rawstream.connection import Exchange
from rawstream.errors import (
    ClashError,
    ConfigError,
    FormatError,
    StateError,
    UpstreamError,
    ViewerError,
)
from rawstream.http1 import STATUS_LINES, Headers, Request, Response, is_known
from rawstream.operators import Operator

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"
PREFIX: Final = "/api/v1"
_NO_STORE: Headers = (("Cache-Control", "no-store"),)
_TAG: Final = re.compile(r'(?:W/)?"[^"\x00-\x20\x7f]*"')  # RFC 9110 §8.8.3
_WHOLE: Final = re.compile(r"[0-9]{1,10}")
_FAULTS_READ: Final = 1000  # of one request; to put a hundred thousand into words blocks the loop
_FAULTS_TOLD: Final = 100
Item = TypeVar("Item")


class Model(BaseModel):
    """What goes in or out. A field nobody knows is a mistake that is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Coded(Model):
    """`code`: of the sentence, for who says it in another language; '' where it has none. `values`:
    what stands in the sentence's holes.
    """

    code: str = ""
    values: dict[str, str] = Field(default_factory=dict)

    @staticmethod
    def said(text: str) -> Coded:
        """Of a sentence."""
        code, values = told(text)
        return Coded(code=code, values=dict(values))


class FieldProblem(Coded):
    """`field`: its dotted name in the body or query."""

    field: str
    problem: str

    @classmethod
    def of(cls, field: str, problem: str) -> FieldProblem:
        code, values = told(problem)
        return cls(field=field, problem=problem, code=code, values=dict(values))


class Problem(Coded):
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


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is no JSON: the handler makes it, as a `Response`, or takes the exchange for
    itself and returns None. `kinds`: its media types. `statuses`: what else than 200 it may be.
    `plain`: whoever has the exchange then tells failures as a line of text.
    """

    kinds: tuple[str, ...]
    statuses: tuple[int, ...] = ()
    plain: bool = False


class Edit(NamedTuple):
    """What an operation has done, for the history. `channel`: the id of the one it is about, ''
    for anything else. `text` has names of things and of fields in it, no value of a field.
    """

    account: str
    channel: str
    address: str
    text: str


@dataclass(frozen=True)
class Operation:
    """One row. `path`: below `PREFIX`; `{name}` is text in it, `{id}` and what ends in `_id` a
    number. `answer`: a model, or anything pydantic knows, or `Raw`; None answers nothing (204).

    `current`: what the path names now, for `If-Match`; an edit of something that may have changed
    meanwhile has it. `tagged`: its answer has an entity tag. `volatile`: what of the answer changes
    by itself, which is not in the tag: an edit is no less right for it.

    `noted`: a line of history tells of it, unless it is a GET.
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
    volatile: frozenset[str] = frozenset()
    noted: bool = True
    open: bool = False  # to anybody, also to who is not logged in
    errors: tuple[int, ...] = ()
    description: str = ""
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
    note: Callable[[Edit], None] = lambda _edit: None
    edits: asyncio.Lock = field(default_factory=asyncio.Lock)  # of what may have changed meanwhile

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
            call = Call(
                request,
                operator,
                _ids(self.path, request),
                _query(operation, request),
                _body(operation, request),
                exchange,
            )
            return await self._perform(operation, call)
        except Failed as error:
            return problem(error.status, error.detail, error.errors)
        except ViewerError as error:
            return problem_of(error)
        except ConfigError as error:
            fields = [FieldProblem.of(error.field, error.problem)]
            return problem(422, str(error), fields)
        except FormatError as error:
            return problem(422, str(error))
        except UpstreamError as error:
            return problem(502, str(error))
        except ClashError:
            return problem(409, "it has changed meanwhile; read it again")
        except StateError as error:
            return problem(503, str(error))

    async def _perform(self, operation: Operation, call: Call) -> Response | None:
        if operation.current is None:
            return self._done(operation, call, None, await operation.handler(call))
        async with self.edits:  # between the look at it and the edit nobody else has his turn
            before = await operation.current(call)
            _check_match(operation, call.request, before)
            result = await operation.handler(call)
        return self._done(operation, call, before, result)

    def _done(self, operation: Operation, call: Call, before: Any, result: Any) -> Response | None:
        if operation.noted and operation.method != "GET":
            edit = _edit(operation, call, before, result)
            if edit is not None:
                self.note(edit)
        if isinstance(operation.answer, Raw):
            return cast("Response | None", result)
        if operation.answer is None:
            return Response(204, headers=_NO_STORE)
        return _answer(operation, result, call.request)


def resources(
    operations: Sequence[Operation], note: Callable[[Edit], None] = lambda _edit: None
) -> list[Resource]:
    """The operations by path, in the order of the table. `note`: told of each edit."""
    found: dict[str, Resource] = {}
    edits: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
    for operation in operations:
        path = PREFIX + operation.path
        noun = operation.path.split("/")[
            1
        ]  # a list that is long to remove keeps no account waiting
        resource = found.setdefault(path, Resource(path, note=note, edits=edits[noun]))
        assert operation.method not in resource.operations, f"{operation.method} {path} twice"
        resource.operations[operation.method] = operation
    return list(found.values())


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
        if error.error_count() > _FAULTS_READ:
            raise Failed(422, f"there are {error.error_count()} faults in it") from None
        found = [
            FieldProblem.of(_dotted(one), _sentence(one))
            for one in error.errors(include_url=False, include_context=False)[:_FAULTS_TOLD]
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
        tag = _tag_of(operation, result)
        # one that does not stand for all of the answer says nothing of what a cache holds
        whole = not operation.volatile
        headers = (("Cache-Control", "private, no-cache"), ("ETag", tag if whole else f"W/{tag}"))
        if whole and request.method in ("GET", "HEAD") and is_known(tag, request):
            return Response(304, headers=headers)
    return Response(operation.status, body, JSON, headers)


def _check_match(operation: Operation, request: Request, present: Any) -> None:
    """RFC 9110 §13.1.1: an edit of what has changed meanwhile is not done. Raises Failed 412."""
    said = request.headers.get("if-match", "")
    if said and not _names(said, _tag_of(operation, present)):
        raise Failed(412, "it has changed meanwhile; read it again")


def _tag_of(operation: Operation, shown: Any) -> str:
    body = TypeAdapter(type(shown)).dump_json(shown, exclude=set(operation.volatile) or None)
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _names(said: str, tag: str) -> bool:
    return said.strip() == "*" or tag in [one.removeprefix("W/") for one in _TAG.findall(said)]


# -- what is told of it --


def _edit(operation: Operation, call: Call, before: Any, result: Any) -> Edit | None:
    """None where nothing has changed."""
    fields = _changed(call.body, before, result)
    if fields is not None and not fields:
        return None
    words = [operation.tag]
    number = call.ids.get("id", getattr(result, "id", None))
    words += [str(one) for one in (number, _name_of(before) or _name_of(result)) if one]
    words += [text for name, text in call.ids.items() if not is_number(name)]
    details = [f"{getattr(result, name)} {name}" for name in _COUNTS if hasattr(result, name)]
    details += fields or ()
    credential = call.operator.credential
    if credential.kind == "token":
        details.append(f"by the token {credential.name}")
    # no colon: what stands behind "user:" or "token:" is taken for a secret
    text = f"{' '.join(words)} · {operation.summary[0].lower()}{operation.summary[1:]}"
    if details:
        text += f" ({', '.join(details)})"
    about = str(number) if operation.path.startswith("/channels/{id}") else ""
    return Edit(call.operator.account.username, about, call.request.peer[0], text)


_COUNTS: Final = ("changed", "added", "streams")  # what an answer counts that was done to many


def _name_of(shown: Any) -> str:
    """What people call it."""
    found = (getattr(shown, name, None) for name in ("name", "username"))
    return next((text[:100] for text in found if isinstance(text, str) and text), "")


def _changed(said: BaseModel | None, before: Any, after: Any) -> list[str] | None:
    """The fields that were said, but for those that were so before; none at all where nothing has
    changed. None: it takes none.
    """
    if said is None:
        return None
    fields = list(_fields_of(said))
    if before is None or type(before) is not type(after):
        return fields or None
    alike = _alike(before, after)
    others = [one for one in fields if one not in alike]
    # a field may be called as another one of what is shown: something has changed all the same
    return others or (fields if before != after else [])


def _alike(before: Any, after: Any) -> Collection[str]:
    names: Collection[str] = getattr(type(before), "model_fields", ())
    names = names or getattr(before, "__slots__", ())
    return [name for name in names if getattr(before, name) == getattr(after, name)]


def _fields_of(said: BaseModel) -> Iterator[str]:
    for name in type(said).model_fields:
        if name in said.model_fields_set:
            inner = getattr(said, name)
            if isinstance(inner, BaseModel):
                yield from (f"{name}.{one}" for one in _fields_of(inner))
            else:
                yield name


# -- out, what went wrong --


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
    code, values = told(detail)
    answer = Problem(
        title=title,
        status=status,
        detail=detail,
        errors=list(errors),
        code=code,
        values=dict(values),
    )
    return Response(status, answer.model_dump_json().encode(), PROBLEM, (*_NO_STORE, *headers))
