"""Tokens of scripts: shown once, good at once, good for nothing when taken back."""

from __future__ import annotations

import time

import pytest
from operators import Desk

from rawstream.api_tokens import TokenOperations


@pytest.fixture
def tokens(desk: Desk) -> Desk:
    return desk.open(TokenOperations(desk.operators, desk.accounts).table())


async def test_a_token_from_its_making_to_its_end(tokens: Desk) -> None:
    body = {"name": "backup script", "expires_at": int(time.time()) + 100}
    made = await tokens.ask("POST", "/tokens", body, status=201)
    secret = made.pop("secret")
    as_script = {"cookie": "", "authorization": f"Bearer {secret}"}
    listed = await tokens.ask("GET", "/tokens", headers=as_script)
    assert listed["items"] == [made]
    assert (made["username"], made["expired"]) == ("boss", False)
    assert secret not in str(listed)
    assert secret not in str(await tokens.store.db.read("SELECT * FROM credentials"))
    await tokens.ask("DELETE", f"/tokens/{made['id']}", status=204)
    await tokens.ask("DELETE", f"/tokens/{made['id']}", status=404)
    await tokens.ask("GET", "/tokens", headers=as_script, status=401)


async def test_a_session_is_no_token(tokens: Desk) -> None:
    assert (await tokens.ask("GET", "/tokens"))["total"] == 0
    session = (await tokens.store.credentials.credentials())[0]
    await tokens.ask("DELETE", f"/tokens/{session.id}", status=404)
    told = await tokens.ask("POST", "/tokens", {"name": "x", "expires_at": 5}, status=422)
    assert told["errors"][0]["field"] == "expires_at"
    await tokens.ask("POST", "/tokens", {"name": ""}, status=422)
