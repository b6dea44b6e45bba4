"""A command as a person at a terminal runs it."""

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
