"""The operator's interface for tests: a store, an admin who is logged in, and what he asks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from account_stage import FakePasswords

from rawstream.accounts import Accounts
from rawstream.api import ApiEndpoints
from rawstream.config import Config
from rawstream.http1 import Request, Response
from rawstream.logins import Doorman
from rawstream.operators import COOKIE, Operators
from rawstream.records import Account
from rawstream.rest import Edit, Operation
from rawstream.store import Store


class Desk:
    """An admin's desk. `ask` is what he does; the answer's body as JSON, or None."""

    def __init__(self, store: Store, accounts: Accounts, operators: Operators) -> None:
        self.store = store
        self.accounts = accounts
        self.operators = operators
        self.doorman = Doorman(Config(), accounts)
        self.secret = ""
        self.edits: list[Edit] = []  # as the history is told of them
        self.api = ApiEndpoints(operators, self.doorman, ())

    def open(self, operations: Sequence[Operation]) -> Desk:
        """With these operations."""
        self.api = ApiEndpoints(self.operators, self.doorman, operations, self.edits.append)
        return self

    async def answer(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> Response:
        given = {"host": "tv:58055", "cookie": f"{COOKIE}={self.secret}", **(headers or {})}
        if body is not None:
            given.setdefault("content-type", "application/json")
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        request = Request(method, f"/api/v1{path}", given, body=raw, peer=("127.0.0.1", 9))
        wanted = request.segments
        for resource in self.api.resources:
            parts = resource.path.strip("/").split("/")
            if len(parts) == len(wanted) and all(
                part == said or part.startswith("{")
                for part, said in zip(parts, wanted, strict=True)
            ):
                found = self.api.handler(resource)(request, None)  # type: ignore[arg-type]
                answer = found if isinstance(found, Response) else await found
                assert answer is not None
                return answer
        raise AssertionError(f"no operation {method} {path}")

    async def ask(
        self, method: str, path: str, body: Any = None, status: int = 200, **more: Any
    ) -> Any:
        answer = await self.answer(method, path, body, **more)
        assert answer.status == status, (answer.status, answer.body)
        return orjson.loads(answer.body) if answer.body else None


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await Store.open(tmp_path)
    await store.accounts.add(Account(0, "boss", "pw", admin=True))
    passwords: Any = FakePasswords()
    accounts = Accounts(store.accounts, passwords, Config())
    await accounts.reload()
    operators = Operators(store.credentials, accounts)
    await operators.reload()
    made = Desk(store, accounts, operators)
    made.secret = await operators.log_in("boss", "pw", "127.0.0.1")
    yield made
    await store.close()
