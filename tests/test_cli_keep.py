"""The commands for what is kept, as a person at a terminal runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal import Terminal


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


def test_a_backup_comes_back(rawstream: Terminal, tmp_path: Path) -> None:
    rawstream("user", "add", "ana")
    copy = tmp_path / "copy.db"
    rawstream("backup", str(copy))
    rawstream("backup", str(copy), status=1)
    rawstream("backup", str(copy), "--force")
    rawstream("user", "delete", "ana")
    assert "restored" in rawstream("restore", str(copy))
    assert "ana" in rawstream("user", "list")
