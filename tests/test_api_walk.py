"""The document walked operation by operation over a running server: nothing that it does not say.

Whatever is asked, no answer is a 5xx, every status is documented, and every body is what the
document says it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from jsonschema import Draft202012Validator
from schema_values import HEX, IDS, Inventor
from stage import Stage, stage
from test_api import ask

from rawstream.records import Account, Channel, ChannelSource, ListSource
from rawstream.rest import JSON, PROBLEM
from rawstream.store import Store

ROUNDS = 40
# what must have been done at least once in all these attempts
WHOLLY_WALKED = frozenset(
    ("channels", "categories", "series", "guide", "history", "log", "tokens", "settings", "search")
)


async def furnish(store: Store) -> None:
    """Something under each id that is asked for, whatever was done before."""
    there = {one.id for one in await store.lineup.categories()}
    async with store.db.write() as transaction:
        for number in IDS[:2]:
            if number not in there:
                values = (number, f"Category {number}")
                await transaction.execute("INSERT INTO categories (id, name) VALUES (?, ?)", values)
            await transaction.execute(
                "INSERT OR IGNORE INTO series (id, name) VALUES (?, ?)", (number, "Show")
            )
        transaction.changed("lineup")
    for number in IDS[:2]:
        if await store.lineup.channel(number) is None:
            sources = (ChannelSource("unknown", HEX),)
            await store.lineup.add_channel(Channel(number, f"C{number}", sources=sources))
        if await store.accounts.by_name(f"user{number}") is None:
            await store.accounts.add(Account(0, f"user{number}", "x"))
    for kind in ("playlist", "guide"):
        source = ListSource(0, kind, f"/nowhere/{kind}", enabled=False)  # type: ignore[arg-type]
        await store.lineup.add_list(source)


class Walk:
    def __init__(self, made: Stage, document: dict[str, Any], cookie: str) -> None:
        self.made = made
        self.document = document
        self.cookie = cookie
        self.done: set[str] = set()

    async def operation(self, path: str, method: str, told: dict[str, Any]) -> None:
        for seed in range(ROUNDS):
            await furnish(self.made.worker.store)
            inventor = Inventor(self.document, seed)
            wild = 0.0 if seed % 2 else 0.15
            url, headers, query, body = path, {"cookie": self.cookie}, {}, None
            for one in told["parameters"]:
                if one["in"] == "path":
                    value = IDS[seed % len(IDS)] if one["schema"]["type"] == "integer" else "x"
                    url = url.replace(f"{{{one['name']}}}", quote(str(value), safe=""))
                elif one["in"] == "query" and seed % 3:
                    value = inventor.value(one["schema"], wild=wild)
                    if value is not None:
                        query[one["name"]] = value
                elif one["name"] == "If-Match" and seed % 5 == 4:
                    headers["If-Match"] = '"another"'
            if query:
                url = f"{url}?{urlencode(query, doseq=True)}"
            if JSON in told.get("requestBody", {}).get("content", {}):
                schema = told["requestBody"]["content"][JSON]["schema"]
                body = inventor.value(schema, wild=wild)
                body = {} if body is None else body  # nothing at all is no JSON
            answer = await ask(self.made, url, method.upper(), body, **headers)
            self.check(f"{method} {url} {body!r:.300}", told, answer)
            if answer.status < 300:
                self.done.add(told["operationId"])

    def check(self, asked: str, told: dict[str, Any], answer: Any) -> None:
        status = str(answer.status)
        assert answer.status < 500, (asked, status, answer.body)
        assert status in told["responses"], (asked, status, answer.body)
        content = told["responses"][status].get("content")
        if content is None:
            assert not answer.body, asked
            return
        kind = answer.headers["content-type"]
        assert kind in content, (asked, kind)
        if kind in (JSON, PROBLEM):
            schema = {**content[kind]["schema"], "components": self.document["components"]}
            Draft202012Validator(schema).validate(orjson.loads(answer.body))


@pytest.mark.timeout(300)
async def test_no_operation_answers_what_the_document_does_not_say(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        login = {"username": "admin", "password": made.worker.first_password}
        answer = await ask(made, "/api/v1/session", "POST", login)
        cookie = answer.headers["set-cookie"].partition(";")[0]
        body = (await ask(made, "/api/openapi.json", cookie=cookie)).body
        walk = Walk(made, orjson.loads(body), cookie)
        wanted = set()
        for path, operations in walk.document["paths"].items():
            for method, told in operations.items():
                answers = told["responses"].get("200", {}).get("content", {JSON: None})
                if JSON not in answers:
                    continue  # a stream, or a download
                await walk.operation(path, method, told)
                if WHOLLY_WALKED.intersection(told["tags"]):
                    wanted.add(told["operationId"])
        assert wanted and wanted <= walk.done, wanted - walk.done
