"""Who operates: sessions, tokens, one-time links, and pages of other sites."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from operators import Desk

from rawstream.accounts import LoginRefused
from rawstream.errors import ViewerError
from rawstream.http1 import Request
from rawstream.operators import COOKIE, session_cookie
from rawstream.records import Account


def request(method: str = "GET", **headers: str) -> Request:
    return Request(method, "/api/v1/accounts", {"host": "tv:58055", **headers})


async def test_a_session_is_known_until_it_ends(desk: Desk) -> None:
    asked = request(cookie=f"theme=dark; {COOKIE}={desk.secret}; x=y")
    operator = desk.operators.of(asked)
    assert operator is not None and operator.account.username == "boss"
    await desk.operators.log_out(operator)
    assert desk.operators.of(asked) is None


@pytest.mark.parametrize(
    "others",
    ['{"a":1}=x; y={"b":2};', "flag;", 'x="open;', "f[o]o=1;", "x=é;", "path=/;", f"{COOKIE}=old;"],
)
@pytest.mark.parametrize("before", [True, False])
async def test_cookies_of_other_programs_on_this_host_are_in_no_way(
    desk: Desk, others: str, *, before: bool
) -> None:
    ours = f"{COOKIE}={desk.secret}"
    text = f"{others} {ours}" if before else f"{ours}; {others}"
    assert desk.operators.of(request(cookie=text)) is not None


@pytest.mark.parametrize("cookie", ["", "a=b", f"{COOKIE}=", f"{COOKIE}=guess", f"{COOKIE}", ";;="])
async def test_nobody_is_known_by_anything_else(desk: Desk, cookie: str) -> None:
    assert desk.operators.of(request(cookie=cookie)) is None
    assert desk.operators.of(request(authorization=f"Bearer {desk.secret}")) is None
    assert desk.operators.of(request(authorization="Basic Ym9zczpwdw==")) is None


@pytest.mark.parametrize(
    "change",
    [{"admin": False}, {"enabled": False}, {"expires_at": 1}, {"password_hash": "other"}],
)
async def test_a_session_ends_with_what_it_was_given_for(desk: Desk, change: dict) -> None:
    boss = await desk.store.accounts.by_name("boss")
    assert boss is not None
    await desk.store.accounts.set(replace(boss, **change))
    await desk.accounts.reload()
    assert desk.operators.of(request(cookie=f"{COOKIE}={desk.secret}")) is None


@pytest.mark.parametrize(
    "change",
    [{}, {"admin": False}, {"enabled": False}, {"expires_at": 1}, {"password_hash": "other"}],
)
async def test_who_was_let_in_is_judged_again_by_what_is_so_now(desk: Desk, change: dict) -> None:
    operator = desk.operators.of(request(cookie=f"{COOKIE}={desk.secret}"))
    assert operator is not None and desk.operators.is_good(operator)
    await desk.store.accounts.set(replace(operator.account, **change))
    await desk.accounts.reload()
    assert desk.operators.is_good(operator) is (not change)
    await desk.operators.log_out(operator)
    assert not desk.operators.is_good(operator)


async def test_sessions_are_known_to_other_processes_and_after_a_restart(desk: Desk) -> None:
    other = type(desk.operators)(desk.store.credentials, desk.accounts)
    await other.reload()
    assert other.of(request(cookie=f"{COOKIE}={desk.secret}")) is not None


async def test_only_admins_log_in_and_not_with_a_players_token(desk: Desk) -> None:
    await desk.store.accounts.add(Account(0, "ana", "pw"))
    await desk.accounts.reload()
    for name, password in (("ana", "pw"), ("boss", "no"), ("nobody", "pw"), ("", "")):
        with pytest.raises(LoginRefused):
            await desk.operators.log_in(name, password, "10.0.0.1")
    boss = await desk.store.accounts.by_name("boss")
    assert boss is not None
    with pytest.raises(LoginRefused):
        await desk.operators.log_in("boss", boss.token, "10.0.0.1")
    with pytest.raises(LoginRefused):
        await desk.operators.log_in(boss.token, boss.token, "10.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://tv:58056"},
        {"origin": "http://["},
    ],
)
async def test_another_sites_page_changes_nothing(desk: Desk, headers: dict[str, str]) -> None:
    cookie = f"{COOKIE}={desk.secret}"
    with pytest.raises(ViewerError) as refused:
        desk.operators.of(request("POST", cookie=cookie, **headers))
    assert refused.value.status == 403
    assert desk.operators.of(request("GET", cookie=cookie, **headers)) is not None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://tv:58055"},
    ],
)
async def test_our_own_page_may(desk: Desk, headers: dict[str, str]) -> None:
    cookie = f"{COOKIE}={desk.secret}"
    assert desk.operators.of(request("DELETE", cookie=cookie, **headers)) is not None


async def test_a_token_works_from_anywhere_until_it_is_taken_back(desk: Desk) -> None:
    operator = desk.operators.of(request(cookie=f"{COOKIE}={desk.secret}"))
    assert operator is not None
    made, secret = await desk.operators.add_token(operator, "backup script")
    asked = request("POST", authorization=f"Bearer {secret}", origin="http://elsewhere")
    found = desk.operators.of(asked)
    assert found is not None and found.credential.name == "backup script"
    assert desk.operators.of(request(cookie=f"{COOKIE}={secret}")) is None
    assert [one.id for one in desk.operators.tokens()] == [made.id]
    assert await desk.operators.remove_token(made.id)
    assert not await desk.operators.remove_token(made.id)
    assert desk.operators.of(asked) is None


async def test_a_link_lets_in_once(desk: Desk) -> None:
    boss = await desk.store.accounts.by_name("boss")
    assert boss is not None
    link = await desk.operators.invite(boss)
    assert desk.operators.of(request(cookie=f"{COOKIE}={link}")) is None
    secret = await desk.operators.accept(link)
    assert desk.operators.of(request(cookie=f"{COOKIE}={secret}")) is not None
    with pytest.raises(ViewerError):
        await desk.operators.accept(link)


async def test_of_two_who_come_with_a_link_at_once_one_is_let_in(desk: Desk) -> None:
    boss = await desk.store.accounts.by_name("boss")
    assert boss is not None
    link = await desk.operators.invite(boss)
    both = await asyncio.gather(
        desk.operators.accept(link), desk.operators.accept(link), return_exceptions=True
    )
    assert [type(one) for one in both if isinstance(one, Exception)] == [ViewerError]


def test_the_cookie_is_out_of_scripts_and_other_sites_reach() -> None:
    text = session_cookie("s3cret", path="/tv", secure=True)
    assert text.startswith(f"{COOKIE}=s3cret; Path=/tv; Max-Age=")
    for word in ("HttpOnly", "SameSite=Strict", "Secure"):
        assert word in text.split("; ")
    assert "Secure" not in session_cookie("x", path="", secure=False)
    assert "Max-Age=0" in session_cookie("", path="", secure=False)
