"""The whole program as players' libraries see it: log in, list, play.

Each client is a program of its own (`xtream_clients.py`); the server runs in this test's loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import sys
from pathlib import Path

import pytest
from front_door import CHANNELS, ask, client, front_door, get, run
from players import find_program, player_command
from stage import PATIENCE_SECONDS, Player, until
from test_players import errors_of, mpv_command
from wire import dial, receive, send

from rawstream import xtream_lists
from rawstream.errors import StateError
from rawstream.passwords import Passwords
from rawstream.simulator import film_contents
from rawstream.workers import Worker


async def test_pyxtream_logs_in_lists_and_its_urls_play(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data", films=film_contents()) as (_worker, url):
        found = await client("pyxtream", url, "demo", tmp_path)
        assert found["in"]
        assert found["channels"] == CHANNELS
        assert found["films"] == ["rawstream film"]
        assert found["film_urls"] == [f"{url}/movie/demo/demo/5.ts"]
        assert found["series"] == {
            "rawstream show": {
                f"Episode {number}": f"{url}/series/demo/demo/{5 + number}.ts" for number in (1, 2)
            }
        }
        assert len(found["guide"]["epg_listings"]) == 4
        status, out, err = await run(
            find_program("ffprobe"), "-v", "error", "-show_entries", "stream=codec_type",
            "-of", "json", found["urls"][0],
        )  # fmt: skip
        assert (status, err) == (0, "")
        assert json.loads(out)["streams"]


async def test_the_second_library_logs_in_and_lists(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (_worker, url):
        found = await client("xtream_api_client", url, "demo", tmp_path)
        assert found["status"] == "Active"
        assert found["channels"] == CHANNELS
        assert (await client("xtream_api_client", url, "wrong", tmp_path)) == {"in": False}


async def test_a_list_reader_finds_films_by_their_paths(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data", films=film_contents()) as (_worker, url):
        found = await client("ipytv", url, "demo", tmp_path)
    films = sorted(content.name for content in film_contents())
    assert found["channels"] == sorted([*(name.replace(",", "") for name in CHANNELS), *films])
    assert found["urls"][4:] == [
        f"{url}/movie/demo/demo/5.ts",
        f"{url}/series/demo/demo/6.ts",
        f"{url}/series/demo/demo/7.ts",
    ]
    assert found["groups"] == ["Films", "Pictures", "Sounds"]


async def test_a_list_reader_finds_every_channel_and_its_urls_play(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (_worker, url):
        found = await client("ipytv", url, "demo", tmp_path)
        assert found["channels"] == sorted(name.replace(",", "") for name in CHANNELS)
        assert all(address.startswith(f"{url}/live/demo/demo/") for address in found["urls"])
        status, _out, err = await run(
            find_program("ffmpeg"), "-v", "error", "-i", found["urls"][0],
            "-t", "2", "-c", "copy", "-f", "null", "-",
        )  # fmt: skip
        assert (status, err) == (0, "")


async def test_players_play_what_the_list_says(tmp_path: Path) -> None:
    """mpv and streamlink on URLs from get.php, each on another channel."""
    async with front_door(tmp_path / "data") as (_worker, url):
        listed = (await get(f"{url}/get.php?username=demo&password=demo&type=m3u"))[1].decode()
        first, second = [line for line in listed.splitlines() if line.startswith("http")][:2]
        mpv = mpv_command("--msg-level=all=warn", "--length=2", first)
        status, out, err = await run(*mpv)
        assert (status, out, err) == (0, "", "")
        kept = tmp_path / "kept.ts"
        streamlink = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streamlink", "--quiet", "-o", str(kept)),
            *(f"httpstream://{second}", "best"),
        )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not kept.exists() or kept.stat().st_size < 100 * 188:
                    await asyncio.sleep(0.05)
        finally:
            streamlink.terminate()
            await streamlink.wait()
        assert kept.read_bytes()[: 100 * 188 : 188] == b"G" * 100


async def test_vlc_plays_what_the_list_says_without_an_error_line(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (_worker, url):
        listed = (await get(f"{url}/get.php?username=demo&password=demo"))[1].decode()
        first = next(line for line in listed.splitlines() if line.startswith("http"))
        status, _out, err = await run(
            *player_command("cvlc", "-vv", "--no-color", "--vout=dummy", "--aout=dummy"),
            *("--run-time=3", "--play-and-exit", first),
        )
    lines = [line.partition("] ")[2] for line in err.splitlines()]
    assert status == 0
    assert any("Received first picture" in line for line in lines)
    assert errors_of(lines) == set()


async def test_zapping_at_one_connection_is_never_refused(tmp_path: Path) -> None:
    """Fifty zaps, each opened before the former stream is left."""
    async with front_door(tmp_path / "data") as (worker, url):
        login = f"{url}/player_api.php?username=demo&password=demo"
        streams = json.loads((await get(f"{login}&action=get_live_streams"))[1])
        store = worker.store
        account = await store.accounts.by_name("demo")
        assert account is not None
        port = worker.addresses[0][1]
        former = None
        for number in range(50):
            stream = streams[number % len(streams)]["stream_id"]
            sock = await dial(port)
            path = f"/live/demo/demo/{stream}.ts".encode()
            await send(sock, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nUser-Agent: Box\r\n\r\n")
            assert (await receive(sock, b"\r\n")).startswith(b"HTTP/1.1 200")
            assert worker.accounts.active(account.id) <= 1
            if former is not None:
                former.close()
            former = sock
        assert former is not None
        former.close()


async def cut_by(command: tuple[str, ...], worker: Worker, login: str, data: Path) -> None:
    """A viewer is in the middle of a stream when somebody else runs this command, and is cut."""
    streams = json.loads((await get(f"{login}&action=get_live_streams"))[1])
    sock = await dial(worker.addresses[0][1])
    path = f"/live/demo/demo/{streams[0]['stream_id']}.ts".encode()
    await send(sock, b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await receive(sock, b"\r\n")).startswith(b"HTTP/1.1 200")
    status, _out, err = await run(
        sys.executable, "-m", "rawstream", "user", *command, "--data", str(data)
    )
    assert status == 0, err

    async def to_the_end() -> None:
        try:
            await receive(sock)
        except ConnectionResetError:
            pass

    await asyncio.wait_for(to_the_end(), PATIENCE_SECONDS)
    sock.close()


async def test_an_account_that_is_kicked_is_cut_and_may_go_on(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (worker, url):
        login = f"{url}/player_api.php?username=demo&password=demo"
        await cut_by(("kick", "demo"), worker, login, tmp_path / "data")
        account = json.loads((await get(login))[1])
        assert account["user_info"]["status"] == "Active"


async def test_an_account_that_is_disabled_is_cut_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (worker, url):
        login = f"{url}/player_api.php?username=demo&password=demo"
        await cut_by(("set", "demo", "--disable"), worker, login, tmp_path / "data")
        account = json.loads((await get(login))[1])
        assert account["user_info"]["status"] == "Disabled"
        assert account["user_info"]["auth"] == 1
        assert (await get(f"{login}&action=get_live_streams"))[1] == b"[]"


async def test_a_wrong_password_gets_the_answers_of_the_reference(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (_worker, url):
        query = "username=demo&password=nope"
        status, body = await get(f"{url}/player_api.php?{query}")
        assert status == 200
        info = json.loads(body)
        assert (info["user_info"]["auth"], info["user_info"]["username"]) == (0, "demo")
        assert info["server_info"] == {}
        assert (await get(f"{url}/player_api.php?{query}&action=get_live_streams"))[0] == 401
        for path in ("get.php", "xmltv.php"):
            assert (await get(f"{url}/{path}?{query}"))[0] == 403
        assert (await get(f"{url}/live/demo/nope/1.ts"))[0] == 403


async def test_a_password_is_kept_only_as_its_hash(tmp_path: Path) -> None:
    canary = "Canary.7f3a-password"
    async with front_door(tmp_path / "data") as (worker, url):
        hashed = await Passwords().hash(canary)
        demo = await worker.store.accounts.by_name("demo")
        assert demo is not None
        await worker.store.accounts.set(dataclasses.replace(demo, password_hash=hashed))
        query = f"username=demo&password={canary}"

        async def let_in() -> bool:
            body = json.loads((await get(f"{url}/player_api.php?{query}"))[1])
            return bool(body["user_info"]["auth"])

        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await let_in():
                await asyncio.sleep(0.05)
        await get(f"{url}/get.php?{query}")
        for page in ("status", "status?format=json", "metrics"):
            assert canary.encode() not in (await get(f"{url}/{page}"))[1]
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert canary.encode() not in path.read_bytes(), path.name


async def test_what_happens_is_written_down_without_secrets(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (worker, url):
        await get(f"{url}/player_api.php?username=demo&password=wrong-canary")
        await get(f"{url}/player_api.php?username=canary-typed-here&password=x")
        player = Player(worker.addresses[0][1], "/live/demo/demo/1.ts")
        await player.open()
        await player.more(1000)
        player.leave()
        await until(lambda: worker.accounts.active(1) == 0 and worker.hub.snapshot().viewers == 0)
        await worker.books.write()
        lines = {line.kind: line for line in await worker.store.history()}
        assert set(lines) == {"login", "login refused", "play", "stop"}
        assert lines["play"].account == "demo"
        assert lines["play"].channel.startswith("1 ")
        assert int(lines["stop"].text.split()[0]) >= 1000
        assert "canary" not in str(lines)
        demo = await worker.store.accounts.by_name("demo")
        assert demo is not None
        assert (await worker.store.accounts.bytes_of())[demo.id] >= 1000
        assert await worker.store.known_infohashes()
        metrics = (await get(f"{url}/metrics"))[1].decode()
        assert "rawstream_logins_refused_total 2.0" in metrics


async def test_every_logo_that_is_listed_is_a_picture(tmp_path: Path) -> None:
    async with front_door(tmp_path / "data") as (_worker, url):
        login = "username=demo&password=demo"
        streams = json.loads(
            (await get(f"{url}/player_api.php?{login}&action=get_live_streams"))[1]
        )
        listed = (await get(f"{url}/get.php?{login}"))[1].decode()
        guide = (await get(f"{url}/xmltv.php?{login}"))[1].decode()
        for stream in streams:
            icon = stream["stream_icon"]
            assert icon.startswith(f"{url}/logos/")
            assert f'tvg-logo="{icon}"' in listed
            assert f'<icon src="{icon}"/>' in guide
            status, body = await get(icon)
            assert (status, body[:8]) == (200, b"\x89PNG\r\n\x1a\n")


async def test_a_store_that_cannot_be_read_is_503_and_told_to_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front_door(tmp_path / "data") as (worker, url):
        login = "username=demo&password=demo"

        async def broken(*_: object) -> object:
            raise StateError("/secret/place/rawstream.db", "disk I/O error")

        def unreadable(*_: object) -> object:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(worker.store.guide, "broadcasts", broken)
        monkeypatch.setattr(xtream_lists, "document", unreadable)
        channel = (await worker.store.lineup.channels())[0]
        await worker.store.guide.set_mapping(channel.id, "any")
        await worker.catalogue.reload()
        for target in (
            f"player_api.php?{login}&action=get_short_epg&stream_id={channel.id}",
            f"xmltv.php?{login}",
        ):
            heard = await ask(f"{url}/{target}")
            assert heard.status == 503, target
            assert heard.headers["retry-after"]
            assert b"secret" not in heard.body
        assert worker.server.failed_requests == 0
