"""The commands for lists, as a person at a terminal runs them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from guides import HOUR, guide, show
from terminal import Terminal
from test_predecessor import predecessor

from rawstream import cli_import
from rawstream.cli import main
from rawstream.lineup import refresh
from rawstream.records import ListSource
from rawstream.store import Store


@pytest.fixture
def rawstream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)


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
    assert rawstream("import", "undo", str(path)).startswith("taken back;")
    assert " held " in rawstream("import", "list")
    assert len(rawstream("channel", "list").splitlines()) == 1
    assert "nothing" in rawstream("import", "undo", str(path))
    assert "1 returned" in rawstream("import", "playlist", str(path))
    assert " well " in rawstream("import", "list")


@pytest.mark.parametrize("text", ["", "<html>not found</html>"])
def test_what_is_no_list_fails_with_a_line(rawstream: Terminal, tmp_path: Path, text: str) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(text)
    assert "channel list" in rawstream("import", "playlist", str(path), status=1)
    assert "l.m3u" not in rawstream("channel", "list")


def a_guide(path: Path, *names: tuple[str, str]) -> str:
    now = int(time.time())
    programmes = [show(key, now, now + HOUR, "Film") for key, _ in names]
    path.write_bytes(guide(*programmes, names=names))
    return str(path)


def test_a_guide_is_tried_imported_listed_and_removed(rawstream: Terminal, tmp_path: Path) -> None:
    path = a_guide(tmp_path / "g.xml", ("1", "Rai Uno"), ("2", "Else"))
    rawstream("channel", "add", "Rai 1 HD")
    tried = rawstream("import", "guide", path, "--dry-run")
    assert "Rai 1 HD -> Rai Uno (normalised name, " in tried
    assert "1 of 1 channels have a guide" in tried
    assert len(rawstream("import", "list").splitlines()) == 1
    said = rawstream("import", "guide", path, "--priority", "5", "--every", "1.5")
    assert "2 programmes of 2 channels, 2 of these days; 1 of 1 channels have a guide" in said
    listed = rawstream("import", "list").splitlines()[1].split()
    assert (listed[0], listed[1:3], listed[-2:]) == ("guide", ["1.5", "h"], ["well", path])
    assert rawstream("import", "remove", path) == "removed\n"
    assert len(rawstream("import", "list").splitlines()) == 1
    assert "0 of 1" in rawstream("import", "guide", a_guide(tmp_path / "o.xml", ("9", "Else")))


def test_a_channel_finds_its_guide_when_it_is_made_or_changed(
    rawstream: Terminal, tmp_path: Path
) -> None:
    path = a_guide(tmp_path / "g.xml", ("one.it", "Something"), ("two.it", "Canale 5"))
    rawstream("import", "guide", path)
    rawstream("channel", "add", "Canale 5 HD")
    rawstream("channel", "add", "Nobody")
    rawstream("channel", "set", "2", "--guide-id", "one.it")
    assert "2 of 2 channels have a guide" in rawstream("import", "guide", path)


def test_a_guide_chosen_by_hand_stays_over_imports(rawstream: Terminal, tmp_path: Path) -> None:
    lines = f"#EXTM3U\n#EXTINF:-1,Rai 1\nacestream://{'a' * 40}\n"
    playlist = tmp_path / "l.m3u"
    playlist.write_text(lines)
    rawstream("import", "playlist", str(playlist))
    guide_file = a_guide(tmp_path / "g.xml", ("1", "Rai 1"), ("2", "Else"))
    rawstream("import", "guide", guide_file)

    def row() -> list[str]:
        return rawstream("channel", "matches").splitlines()[1].split()

    assert row() == ["1", "97", "name", "Rai", "1", "1"]
    rawstream("channel", "guide", "1", "2")
    playlist.write_text(lines.replace("Rai 1", "Rai 1 HD"))
    rawstream("import", "playlist", str(playlist))
    rawstream("import", "guide", guide_file)
    assert row() == ["1", "100", "by", "hand", "Rai", "1", "HD", "2"]
    rawstream("channel", "guide", "1", "--none")
    assert row()[-1] == "(none)"
    assert "no guide has 'nine'" in rawstream("channel", "guide", "1", "nine")
    rawstream("channel", "guide", "1", "--auto")
    assert row()[-1] == "1"


@pytest.mark.parametrize("text", ["", "<html>not found</html>", "<tv></tv>"])
def test_what_is_no_guide_fails_with_a_line(rawstream: Terminal, tmp_path: Path, text: str) -> None:
    path = tmp_path / "g.xml"
    path.write_text(text)
    assert "guide" in rawstream("import", "guide", str(path), status=1)
    assert len(rawstream("import", "list").splitlines()) == 1, "what never was a list is not kept"
    a_guide(path, ("1", "One"))
    rawstream("import", "guide", str(path))
    path.write_text(text)
    rawstream("import", "guide", str(path), status=1)
    listed = rawstream("import", "list")
    assert "failed" in listed, "and the list says why it fails"


def test_the_predecessor_moves_in(
    rawstream: Terminal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = predecessor(tmp_path / "old.db")
    env = tmp_path / ".env"
    env.write_text("SERVER_PORT=6880\n")
    said = rawstream("import", "predecessor", str(old), "--env", str(env))
    assert "3 accounts, 3 channels in 2 new categories, 1 playlists and 1 guides" in said
    assert "port 6880" in said
    assert "42" in rawstream("channel", "list")
    listed = rawstream("import", "list")
    assert "lists.example" in listed
    assert "a database" in rawstream("import", "predecessor", str(env), status=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "undo", "nowhere"), "no such list"),
        (("channel", "guide", "1"), "one of"),
        (("channel", "guide", "1", "x", "--none"), "one of"),
        (("channel", "guide", "77", "x"), "no channel"),
        (("import", "remove", "nowhere"), "no such list"),
        (("import", "guide", "x.xml", "--zone", "CET"), "--zone"),
        (("import", "playlist", "x.m3u", "--every", "-1"), "--every"),
    ],
)
def test_a_mistake_is_one_line(rawstream: Terminal, arguments: tuple[str, ...], words: str) -> None:
    assert words in rawstream(*arguments, status=2)


def test_a_new_list_is_left_to_the_command_until_it_is_there(
    rawstream: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.m3u"
    path.write_text(f"#EXTM3U\n#EXTINF:-1,One\nacestream://{'a' * 40}\n")
    seen = []

    async def watched(store: Store, source: ListSource, *rest: Any, **more: Any) -> Any:
        seen.extend(one.interval_seconds for one in await store.lineup.lists())
        return await refresh(store, source, *rest, **more)

    monkeypatch.setattr(cli_import, "refresh", watched)
    rawstream("import", "playlist", str(path), "--every", "6")
    assert "6 h" in rawstream("import", "list")
    rawstream("import", "playlist", str(path))
    assert seen == [0, 6 * 3600]
    assert "6 h" in rawstream("import", "list")
