"""The old URLs in their old shapes."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from stage import Stage, stage, until
from test_api import ask

from rawstream.errors import StateError
from rawstream.records import Channel, ChannelSource


async def known(made: Stage) -> str:
    login = {"username": "admin", "password": made.worker.first_password}
    answer = await ask(made, "/api/v1/session", "POST", login)
    return answer.headers["set-cookie"].partition(";")[0]


async def told(made: Stage, path: str, **headers: str) -> Any:
    answer = await ask(made, path, **headers)
    assert answer.status == 200, answer.body
    return orjson.loads(answer.body)


async def test_channels_and_streams_and_their_sums(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        content = made.catalogues[0][0]
        lineup = made.worker.store.lineup
        news = await lineup.category_named("News")
        first = await lineup.add_channel(
            Channel(
                0,
                "One",
                categories=(news.id,),
                sources=(ChannelSource("content_id", content.content_id),),
                added_at=1_700_000_000,
            )
        )
        await lineup.add_channel(Channel(0, "Two", sources=(ChannelSource("direct", "http://h/"),)))
        await lineup.add_channel(Channel(0, "Off", enabled=False))
        await lineup.add_channel(Channel(0, "Film", kind="movie"))
        await made.worker.catalogue.look()
        cookie = await known(made)
        one, two = await told(made, "/api/channels", cookie=cookie)
        assert one == {
            "id": first,
            "name": "One",
            "acestream_id": content.content_id,
            "category": "News",
            "logo_url": None,
            "is_online": False,
            "is_active": True,
            "created_at": "2023-11-14T22:13:20",
        }
        assert (two["acestream_id"], two["category"]) == (None, None)
        empty = {"status": "success", "total_streams": 0, "streams": []}
        assert await told(made, "/api/aceproxy/streams", cookie=cookie) == empty
        player = await made.play(f"id={content.content_id}")
        await player.more(100_000)
        found = await told(made, "/api/aceproxy/streams", cookie=cookie)
        (stream,) = found["streams"]
        assert found["total_streams"] == stream["client_count"] == 1
        assert stream["stream_id"] == content.infohash and stream["is_active"]
        (client,) = stream["clients"]
        assert (client["ip"], client["username"]) == ("127.0.0.1", "")
        for text in (client["connected_at"], stream["created_at"]):
            assert datetime.fromisoformat(text).tzinfo is None
        stats = (await told(made, "/api/aceproxy/stats", cookie=cookie))["stats"]
        assert (stats["total_streams"], stats["total_clients"]) == (1, 1)
        assert stats["streaming_port"] == made.port
        (one,) = await told(made, "/api/channels?limit=1", cookie=cookie)
        assert one["is_online"]
        (one,) = await told(made, "/api/channels?limit=9&offset=1", cookie=cookie)
        assert one["name"] == "Two"
        assert (await ask(made, "/api/channels?limit=all", cookie=cookie)).status == 422


async def test_without_login_there_is_health_alone(tmp_path: Path) -> None:
    async with stage(tmp_path) as made:
        assert (await ask(made, "/api/aceproxy/stats")).status == 200  # from loopback
        for path in ("/api/channels", "/api/aceproxy/streams"):
            assert (await ask(made, path)).status == 401
        assert await told(made, "/api/health") == {"status": "healthy"}
        whole = await told(made, "/api/health", cookie=await known(made))
        assert whole == {
            "status": "healthy",
            "services": {"aceproxy": True, "scraper": True, "epg": True},
            "aceproxy_streams": 0,
        }


async def test_health_is_no_lie_while_no_engine_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as made:
        await made.engine.stop()
        await until(lambda: not made.worker.hub.ready()[0], "the engine is seen to be down")
        assert await told(made, "/api/health") == {"status": "degraded"}


async def test_a_database_that_can_not_be_read_is_no_bug_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def damaged(*_: Any) -> None:
        raise StateError("db", "disk I/O error")

    async with stage(tmp_path) as made:
        cookie = await known(made)
        with monkeypatch.context() as patched:
            patched.setattr(made.worker.store.lineup, "categories", damaged)
            answer = await ask(made, "/api/channels", cookie=cookie)
        assert (answer.status, b"disk I/O error" in answer.body) == (503, True)
