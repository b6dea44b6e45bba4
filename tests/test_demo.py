"""What the demo has: the passwords everybody may know, and the ones nobody may."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rawstream.demo import furnish
from rawstream.guide import listings
from rawstream.passwords import Passwords
from rawstream.simulator import bundled_contents, film_contents
from rawstream.store import Store


@pytest.mark.parametrize("public", [False, True])
async def test_only_where_nobody_else_comes_the_password_is_a_known_one(
    tmp_path: Path, public: bool
) -> None:
    store = await Store.open(tmp_path)
    contents = bundled_contents()
    made = await furnish(store, contents, public=public)
    assert (made.viewer_password == "demo") is not public
    passwords = Passwords()
    for name, password in (("demo", made.viewer_password), ("admin", made.admin_password)):
        account = await store.accounts.by_name(name)
        assert account is not None
        assert account.admin is (name == "admin")
        assert await passwords.verify(account.password_hash, password)
    passwords.close()
    channels = await store.lineup.channels()
    assert [channel.name for channel in channels] == [content.name for content in contents]
    assert all(len(channel.sources) > 1 and channel.categories for channel in channels)
    assert set(await store.guide.guide_ids()) == {channel.id for channel in channels}
    assert await store.lineup.series() == []
    now = int(time.time())
    for hours in (-20, 0, 24 * 6):
        at = now + hours * 3600
        for channel in channels:
            assert len(await listings(store.guide, channel.guide_id, at, at + 1)) == 1
    await store.close()


async def test_the_films_are_a_movie_and_a_series(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    contents, films = bundled_contents(), film_contents()
    await furnish(store, contents, films, public=False)
    movie, *episodes = [one for one in await store.lineup.channels() if one.kind != "live"]
    (category,) = [one for one in await store.lineup.categories() if one.name == "Films"]
    (series,) = await store.lineup.series()
    assert (movie.kind, movie.name, movie.extension) == ("movie", "rawstream film", "ts")
    assert [(one.series_id, one.season, one.episode) for one in episodes] == [
        (series.id, 1, 1),
        (series.id, 1, 2),
    ]
    assert series.name == "rawstream show"
    for film, content in zip((movie, *episodes), films, strict=True):
        assert film.categories == (category.id,)
        assert [one.value for one in film.sources] == [content.content_id, content.infohash]
        assert (tmp_path / film.logo.lstrip("/")).is_file()
        assert not content.live
    assert (tmp_path / series.cover.lstrip("/")).is_file()
    assert len(await store.guide.guide_ids()) == len(contents), "films are in no guide"
    await store.close()
