"""The dashboard's libraries are those that `vendor.json` names, each with its licence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

import rawstream

VENDOR = Path(rawstream.__file__).parent / "static" / "vendor"
ROWS: list[dict[str, Any]] = json.loads((VENDOR / "vendor.json").read_text())


@pytest.mark.parametrize("row", ROWS, ids=[row["file"] for row in ROWS])
def test_a_library_is_what_it_was_when_it_was_fetched(row: dict[str, Any]) -> None:
    assert hashlib.sha256((VENDOR / row["file"]).read_bytes()).hexdigest() == row["sha256"]
    assert row["version"][0].isdigit() and row["licence"] in ("MIT", "Apache-2.0")
    licence = (VENDOR / row["licence_file"]).read_text()
    assert any(word in licence for word in ("Permission is hereby granted", "Apache License"))


def test_nothing_is_there_that_is_not_named() -> None:
    named = {row["file"] for row in ROWS} | {row["licence_file"] for row in ROWS}
    assert {path.name for path in VENDOR.iterdir()} == named | {"vendor.json"}


def test_modules_ask_for_files_beside_them() -> None:
    for row in ROWS:
        text = (VENDOR / row["file"]).read_text()
        assert 'from"preact"' not in text
        assert "sourceMappingURL=" not in text[-200:]
