"""Logos of channels as an operator's page asks for them."""

from __future__ import annotations

from pathlib import Path

from operators import Desk
from web import site

from rawstream.api_logos import LogoOperations
from rawstream.demo import logo
from rawstream.fetch_policy import FetchPolicy
from rawstream.logo_cache import LogoCache
from rawstream.records import Channel


async def test_a_channels_logo_comes_from_us(desk: Desk, tmp_path: Path) -> None:
    cache = LogoCache(tmp_path, FetchPolicy((), lambda: ()))
    desk.open(LogoOperations(desk.store, cache).table())
    async with site() as web:
        web.documents = {"/one.png": logo(1)}
        logos = (f"{web.base}/one.png", "/logos/mine.png", "", f"{web.base}/gone.png")
        ids = [await desk.store.lineup.add_channel(Channel(0, "x", logo=one)) for one in logos]
        answer = await desk.answer("GET", f"/channels/{ids[0]}/logo?of=one")
        assert (answer.status, answer.body, answer.content_type) == (200, logo(1), "image/png")
        headers = dict(answer.headers)
        assert headers["X-Content-Type-Options"] == "nosniff"
        known = {"if-none-match": headers["ETag"]}
        again = await desk.answer("GET", f"/channels/{ids[0]}/logo", headers=known)
        assert (again.status, again.body) == (304, b"")
        for number in (*ids[1:], 99):
            told = await desk.ask("GET", f"/channels/{number}/logo", status=404)
            assert told["detail"].startswith("there is no such")
