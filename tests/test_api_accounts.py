"""Accounts as an operator sees and changes them."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from account_stage import FakePasswords
from operators import Desk

from rawstream.api_accounts import AccountOperations
from rawstream.http1 import Request
from rawstream.operators import COOKIE


class Hashing(FakePasswords):
    """Hashes are the passwords themselves."""

    async def hash(self, password: str) -> str:
        return password


@pytest.fixture
def accounts(desk: Desk) -> Desk:
    passwords: Any = Hashing()
    operations = AccountOperations(
        desk.store, desk.accounts, desk.operators, passwords, desk.doorman
    )
    return desk.open(operations.table())


async def test_an_account_from_its_making_to_its_end(accounts: Desk) -> None:
    made = await accounts.ask("POST", "/accounts", {"username": "ana"}, status=201)
    password, path = made["password"], f"/accounts/{made['id']}"
    assert made["urls"]["playlist"] == (
        f"http://tv:58055/get.php?username=ana&password={password}&type=m3u_plus&output=ts"
    )
    shown = await accounts.ask("GET", path)
    assert "password" not in shown and "urls" not in shown
    assert shown["allowed_formats"] == ["ts", "m3u8"]
    assert accounts.accounts.verified("ana", password) is None
    assert await accounts.accounts.verify("ana", password, "10.0.0.1")
    changed = await accounts.ask(
        "PATCH",
        path,
        {"max_connections": 3, "expires_at": 1, "categories": [5, 2], "notes": "cellar"},
    )
    assert (changed["status"], changed["categories"]) == ("Expired", [2, 5])
    changed = await accounts.ask("PATCH", path, {"expires_at": None, "categories": None})
    assert (changed["status"], changed["categories"], changed["max_connections"]) == (
        *("Active", None),
        3,
    )
    found = await accounts.ask("GET", "/accounts?q=CELL")
    assert [one["username"] for one in found["items"]] == ["ana"]
    assert (await accounts.ask("GET", "/accounts?status=Expired"))["total"] == 0
    await accounts.ask("DELETE", path, status=204)
    await accounts.ask("GET", path, status=404)


async def test_addresses_that_may_be_shown_again_hold_a_token_and_no_password(
    accounts: Desk,
) -> None:
    made = await accounts.ask(
        "POST", "/accounts", {"username": "ana", "password": "pä"}, status=201
    )
    path = f"/accounts/{made['id']}"
    before = await accounts.ask("GET", f"{path}/urls")
    assert "p%C3%A4" not in str(before) and "token=" in before["playlist"]
    reset = await accounts.ask("POST", f"{path}/reset", {"what": "token"})
    assert reset["password"] == ""
    after = await accounts.ask("GET", f"{path}/urls")
    assert after == reset["urls"] != before
    reset = await accounts.ask("POST", f"{path}/reset", {"what": "password"})
    assert reset["password"] not in ("", "pä")
    assert await accounts.accounts.verify("ana", reset["password"], "10.0.0.1")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"username": "live"}, 422, "username"),
        ({"username": "a/b"}, 422, "username"),
        ({"username": ""}, 422, "username"),
        ({"username": "boss"}, 409, None),
        ({"username": "x", "password": "p" * 257}, 422, "password"),
        ({"username": "x", "allowed_formats": []}, 422, "allowed_formats"),
        ({"username": "x", "allowed_formats": ["rtmp"]}, 422, "allowed_formats.0"),
    ],
)
async def test_what_an_account_can_not_be(
    accounts: Desk, body: dict[str, Any], status: int, field: str | None
) -> None:
    told = await accounts.ask("POST", "/accounts", body, status=status)
    assert [one["field"] for one in told["errors"]] == ([] if field is None else [field])
    assert (await accounts.ask("GET", "/accounts"))["total"] == 1


@pytest.mark.parametrize("way", ["change", "reset"])
async def test_who_changes_his_own_password_stays_logged_in(accounts: Desk, way: str) -> None:
    elsewhere = await accounts.operators.log_in("boss", "pw", "127.0.0.1")
    here = accounts.operators.of(Request("GET", "/", {"cookie": f"{COOKIE}={accounts.secret}"}))
    assert here is not None
    good: list[bool] = []
    reload = accounts.accounts.reload

    async def watched() -> None:  # there is no moment at which he is nobody
        good.append(accounts.operators.is_good(here))
        await reload()
        good.append(accounts.operators.is_good(here))

    accounts.accounts.reload = watched  # type: ignore[method-assign]
    if way == "change":
        await accounts.ask("PATCH", "/accounts/1", {"password": "another"})
    else:
        await accounts.ask("POST", "/accounts/1/reset", {"what": "password"})
    assert good == [True, True]
    await accounts.ask("GET", "/accounts")
    accounts.secret = elsewhere
    await accounts.ask("GET", "/accounts", status=401)


async def test_of_two_admins_who_disable_each_other_at_once_one_stays(accounts: Desk) -> None:
    await accounts.ask("POST", "/accounts", {"username": "two", "admin": True}, status=201)
    both = await asyncio.gather(
        accounts.answer("PATCH", "/accounts/1", {"enabled": False}),
        accounts.answer("PATCH", "/accounts/2", {"enabled": False}),
    )
    assert sorted(one.status for one in both) == [200, 409]


@pytest.mark.parametrize("change", [{"admin": False}, {"enabled": False}, {"expires_at": 5}, None])
async def test_the_last_admin_stays(accounts: Desk, change: dict[str, Any] | None) -> None:
    boss = await accounts.store.accounts.by_name("boss")
    assert boss is not None
    method = "DELETE" if change is None else "PATCH"
    await accounts.ask(method, f"/accounts/{boss.id}", change, status=409)
    await accounts.ask("POST", "/accounts", {"username": "two", "admin": True}, status=201)
    done = await accounts.answer(method, f"/accounts/{boss.id}", change)
    assert done.status in (200, 204)


async def test_a_kick_is_seen_by_every_process(accounts: Desk) -> None:
    boss = await accounts.store.accounts.by_name("boss")
    assert boss is not None
    assert await accounts.ask("POST", f"/accounts/{boss.id}/kick") == {"streams": 0}
    after = await accounts.store.accounts.by_name("boss")
    assert after is not None and after.kicked_at > boss.kicked_at


async def test_bytes_that_were_sent_meanwhile_are_in_no_way_of_an_edit(accounts: Desk) -> None:
    number = (await accounts.ask("POST", "/accounts", {"username": "ana"}, status=201))["id"]
    path = f"/accounts/{number}"
    match = {"if-match": dict((await accounts.answer("GET", path)).headers)["ETag"]}
    await accounts.store.accounts.add_bytes({number: 188})
    changed = await accounts.answer("PATCH", path, {"notes": "x"}, headers=match)
    assert (changed.status, orjson.loads(changed.body)["bytes"]) == (200, 188)
    assert (await accounts.answer("DELETE", path, headers=match)).status == 412
