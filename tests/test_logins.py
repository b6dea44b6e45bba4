"""Who asks: by path, query, form or token."""

from __future__ import annotations

from typing import Any

import pytest
from door import Door

from rawstream.config import Config
from rawstream.http1 import Request
from rawstream.logins import Doorman, Login, login_of, parameters


def test_query_and_form_are_one_and_the_query_wins_unless_it_is_empty() -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    request = Request("POST", "/?a=1&c=&d=", headers, body=b"a=2&b=3&c=4")
    assert parameters(request) == {"a": "1", "b": "3", "c": "4", "d": ""}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/player_api/ana/pw/get_profile", {"action": "get_profile"}),
        ("/playlist/ana/pw/m3u?username=bob&token=t", {"type": "m3u"}),
        ("/epg/ana/pw", {"gzip": "0"}),
        ("/epg/ana/pw/gz", {"gzip": "1"}),
    ],
)
def test_what_a_path_holds_wins(path: str, expected: dict[str, str]) -> None:
    asked = parameters(Request("GET", path, {}))
    assert asked == {"username": "ana", "password": "pw", **expected}


def test_a_login_is_written_with_no_more_encoding_than_a_url_needs() -> None:
    login = login_of({"username": "a@b", "password": "p/w"})
    assert (login.path, login.query) == ("a@b/p%2Fw", "username=a@b&password=p%2Fw")
    assert Login("", "", "t/k").path == "t%2Fk"


async def test_what_a_login_by_token_is_told_of_itself_plays(door: Door) -> None:
    info = (await door.api("token=tok3n"))["user_info"]
    assert await door.play(f"/live/{info['username']}/{info['password']}/1.ts") == 0
    login = f"username={info['username']}&password={info['password']}"
    assert len(await door.api(f"{login}&action=get_live_streams")) == 2
    again = (await door.api("username=tok3n&password=tok3n"))["user_info"]
    assert await door.play(f"/live/{again['username']}/{again['password']}/1.ts") == 0
    assert door.passwords.checks == 0


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("tv.example.org", "https://tv.example.org/tv"),
        ("tv.example.org:443", "https://tv.example.org/tv"),
        ("tv.example.org:58055", "http://tv.example.org:58055"),
        ("192.168.1.5:58055", "http://192.168.1.5:58055"),
        ("nas", "http://nas:80"),
    ],
)
def test_who_asks_at_another_address_than_the_public_one_is_where_he_is(
    host: str, reached: str
) -> None:
    accounts: Any = None
    doorman = Doorman(Config(public_url="https://tv.example.org/tv"), accounts)
    request = Request("POST", "/api/v1/session", {"host": host})
    assert doorman.base(request).url == "https://tv.example.org/tv"
    assert doorman.reached(request).url == reached.removesuffix(":80")
