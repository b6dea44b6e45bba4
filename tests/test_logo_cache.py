"""Logos that are fetched: once, kept, and nothing but pictures."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from web import Site, site

from rawstream.demo import logo
from rawstream.fetch_policy import FetchPolicy
from rawstream.logo_cache import FOLDER, FRESH_SECONDS, LIMIT_BYTES, RETRY_SECONDS, LogoCache


class Clock:
    """`ahead`: seconds it is ahead of the file system's."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
async def web() -> AsyncIterator[Site]:
    async with site() as made:
        made.documents = {
            "/one.png": logo(1),
            "/two.png": logo(2),
            "/page.png": b"<script>alert(1)</script>",
            "/picture.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "/large.png": logo(1) + bytes(LIMIT_BYTES),
        }
        yield made


def cache(data: Path, clock: Clock | None = None, kept_files: int = 100) -> LogoCache:
    policy = FetchPolicy((), lambda: ())
    return LogoCache(data, policy, clock=clock or Clock(), kept_files=kept_files)


async def test_a_logo_is_asked_for_once(tmp_path: Path, web: Site) -> None:
    made = cache(tmp_path)
    url = f"{web.base}/one.png"
    found = await asyncio.gather(*(made.get(url) for _ in range(5)))
    again = await cache(tmp_path).get(url)  # after a restart
    assert all(one == again for one in found)
    assert again is not None and (again.content, again.content_type) == (logo(1), "image/png")
    assert len(web.requests) == 1


@pytest.mark.parametrize("path", ["page.png", "picture.svg", "large.png", "none.png"])
async def test_what_is_no_picture_is_not_asked_for_again_at_once(
    tmp_path: Path, web: Site, path: str
) -> None:
    clock = Clock()
    made = cache(tmp_path, clock)
    for _ in range(2):
        assert await made.get(f"{web.base}/{path}") is None
    assert len(web.requests) == 1
    clock.ahead += RETRY_SECONDS + 1
    assert await made.get(f"{web.base}/{path}") is None
    assert len(web.requests) == 2
    assert not (tmp_path / FOLDER).exists()


async def test_an_old_one_is_fetched_again_and_kept_if_that_fails(
    tmp_path: Path, web: Site
) -> None:
    clock = Clock()
    made, url = cache(tmp_path, clock), f"{web.base}/one.png"
    await made.get(url)
    clock.ahead += FRESH_SECONDS + 1
    web.status = 500
    kept = await made.get(url)
    assert kept is not None and kept.content == logo(1)
    web.status, web.documents["/one.png"] = 200, logo(3)
    clock.ahead += RETRY_SECONDS + 1
    new = await made.get(url)
    assert new is not None and new.content == logo(3)


async def test_a_list_can_not_point_into_private_networks(tmp_path: Path, web: Site) -> None:
    made = cache(tmp_path)
    public, private = "http://8.8.8.8/list.m3u", f"{web.base}/list.m3u"
    assert await made.get(f"{web.base}/one.png", named_by=public) is None
    assert web.requests == []
    assert await made.get(f"{web.base}/two.png", named_by=private) is not None


async def test_the_oldest_make_room(tmp_path: Path, web: Site) -> None:
    made = cache(tmp_path, kept_files=1)
    await made.get(f"{web.base}/one.png")
    (first,) = (tmp_path / FOLDER).iterdir()
    os.utime(first, (1, 1))
    await made.get(f"{web.base}/two.png")
    (left,) = (tmp_path / FOLDER).iterdir()
    assert left != first


async def test_a_folder_that_can_not_be_written_costs_only_the_keeping(
    tmp_path: Path, web: Site
) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    found = await cache(tmp_path).get(f"{web.base}/one.png")
    assert found is not None and found.content == logo(1)


async def test_closing_ends_what_is_under_way(tmp_path: Path, web: Site) -> None:
    made = cache(tmp_path)
    asking = asyncio.create_task(made.get(f"{web.base}/one.png"))
    while not made._running:
        await asyncio.sleep(0)
    await made.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
