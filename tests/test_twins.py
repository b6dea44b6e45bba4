"""Every module has a test file of its name, so that nobody has to guess where its tests are."""

from __future__ import annotations

from pathlib import Path

import pytest

import rawstream

PACKAGE = Path(rawstream.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_twin_that_tests_something(module: str) -> None:
    twin = TESTS / f"test_{module}.py"
    assert twin.is_file(), f"{twin.name} is missing"
    assert "\ndef test_" in (text := twin.read_text()) or "async def test_" in text, twin.name
