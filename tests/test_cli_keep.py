"""The commands for what is kept, as a person at a terminal runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rawstream.cli import main


class Terminal:
    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data = directory / "data"
        self._capsys = capsys

    def __call__(self, *arguments: str, status: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data", str(self.data)])
        out, err = self._capsys.readouterr()
        assert ended.value.code == status, err
        if status:
            assert err.startswith("rawstream: ")
            assert err.count("\n") == 1
            return err
        return out


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
    rawstream("user", "delete", "ana")
    assert "ana" not in rawstream("user", "list")


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
        (("channel", "set", "99", "--name", "x"), "no channel"),
        (("channel", "add", "x", "--source", "nonsense"), "--source"),
        (("import", "undo", "nowhere"), "no such list"),
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


def test_a_list_is_tried_imported_and_taken_back(rawstream: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(f"#EXTM3U\n#EXTINF:-1 group-title='G',One\nacestream://{'a' * 40}\n")
    tried = rawstream("import", "playlist", str(path), "--dry-run")
    assert "1 would be added" in tried
    assert "One" in tried
    assert len(rawstream("channel", "list").splitlines()) == 1
    assert "1 added" in rawstream("import", "playlist", str(path))
    assert "0 added, 0 changed, 0 moved, 1 unchanged" in rawstream("import", "playlist", str(path))
    assert "One" in rawstream("channel", "list")


def test_a_dry_run_needs_no_data_directory_and_makes_none(
    rawstream: Terminal, tmp_path: Path
) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(f"#EXTM3U\n#EXTINF:-1,One\nacestream://{'a' * 40}\n")
    assert "1 would be added" in rawstream("import", "playlist", str(path), "--dry-run")
    assert not rawstream.data.exists()


def test_a_list_without_a_file_fails_with_a_line(rawstream: Terminal, tmp_path: Path) -> None:
    said = rawstream("import", "playlist", str(tmp_path / "l.m3u"), status=1)
    assert "No such file" in said


def test_warnings_name_their_line(
    rawstream: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(f"#EXTM3U\n#EXTINF:-1,Nowhere\n#EXTINF:-1,One\nacestream://{'a' * 40}\n")
    with pytest.raises(SystemExit):
        main(["import", "playlist", str(path), "--data", str(rawstream.data)])
    said = capsys.readouterr()
    assert said.err == "line 2: no URL follows this #EXTINF\n"
    assert "1 dropped" in said.out


def test_undo_takes_the_last_import_back(rawstream: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(f"#EXTM3U\n#EXTINF:-1,One\nacestream://{'a' * 40}\n")
    rawstream("import", "playlist", str(path))
    assert rawstream("import", "undo", str(path)) == "taken back\n"
    assert len(rawstream("channel", "list").splitlines()) == 1
    assert "nothing" in rawstream("import", "undo", str(path))


@pytest.mark.parametrize("text", ["", "<html>not found</html>"])
def test_what_is_no_list_fails_with_a_line(rawstream: Terminal, tmp_path: Path, text: str) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(text)
    assert "channel list" in rawstream("import", "playlist", str(path), status=1)
    assert "l.m3u" not in rawstream("channel", "list")


def test_a_backup_comes_back(rawstream: Terminal, tmp_path: Path) -> None:
    rawstream("user", "add", "ana")
    copy = tmp_path / "copy.db"
    rawstream("backup", str(copy))
    rawstream("backup", str(copy), status=1)
    rawstream("backup", str(copy), "--force")
    rawstream("user", "delete", "ana")
    assert "restored" in rawstream("restore", str(copy))
    assert "ana" in rawstream("user", "list")
