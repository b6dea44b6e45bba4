"""Settings as an operator sees and changes them, and what a change does to a running server."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest
from operators import Desk
from stage import stage, until
from test_api import ask

from rawstream.api_settings import SettingsChange, SettingsOperations
from rawstream.config import Config
from rawstream.live_settings import LIVE, LiveSettings
from rawstream.records import Account, Channel, ChannelSource
from rawstream.store import Store


@pytest.fixture
def settings(desk: Desk) -> Desk:
    live = LiveSettings(desk.store, Config(adult_hidden=True), lambda _was, _now: None)
    return desk.open(SettingsOperations(live).table())


def one(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in found["items"] if item["name"] == name)


async def test_each_setting_says_what_it_is_and_where_that_comes_from(settings: Desk) -> None:
    found = await settings.ask("GET", "/settings")
    assert [item["name"] for item in found["items"] if item["live"]] == list(LIVE)
    segments = one(found, "hls_target_seconds")
    assert (segments["minimum"], segments["maximum"], segments["value"]) == (1, 15, 4)
    assert one(found, "log_level")["choices"][0] == "debug"
    assert one(found, "engines")["value"] == ["http://127.0.0.1:6878"]
    assert not one(found, "engines")["live"]
    changed = await settings.ask("PATCH", "/settings", {"adult_hidden": False, "viewers": 5})
    hidden = one(changed, "adult_hidden")
    assert (hidden["value"], hidden["configured"], hidden["origin"]) == (False, True, "here")
    back = await settings.ask("PATCH", "/settings", {"adult_hidden": None})
    assert (one(back, "adult_hidden")["value"], one(back, "limits.viewers")["value"]) == (True, 5)


async def test_of_a_webhook_only_its_host_is_shown(desk: Desk) -> None:
    config = Config(
        webhooks=("https://u:pass-canary@chat.example.org:8443/hooks/path-canary?k=key",)
    )
    live = LiveSettings(desk.store, config, lambda _was, _now: None)
    shown = await desk.open(SettingsOperations(live).table()).ask("GET", "/settings")
    assert one(shown, "webhooks")["value"] == ["chat.example.org:8443"]
    for secret in ("pass-canary", "path-canary", "k=key"):
        assert secret not in str(shown)


async def test_what_a_setting_can_not_be_and_who_comes_too_late(settings: Desk) -> None:
    for body, field in (
        ({"public_url": "ftp://x"}, "public_url"),
        ({"hls_target_seconds": 0}, "hls_target_seconds"),
        ({"port": 80}, "port"),
    ):
        told = await settings.ask("PATCH", "/settings", body, status=422)
        assert told["errors"][0]["field"] == field
    tag = dict((await settings.answer("GET", "/settings")).headers)["ETag"]
    await settings.ask("PATCH", "/settings", {"viewers": 5}, headers={"if-match": tag})
    late = {"if-match": tag}
    await settings.ask("PATCH", "/settings", {"viewers": 6}, headers=late, status=412)


def test_a_change_can_name_each_setting_that_may_change() -> None:
    assert {name.rpartition(".")[2] for name in LIVE} == set(SettingsChange.model_fields)


async def test_a_running_server_lives_by_what_is_set_and_so_does_the_next(tmp_path: Path) -> None:
    level = logging.getLogger().level
    try:
        async with stage(tmp_path, []) as made:
            worker = made.worker
            adult = (await worker.store.lineup.category_named("XXX", adult=True)).id
            source = (ChannelSource("direct", "http://h/1.ts"),)
            channel = Channel(0, "One", categories=(adult,), sources=source)
            await worker.store.lineup.add_channel(channel)
            await worker.store.accounts.add(Account(0, "ana", await worker._passwords.hash("pw")))
            await worker.catalogue.look()
            list_url = "/get.php?username=ana&password=pw&type=m3u_plus&output=ts"
            before = (await ask(made, list_url)).body
            assert b"KODIPROP" in before and b"One" in before
            login = {"username": "admin", "password": worker.first_password}
            answer = await ask(made, "/api/v1/session", "POST", login)
            cookie = answer.headers["set-cookie"].partition(";")[0]
            body = {
                "kodi_properties": False,
                "public_url": "https://tv.example/x",
                "login_failure_status": 401,
                "limit_policy": "refuse",
                "bandwidth_bits_per_second": 5000,
                "log_level": "error",
            }
            answer = await ask(made, "/api/v1/settings", "PATCH", body, cookie=cookie)
            assert answer.status == 200, answer.body
            listed = (await ask(made, list_url)).body
            assert b"KODIPROP" not in listed and b"https://tv.example/x/live/ana" in listed
            assert (await ask(made, "/player_api.php?username=ana&password=no")).status == 401
            assert logging.getLogger().level == logging.ERROR
            assert worker.hub._bandwidth.cap_bits_per_second == 5000
            assert worker.accounts._config.limit_policy == "refuse"
            # by another process
            other = await Store.open(
                tmp_path / "data" if (tmp_path / "data").exists() else tmp_path
            )
            await LiveSettings(other, worker.config, lambda _was, _now: None).change(
                {"adult_hidden": True, "public_url": "https://tv.example/x"}
            )
            await other.close()
            await until(lambda: worker.settings.config.adult_hidden, "seen by the other")
            assert b"One" not in (await ask(made, list_url)).body
            assert b"KODIPROP" not in listed
        async with stage(tmp_path, []) as made:
            found = await ask(made, list_url)
            assert b"One" not in found.body and found.status == 200
            assert made.worker.settings.config.public_url == "https://tv.example/x"
    finally:
        logging.getLogger().setLevel(level)


async def test_the_log_of_a_server_is_seen_by_admins_alone(tmp_path: Path) -> None:
    async with stage(tmp_path, []) as made:
        assert (await ask(made, "/api/v1/log")).status == 401
        login = {"username": "admin", "password": made.worker.first_password}
        answer = await ask(made, "/api/v1/session", "POST", login)
        cookie = answer.headers["set-cookie"].partition(";")[0]
        logging.getLogger("rawstream.x").error("http://u:canary@h/ failed")
        lines = orjson.loads((await ask(made, "/api/v1/log", cookie=cookie)).body)["lines"]
        assert lines[-1]["text"] == "http://***@h/ failed"
    assert made.worker.log_tail not in logging.getLogger().handlers
