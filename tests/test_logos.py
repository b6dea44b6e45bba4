"""Logos that are ours: what is served, and what never is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from rawstream.demo import logo
from rawstream.http1 import Request, Response
from rawstream.logos import LogoEndpoint


async def ask(data: Path, name: str, **headers: str) -> Response:
    exchange: Any = None
    found = LogoEndpoint(data).logo(Request("GET", f"/logos/{name}", headers), exchange)
    answer = await found if inspect.isawaitable(found) else found
    assert isinstance(answer, Response)
    return answer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "logos"
    folder.mkdir()
    (folder / "one.png").write_bytes(logo(1))
    (folder / "large.png").write_bytes(bytes(1024 * 1024 + 1))
    (folder / "page.html").write_text("<script>")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return tmp_path


async def test_a_logo_is_served_and_need_not_be_sent_again(data: Path) -> None:
    answer = await ask(data, "one.png")
    assert (answer.status, answer.content_type) == (200, "image/png")
    assert answer.body == logo(1)
    again = await ask(data, "one.png", **{"if-none-match": dict(answer.headers)["ETag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "name",
    ["two.png", "large.png", "page.html", "..%2Fsecret.png", ".png", "one", "one.png%00", "%2e%2e"],
)
async def test_nothing_else_is(data: Path, name: str) -> None:
    assert (await ask(data, name)).status == 404
