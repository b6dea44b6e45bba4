"""Bars on a terminal, and nothing anywhere else."""

from __future__ import annotations

import io
import sys

import pytest

from rawstream.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Progress() as progress:
        progress.at("fetching", 500, None)
        progress.at("fetching", 1000, 2000)
        progress.at("reading", 10, 20)
    assert "fetching" in terminal.getvalue()
    assert "reading" in terminal.getvalue()


def test_a_pipe_gets_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as progress:
        progress.at("fetching", 1, None)
    assert capsys.readouterr() == ("", "")
