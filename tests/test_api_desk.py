"""History and tokens at an operator's desk."""

from __future__ import annotations

import pytest
from operators import Desk

from rawstream.api_desk import DeskOperations
from rawstream.http1 import Request
from rawstream.records import Activity


@pytest.fixture
def office(desk: Desk) -> Desk:
    return desk.open(DeskOperations(desk.store, desk.operators).table())


async def test_history_is_looked_through(office: Desk) -> None:
    for at, (kind, account, text) in enumerate(
        [("login", "ana", ""), ("play", "ana", "VLC"), ("play", "bob", "Kodi")]
    ):
        office.store.note(Activity(at, kind, account, "5 News", "10.0.0.1", text))
    newest = await office.ask("GET", "/history?limit=1")
    assert (newest["total"], newest["items"][0]["account"]) == (3, "bob")
    assert (await office.ask("GET", "/history?kind=play&q=vlc"))["total"] == 1
    assert (await office.ask("GET", "/history?account=ANA"))["total"] == 2
    assert (await office.ask("GET", "/history?q=10.0.0"))["total"] == 3


async def test_a_token_is_shown_once_and_taken_back(office: Desk) -> None:
    made = await office.ask("POST", "/tokens", {"name": "backup"}, status=201)
    listed = await office.ask("GET", "/tokens")
    assert [one["name"] for one in listed["items"]] == ["backup"]
    assert made["secret"] not in str(listed)
    request = Request("GET", "/", {"authorization": f"Bearer {made['secret']}"})
    assert office.operators.of(request) is not None
    await office.ask("DELETE", f"/tokens/{made['id']}", status=204)
    await office.ask("DELETE", f"/tokens/{made['id']}", status=404)
    assert office.operators.of(request) is None
    await office.ask("POST", "/tokens", {"name": ""}, status=422)
