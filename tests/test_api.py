"""Logging in and out, over the whole server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from stage import PATIENCE_SECONDS, Stage, stage

from rawstream.config import Limits
from rawstream.http_client import ClientResponse, request
from rawstream.operators import COOKIE
from rawstream.rest import PROBLEM


async def ask(
    made: Stage, path: str, method: str = "GET", body: Any = None, **headers: str
) -> ClientResponse:
    given = [(name.replace("_", "-"), value) for name, value in headers.items()]
    raw = b""
    if body is not None:
        raw = orjson.dumps(body)
        given.append(("Content-Type", "application/json"))
    return await request(
        f"http://127.0.0.1:{made.port}{path}",
        method=method,
        body=raw,
        headers=given,
        connect_seconds=PATIENCE_SECONDS,
        total_seconds=PATIENCE_SECONDS,
        limits=Limits(),
    )


async def no_more_room(made: Stage, *, full: bool) -> None:
    await made.worker.store.db._writer.execute(f"PRAGMA query_only = {int(full)}")


async def test_from_the_first_password_to_the_last_word(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        password = made.worker.first_password
        assert password is not None
        for path in ("/api/v1/accounts", "/api/openapi.json", "/api/v1/session"):
            assert (await ask(made, path)).status == 401
        wrong = {"username": "admin", "password": "no"}
        assert (await ask(made, "/api/v1/session", "POST", wrong)).status == 403
        assert (await ask(made, "/api/v1/session", "POST", {"user": 1})).status == 422
        await no_more_room(made, full=True)
        kept_nowhere = await ask(
            made, "/api/v1/session", "POST", {"username": "admin", "password": password}
        )
        assert (kept_nowhere.status, kept_nowhere.headers["content-type"]) == (503, PROBLEM)
        await no_more_room(made, full=False)
        right = {"username": "admin", "password": password}
        answer = await ask(made, "/api/v1/session", "POST", right)
        assert answer.status == 204
        cookie = answer.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith(f"{COOKIE}=")
        who = orjson.loads((await ask(made, "/api/v1/session", cookie=cookie)).body)
        assert who["username"] == "admin"
        document = orjson.loads((await ask(made, "/api/openapi.json", cookie=cookie)).body)
        assert "/api/v1/accounts" in document["paths"]
        assert set(document["paths"]["/api/v1/session"]) == {"get", "post", "delete"}
        listed = await ask(made, "/api/v1/accounts", cookie=cookie)
        assert orjson.loads(listed.body)["total"] == 1
        assert password.encode() not in listed.body
        refused = await ask(made, "/api/v1/accounts/1", "PUT", {}, cookie=cookie)
        assert (refused.status, "PATCH" in refused.headers["allow"]) == (405, True)
        behind_his_back = await ask(
            made, "/api/v1/session", "POST", right, origin="http://evil.example"
        )
        assert (behind_his_back.status, "set-cookie" in behind_his_back.headers) == (403, False)
        foreign = {"cookie": cookie, "origin": "http://evil.example"}
        assert (await ask(made, "/api/v1/accounts", "POST", {}, **foreign)).status == 403
        await no_more_room(made, full=True)
        assert (await ask(made, "/api/v1/session", "DELETE", cookie=cookie)).status == 503
        await no_more_room(made, full=False)
        assert (await ask(made, "/api/v1/session", "DELETE", cookie=cookie)).status == 204
        assert (await ask(made, "/api/v1/accounts", cookie=cookie)).status == 401


async def test_an_admin_sees_the_operators_pages_from_anywhere(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        login = {"username": "admin", "password": made.worker.first_password}
        cookie = (await ask(made, "/api/v1/session", "POST", login)).headers["set-cookie"]
        proxied = {"x_forwarded_for": "203.0.113.9"}  # through no proxy that is trusted
        assert (await ask(made, "/status", **proxied)).status == 403
        known = {"cookie": cookie.partition(";")[0], **proxied}
        assert (await ask(made, "/status", **known)).status == 200


async def test_who_logs_in_beside_the_public_address_gets_a_cookie_he_may_use(
    tmp_path: Path,
) -> None:
    async with stage(tmp_path, []) as made:
        login = {"username": "admin", "password": made.worker.first_password}
        await made.worker.settings.change({"public_url": "https://tv.example.org/tv"})
        at_home = await ask(made, "/api/v1/session", "POST", login)
        assert "Path=/;" in at_home.headers["set-cookie"]
        assert "Secure" not in at_home.headers["set-cookie"]
