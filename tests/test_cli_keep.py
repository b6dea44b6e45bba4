"""The commands for what is kept, as a person at a terminal runs them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from terminal import Terminal

from rawstream.records import Channel
from rawstream.store import Store


@pytest.fixture
def rawstream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)


def test_an_account_is_made_changed_listed_and_removed(rawstream: Terminal) -> None:
    assert "password " in rawstream("user", "add", "ana", "--expires", "2027-01-31")
    said = rawstream("user", "add", "bob", "--password", "s3cret", "--max-connections", "0")
    assert "s3cret" not in said
    rawstream("user", "set", "ana", "--disable", "--trial", "--max-connections", "3")
    listed = rawstream("user", "list")
    assert listed.splitlines()[1].split() == ["ana", "disabled", "3", "2027-01-31", "trial"]
    assert listed.splitlines()[2].split() == ["bob", "enabled", "any", "never"]
    assert rawstream("user", "kick", "bob") == (
        "account bob is kicked: its streams end within two seconds\n"
    )
    rawstream("user", "delete", "ana")
    assert "ana" not in rawstream("user", "list")


def test_a_token_is_shown_and_taken_back(rawstream: Terminal) -> None:
    rawstream("user", "add", "ana")
    first = rawstream("user", "token", "ana")
    assert first == rawstream("user", "token", "ana")
    assert first.startswith("list   http://SERVER:58055/get.php?token=")
    assert rawstream("user", "token", "ana", "--reset") != first
    assert rawstream("user", "token", "ana") != first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("user", "add", "a b"), "username"),
        (("user", "add", "live"), "URLs"),
        (("user", "add", "bob"), "taken"),
        (("user", "add", "x", "--expires", "tomorrow"), "tomorrow"),
        (("user", "add", "x", "--password", "a/b"), "players break"),
        (("user", "add", "x", "--password", ""), "1 to"),
        (("user", "set", "nobody", "--trial"), "no account"),
        (("user", "kick", "nobody"), "no account"),
        (("channel", "set", "99", "--name", "x"), "no channel"),
        (("channel", "add", "x", "--source", "nonsense"), "--source"),
        (("channel", "add", "x", "--kind", "tape"), "live, movie, episode"),
        (("channel", "add", "x", "--kind", "episode"), "give its name"),
        (("channel", "add", "x", "--kind", "movie", "--season", "1"), "kind be episode"),
        (("channel", "add", "x", "--kind", "movie", "--extension", "a/b"), "ending"),
        (("channel", "add", "x", "--kind", "episode", "--series", " "), "takes a name"),
        (("channel", "add", "x", "--extension", "mkv"), "say movie"),
        (("channel", "list", "--kind", "films"), "'films' is none of"),
        (("user", "set", "bob", "--formats", "ts,rtmp"), "'rtmp' is none of ts, m3u8"),
        (("user", "add", "x", "--formats", ","), "one or more of ts, m3u8"),
    ],
)
def test_a_mistake_is_one_line(rawstream: Terminal, arguments: tuple[str, ...], words: str) -> None:
    rawstream("user", "add", "bob")
    assert words in rawstream(*arguments, status=2)


def test_a_channel_is_made_changed_listed_and_removed(rawstream: Terminal) -> None:
    assert rawstream("channel", "add", "One", "--source", "a" * 40, "--category", "News") == (
        "channel 1 is there\n"
    )
    rawstream("channel", "set", "1", "--name", "Uno", "--number", "5")
    assert rawstream("channel", "list").splitlines()[1].split() == ["1", "5", "Uno", "News"]
    rawstream("channel", "delete", "1")
    assert len(rawstream("channel", "list").splitlines()) == 1


def test_a_film_and_an_episode_are_made_listed_and_made_channels_again(
    rawstream: Terminal,
) -> None:
    url = "http://h/film.avi"
    rawstream("channel", "add", "Film", "--kind", "movie", "--source", url, "--category", "Films")
    rawstream("channel", "add", "Pilot", "--kind", "episode", "--series", "Show", "--season", "1",
              "--episode", "2", "--extension", ".MKV")  # fmt: skip
    rawstream("channel", "add", "One")
    listed = [line.split() for line in rawstream("channel", "list").splitlines()[1:]]
    assert listed == [
        ["1", "Film", "Films", "movie"],
        ["2", "Pilot", "episode", "S01E02"],
        ["3", "One"],
    ]
    assert len(rawstream("channel", "list", "--kind", "movie").splitlines()) == 2
    film, episode, _one = channels(rawstream.data)
    assert (film.extension, episode.extension, episode.series_id) == ("avi", "mkv", 1)
    rawstream("channel", "set", "1", "--kind", "episode", "--series", "Show")
    rawstream("channel", "set", "2", "--episode", "7", "--disable")
    film, episode, _one = channels(rawstream.data)
    assert (film.kind, film.series_id, film.season) == ("episode", 1, 0)
    assert film.edited == {"kind", "series_id"}
    assert (episode.season, episode.episode, episode.enabled) == (1, 7, False)
    assert episode.edited == {"episode"}
    rawstream("channel", "set", "1", "--kind", "live")
    film = channels(rawstream.data)[0]
    assert (film.kind, film.extension, film.series_id) == ("live", "", None)
    rawstream("channel", "set", "1", "--name", "Other")
    assert channels(rawstream.data)[0].edited == {"kind", "series_id", "name"}


def channels(data: Path) -> list[Channel]:
    async def read() -> list[Channel]:
        store = await Store.open(data)
        try:
            return await store.lineup.channels()
        finally:
            await store.close()

    return asyncio.run(read())


def test_what_an_account_may_play_can_be_less(rawstream: Terminal) -> None:
    async def formats() -> list[tuple[str, ...]]:
        store = await Store.open(rawstream.data)
        try:
            return [one.allowed_formats for one in await store.accounts.accounts()]
        finally:
            await store.close()

    rawstream("user", "add", "ana")
    rawstream("user", "add", "bob", "--formats", "m3u8")
    assert asyncio.run(formats()) == [("ts", "m3u8"), ("m3u8",)]
    rawstream("user", "set", "ana", "--formats", "TS")
    rawstream("user", "set", "bob", "--formats", "m3u8, ts")
    assert asyncio.run(formats()) == [("ts",), ("ts", "m3u8")]


def test_a_backup_comes_back(rawstream: Terminal, tmp_path: Path) -> None:
    rawstream("user", "add", "ana")
    copy = tmp_path / "copy.db"
    rawstream("backup", str(copy))
    rawstream("backup", str(copy), status=1)
    rawstream("backup", str(copy), "--force")
    rawstream("user", "delete", "ana")
    assert "restored" in rawstream("restore", str(copy))
    assert "ana" in rawstream("user", "list")
