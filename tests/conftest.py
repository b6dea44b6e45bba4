"""What every test shares: uvloop, and a loop that turns a lost error into a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

pytest.register_assert_rewrite("door", "operators", "stage", "ts_clips", "front_door")

from door import door  # noqa: E402, F401 - a fixture of several modules
from operators import desk  # noqa: E402, F401 - another one

from rawstream.store import Store  # noqa: E402


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every asynchronous test runs on the loop that the program runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty one."""
    store = await Store.open(tmp_path)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
async def loop_errors_fail_the_test() -> AsyncIterator[list[dict[str, Any]]]:
    """An exception that nobody awaited is a bug, not a log line."""
    loop = asyncio.get_running_loop()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    yield errors
    loop.set_exception_handler(None)
    assert not errors, errors
