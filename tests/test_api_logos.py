"""Logos of channels as an operator's page asks for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from operators import Desk
from web import site

from rawstream.api_logos import LogoOperations
from rawstream.demo import logo
from rawstream.fetch_policy import FetchPolicy
from rawstream.lineup_edit import ChannelEdit, add_channel, change_channel
from rawstream.list_entries import read_list
from rawstream.logo_cache import LogoCache
from rawstream.playlist_import import import_playlist
from rawstream.records import ListSource


async def test_a_series_cover_comes_from_us(desk: Desk, tmp_path: Path) -> None:
    cache = LogoCache(tmp_path, FetchPolicy((), lambda: ()))
    desk.open(LogoOperations(desk.store, cache).table())
    lineup = desk.store.lineup
    series = await lineup.series_named("One")
    bare = await lineup.series_named("Bare")
    async with site() as web:
        web.documents = {"/one.png": logo(1)}
        await lineup.set_series(
            dataclasses.replace(series, cover=f"{web.base}/one.png"), edited=["cover"]
        )
        answer = await desk.answer("GET", f"/series/{series.id}/cover")
        assert (answer.status, answer.body, answer.content_type) == (200, logo(1), "image/png")
        for number in (bare.id, 99):
            told = await desk.ask("GET", f"/series/{number}/cover", status=404)
            assert told["code"] == "not_there"


async def test_a_cover_is_judged_by_the_list_that_names_it(desk: Desk, tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    class Cache(LogoCache):
        async def get(self, url: str, *, named_by: str = "") -> None:
            asked.append((url, named_by))

    desk.open(LogoOperations(desk.store, Cache(tmp_path, FetchPolicy((), lambda: ()))).table())
    lineup = desk.store.lineup
    number = await lineup.add_list(ListSource(0, "playlist", "https://public.example/l.m3u"))
    source = await lineup.list_source(number)
    assert source is not None
    rows = '#EXTM3U\n#EXTINF:-1 tvg-logo="http://10.0.0.1/c.png",Show S01E01\nhttp://h/s/1.mp4\n'
    await import_playlist(desk.store, source, *read_list([rows.encode()]))
    (series,) = await lineup.series()
    await lineup.set_series(dataclasses.replace(series, cover="http://10.0.0.1/c.png"))
    await desk.ask("GET", f"/series/{series.id}/cover", status=404)
    assert asked.pop() == ("http://10.0.0.1/c.png", "https://public.example/l.m3u")
    await lineup.set_series(dataclasses.replace(series, cover="http://nas/c.png"), edited=["cover"])
    await desk.ask("GET", f"/series/{series.id}/cover", status=404)
    assert asked == [("http://nas/c.png", "")], "an operator may name a picture at home"


async def test_a_logo_of_a_list_that_is_no_more_leads_nowhere_private(
    desk: Desk, tmp_path: Path
) -> None:
    cache = LogoCache(tmp_path, FetchPolicy((), lambda: ()))
    desk.open(LogoOperations(desk.store, cache).table())
    lineup = desk.store.lineup
    async with site() as web:
        web.documents = {"/one.png": logo(1)}
        number = await lineup.add_list(ListSource(0, "playlist", "https://public.example/l.m3u"))
        source = await lineup.list_source(number)
        assert source is not None
        rows = f'#EXTM3U\n#EXTINF:-1 tvg-logo="{web.base}/one.png",One\nacestream://{"0" * 40}\n'
        await import_playlist(desk.store, source, *read_list([rows.encode()]))
        (channel,) = await lineup.channels()
        await desk.ask("GET", f"/channels/{channel.id}/logo", status=404)
        await lineup.delete_list(number)
        await desk.ask("GET", f"/channels/{channel.id}/logo", status=404)
        (channel,) = await lineup.channels()
        await change_channel(desk.store, channel, ChannelEdit(logo=f"{web.base}/one.png"))
        cache = LogoCache(tmp_path / "new", FetchPolicy((), lambda: ()))
        desk.open(LogoOperations(desk.store, cache).table())  # which remembers no failure
        assert (await desk.answer("GET", f"/channels/{channel.id}/logo")).status == 200


async def test_a_channels_logo_comes_from_us(desk: Desk, tmp_path: Path) -> None:
    cache = LogoCache(tmp_path, FetchPolicy((), lambda: ()))
    desk.open(LogoOperations(desk.store, cache).table())
    async with site() as web:
        web.documents = {"/one.png": logo(1)}
        logos = (f"{web.base}/one.png", "/logos/mine.png", "", f"{web.base}/gone.png")
        ids = [await add_channel(desk.store, ChannelEdit(name="x", logo=one)) for one in logos]
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
