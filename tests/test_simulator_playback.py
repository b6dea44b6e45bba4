"""Sessions over real sockets: start, tokens, the one-session rule, stat, stop, events, HLS."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from typing import Any

import pytest
from sim_client import asked, decode, get, opened, playing, running, start, until

from rawstream.simulator import (
    LOAD_FAILED,
    MOD_DETECTED,
    PREMIUM,
    UNKNOWN_SESSION,
    EngineSimulator,
    SimContent,
    bundled_contents,
    dead_content,
    vod_content,
)

CLIP = bundled_contents()[0].clip
GONE = {"response": None, "error": UNKNOWN_SESSION}


def getstream(engine: EngineSimulator, query: str) -> str:
    return f"{engine.url}/ace/getstream?{query}"


# -- starting --


async def test_a_start_is_answered_with_the_object_that_clients_know() -> None:
    async with running() as (engine, content):
        query = f"id={content.content_id}&format=json&pid=p&client_session_id=7"
        reply = await get(getstream(engine, query))
        assert reply.status == 200 and set(reply.json) == {"response", "error"}
        response = reply.json["response"]
        path = f"{content.infohash}/{hashlib.md5(b'p').hexdigest()}"
        assert response == {
            "playback_url": f"{engine.url}/ace/r/{path}",
            "stat_url": f"{engine.url}/ace/stat/{path}",
            "command_url": f"{engine.url}/ace/cmd/{path}",
            "infohash": content.infohash,
            "playback_session_id": engine.open_sessions[0].session_id,
            "is_live": 1,
            "is_encrypted": 0,
            "client_session_id": 7,
        }
        assert b'", "' in reply.body and b'": ' in reply.body, "Python's own JSON style"


async def test_urls_echo_the_host_header_wherever_that_leads() -> None:
    async with running() as (engine, content):
        async with asked(getstream(engine, "x=1")) as stream:
            await stream.head()
            line = f"GET /ace/getstream?infohash={content.infohash}&format=json HTTP/1.1\r\n"
            await stream.reader.readexactly(int(stream.headers["content-length"]))
            stream.writer.write(line.encode() + b"Host: engine.lan:9999\r\n\r\n")
            await stream.head()
            body = await stream.reader.readexactly(int(stream.headers["content-length"]))
        assert json.loads(body)["response"]["stat_url"].startswith("http://engine.lan:9999/ace/")


async def test_an_event_url_comes_only_when_asked_for() -> None:
    async with running() as (engine, content):
        assert (await start(engine, content)).event_url == ""
        assert "/ace/event/" in (await start(engine, content, more="&use_api_events=1")).event_url


async def test_content_url_and_magnet_name_a_content_too_in_their_order() -> None:
    bare = SimContent("", "c" * 40, "bare", CLIP, url="http://lists.test/bare.acelive")
    first = bundled_contents()[0]
    async with running(first, bare) as (engine, _):
        for query, infohash in (
            (f"content_id={first.content_id}&infohash={bare.infohash}", first.infohash),
            (f"infohash={bare.infohash}&url=x", bare.infohash),
            ("url=http%3A%2F%2Flists.test%2Fbare.acelive", bare.infohash),
            (f"magnet=magnet%3A%3Fxt%3Durn%3Abtih%3A{'C' * 40}%26dn%3Dx", bare.infohash),
        ):
            answer = (await get(getstream(engine, f"{query}&format=json"))).json
            assert answer["response"]["infohash"] == infohash


@pytest.mark.parametrize("query", ["id=" + "0" * 40, "infohash=" + "0" * 40, "id=x", "url=y"])
async def test_what_is_unknown_fails_in_json_and_by_status(query: str) -> None:
    async with running() as (engine, _):
        reply = await get(getstream(engine, f"{query}&format=json"))
        assert (reply.status, reply.json) == (200, {"response": None, "error": LOAD_FAILED})
        plain = await get(getstream(engine, query))
        assert plain.status == 500 and plain.headers["content-type"] == "text/plain"
        assert plain.body == b"Internal Server Error, couldn't find resource"
        assert engine.counters.opens == 0


async def test_no_selector_at_all_is_an_error_of_the_server() -> None:
    async with running() as (engine, _):
        assert (await get(getstream(engine, "format=json"))).status == 500


async def test_an_infohash_given_as_id_fails_unless_it_is_cached() -> None:
    async with running() as (engine, content):
        url = getstream(engine, f"id={content.infohash}&format=json")
        assert (await get(url)).json["error"] == LOAD_FAILED
        content.infohash_as_id = True
        assert (await get(url)).json["response"]["infohash"] == content.infohash


@pytest.mark.parametrize("words", [PREMIUM, MOD_DETECTED])
async def test_a_refusing_engine_says_so_in_either_form(words: str) -> None:
    async with running(refusal=words) as (engine, content):
        url = getstream(engine, f"id={content.content_id}")
        assert (await get(url + "&format=json")).json == {"response": None, "error": words}
        plain = await get(url)
        assert (plain.status, plain.body) == (200, words.encode())


async def test_the_direct_form_loads_first_and_leaves_a_session_behind() -> None:
    async with running() as (engine, content):
        content.preload_seconds = 0.1
        async with opened(getstream(engine, f"id={content.content_id}")) as stream:
            assert stream.status == 302
            token = hashlib.md5(b"127.0.0.1").hexdigest()
            assert stream.headers["location"] == f"{engine.url}/ace/r/{content.infohash}/{token}"
            assert token == "f528764d624db129b32c21fbca0cb8d6"
        url = f"{engine.url}/ace/manifest.m3u8?id={content.content_id}"
        async with opened(url) as stream:
            assert stream.headers["location"].endswith(f"/{token}.m3u8")
        assert len(engine.open_sessions) == 1


async def test_a_client_that_does_not_wait_for_the_answer_leaves_a_session() -> None:
    async with running(latency=600.0) as (engine, content):
        async with asked(getstream(engine, f"infohash={content.infohash}&format=json")):
            await until(lambda: engine.open_sessions)
        await until(lambda: not engine._connections)
        assert len(engine.open_sessions) == 1


# -- tokens and the one-session rule --


async def test_a_player_without_pid_is_its_address_and_each_pid_is_its_own() -> None:
    async with running(mode="shared") as (engine, content):
        urls = [(await start(engine, content, pid=pid)).command_url for pid in ("", "", "a", "b")]
        assert urls[0] == urls[1] and len(set(urls)) == 3


async def test_a_newer_session_supersedes_the_older_and_cuts_its_media() -> None:
    async with running() as (engine, content), playing(engine, content, pid="old") as (old, stream):
        await stream.body(10_000)
        new = await start(engine, content, pid="new")
        with pytest.raises(asyncio.IncompleteReadError):
            while await stream.some():
                pass
        assert await old.stat() == GONE
        assert (await get(old.playback_url)).status == 403
        assert (await new.stat())["response"]["status"] == "dl"
        assert new.playback_session_id != old.playback_session_id
        assert content.counters.superseded == 1 and content.counters.opens == 2


async def test_shared_sessions_both_read_on_and_one_stop_ends_them_all() -> None:
    async with running(mode="shared") as (engine, content):
        async with (
            playing(engine, content, pid="a") as (first, one),
            playing(engine, content, pid="b") as (second, two),
        ):
            await one.body(10_000)
            await two.body(10_000)
            await one.body(10_000)
            told = [
                (await each.stat())["response"]["playback_session_id"] for each in (first, second)
            ]
            assert told == [second.playback_session_id] * 2
            assert await first.stop() == {"response": "ok", "error": None}
            for stream in (one, two):
                await stream.body(1 << 30)  # ends cleanly
            assert await second.stat() == GONE
        assert content.counters.readers_max == 2


@pytest.mark.parametrize("replaces", [True, False])
async def test_another_content_for_the_same_player_replaces_his_former_one(replaces: bool) -> None:
    async with running(identity_replaces=replaces) as (engine, content):
        first = await start(engine, content, pid="tv")
        await start(engine, engine.content("rawstream two"), pid="tv")
        assert (await first.stat() == GONE) is replaces
        assert content.counters.replaced == int(replaces)
        await start(engine, engine.content("rawstream three"), pid="other")
        assert len(engine.open_sessions) == (2 if replaces else 3)


async def test_a_second_reader_of_one_url_gets_two_status_lines_and_the_first_goes_on() -> None:
    async with running() as (engine, content), playing(engine, content) as (started, first):
        async with asked(await started.media_url()) as second:
            raw = await second.rest()
        assert raw.startswith(b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n")
        await first.body(500_000)
        assert content.counters.doubled_readers == 1 and content.counters.readers_max == 2


async def test_the_url_can_be_read_again_when_its_reader_has_gone() -> None:
    async with running() as (engine, content):
        started = await start(engine, content)
        for _ in range(2):
            async with opened(await started.media_url()) as stream:
                assert await stream.body(10_000)
            await until(lambda: content.counters.readers_now == 0)
        assert content.counters.readers_max == 1 and content.counters.opens == 1


@pytest.mark.parametrize(
    ("flag", "goes_on"), [("stop_prev_read_thread", 1), ("allow_multiple_threads_reading", 2)]
)
async def test_read_thread_flags_have_an_effect_where_they_are_honoured(
    flag: str, goes_on: int
) -> None:
    async with running(honour_read_threads=True) as (engine, content):
        started = await start(engine, content, more=f"&{flag}=1")
        url = await started.media_url()
        async with opened(url) as first, opened(url) as second:
            await second.body(10_000)
            await until(lambda: content.counters.readers_now == goes_on)
            if goes_on == 2:
                await first.body(10_000)


# -- playback url --


async def test_the_redirect_has_no_length_and_its_socket_stays_open() -> None:
    async with running() as (engine, content):
        started = await start(engine, content)
        async with opened(started.playback_url) as stream:
            assert stream.status == 302 and "content-length" not in stream.headers
            assert re.fullmatch(
                rf"{engine.url}/content/{content.infohash}/0\.\d+", stream.headers["location"]
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.rest(), 0.1)


@pytest.mark.parametrize("redirects", [0, 1, 3])
async def test_there_are_as_many_redirects_as_told(redirects: int) -> None:
    async with running() as (engine, content):
        content.redirects = redirects
        url = (await start(engine, content)).playback_url
        for _ in range(redirects):
            async with opened(url) as stream:
                assert stream.status == 302
                url = stream.headers["location"]
        async with opened(url) as stream:
            assert stream.status == 200 and await stream.body(1000)


async def test_the_media_head_is_held_back_until_there_is_data() -> None:
    async with running() as (engine, content):
        content.preload_seconds = 0.4
        started = await start(engine, content)
        async with asked(await started.media_url()) as stream:
            await until(lambda: content.counters.readers_now)
            assert (await started.stat())["response"].get("status") != "dl"
            assert content.counters.bytes_sent == 0
            await stream.head()
            assert (await started.stat())["response"]["status"] == "dl"


@pytest.mark.parametrize("kind", ["video/mp2t", ""])
async def test_the_content_type_can_be_missing(kind: str) -> None:
    async with running() as (engine, content):
        content.content_type = kind
        async with playing(engine, content) as (_, stream):
            assert stream.headers.get("content-type", "") == kind


async def test_a_strange_url_of_media_is_not_found() -> None:
    async with running() as (engine, content):
        for path in (f"/content/{content.infohash}/0.1", f"/ace/r/{content.infohash}/abc"):
            reply = await get(engine.url + path)
            assert (reply.status, reply.body) == (500, b"download not found")


# -- stat --


async def test_stat_lives_from_nothing_over_idle_and_prebuf_to_dl() -> None:
    async with running() as (engine, content):
        content.preload_seconds = 0.5
        started = await start(engine, content)
        seen: list[Any] = []
        while not seen or seen[-1].get("status") != "dl":
            seen.append((await started.stat())["response"])
        order = [each.get("status", "nothing") for each in seen]
        assert list(dict.fromkeys(order)) == ["nothing", "idle", "prebuf", "dl"]
        prebuf = [each for each in seen if each.get("status") == "prebuf"]
        progress = [each["progress"] for each in prebuf]
        assert progress == sorted(progress) and 0 <= progress[0] <= progress[-1] <= 100
        assert all("livepos" not in each and each["downloaded"] == 0 for each in prebuf)
        assert all(isinstance(value, str) for value in seen[-1]["livepos"].values())
        assert seen[-1]["infohash"] == content.infohash
        before = seen[-1]["downloaded"]
        while (await started.stat())["response"]["downloaded"] <= before:
            pass
        assert await started.stop() == {"response": "ok", "error": None}
        assert await started.stat() == GONE


@pytest.mark.parametrize("peers", [0, 3])
async def test_a_dead_content_stays_in_prebuf_and_its_head_never_comes(peers: int) -> None:
    content = dead_content(peers=peers)
    content.preload_seconds = 0.0
    async with running(content) as (engine, _):
        started = await start(engine, content)
        async with asked(await started.media_url()) as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.head(), 0.2)
            stat = (await started.stat())["response"]
            assert (stat["status"], stat["peers"], stat["downloaded"]) == ("prebuf", peers, 0)
            content.faults.clear()
            await stream.head()
            assert await stream.body(1000)


# -- stop and idle time --


async def test_a_stop_ends_the_media_cleanly_and_a_second_one_finds_nothing() -> None:
    async with running() as (engine, content), playing(engine, content) as (started, stream):
        await stream.body(10_000)
        assert await started.stop() == {"response": "ok", "error": None}
        await stream.body(1 << 30)
        assert await started.stop() == GONE
        assert (await get(started.playback_url)).status == 500
        assert engine.open_sessions == []
        assert (content.counters.stops, engine.counters.unknown_stops) == (1, 1)


async def test_a_stop_by_version_2_is_answered_in_its_shape() -> None:
    async with running() as (engine, content):
        started = await start(engine, content)
        reply = await get(started.command_url + "?method=stop&api_version=2")
        assert reply.json == {"result": "ok"}


async def test_other_commands_are_known_or_not() -> None:
    async with running() as (engine, content):
        url = (await start(engine, content)).command_url
        for query in ("liveseek&pos=1", "set_stream&stream_index=0"):
            assert (await get(f"{url}?method={query}")).json["response"] == "ok"
        assert (await get(f"{url}?method=dance")).json["error"] == "unknown method"
        assert (await get(f"{url}?method=set_player_activity_timeout")).json["error"]


async def test_a_stop_that_hangs_hangs() -> None:
    async with running(hang_on_stop=True) as (engine, content):
        started = await start(engine, content)
        async with asked(started.command_url + "?method=stop") as stream:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.head(), 0.1)
        assert len(engine.open_sessions) == 1


async def test_a_session_nobody_reads_or_stops_ends_and_counts_as_leaked() -> None:
    async with running(idle_seconds=0.2) as (engine, content):
        started = await start(engine, content)
        await until(lambda: not engine.open_sessions)
        assert await started.stat() == GONE
        assert content.counters.leaked_sessions == engine.counters.leaked_sessions == 1


async def test_a_reader_keeps_its_session_and_polls_do_unless_they_say_no() -> None:
    async with running(idle_seconds=0.3) as (engine, content):
        async with playing(engine, content) as (_, stream):
            until_later = asyncio.get_running_loop().time() + 0.8
            while asyncio.get_running_loop().time() < until_later:
                await stream.some()
            assert engine.open_sessions
        polled = await start(engine, content, pid="polled")
        for _ in range(40):
            await polled.stat()
            await asyncio.sleep(0.02)
        assert engine.open_sessions
        while engine.open_sessions:
            await polled.stat("?skip_player_activity=1")
        assert content.counters.leaked_sessions == 1


async def test_the_idle_time_can_be_set_per_session() -> None:
    async with running() as (engine, content):
        started = await start(engine, content)
        url = started.command_url + "?method=set_player_activity_timeout&timeout=0.1"
        assert (await get(url)).json["response"] == "ok"
        await until(lambda: not engine.open_sessions)


# -- events --


async def test_events_come_by_long_poll_in_order() -> None:
    async with running() as (engine, content):
        started = await start(engine, content, more="&use_api_events=1")
        first = (await get(started.event_url)).json
        assert first == {
            "response": {"name": "live_changed", "params": {"is_live": 1}},
            "error": None,
        }
        waiting = asyncio.create_task(get(started.event_url))
        await until(lambda: content.counters.event_polls == 2)
        params = {"reason": "missing_option", "option": "proxyServer"}
        engine.emit_event(content, "download_stopped", params)
        engine.emit_event(content, "segmenter_failed")
        told = (await waiting).json["response"]
        assert told == {"name": "download_stopped", "params": params}
        assert (await get(started.event_url)).json["response"]["name"] == "segmenter_failed"


async def test_a_poll_without_event_ends_and_one_on_a_stopped_session_is_told() -> None:
    async with running(event_poll_seconds=0.1) as (engine, content):
        started = await start(engine, content, more="&use_api_events=1")
        await until(lambda: engine.open_sessions[0].announced)
        await get(started.event_url)
        assert (await get(started.event_url)).json == {"response": {}, "error": None}
        engine.event_poll_seconds = 30.0
        waiting = asyncio.create_task(get(started.event_url))
        await until(lambda: content.counters.event_polls == 3)
        await started.stop()
        assert (await waiting).json == GONE


# -- HLS --


async def manifest(engine: EngineSimulator, content: SimContent, pid: str = "hls") -> Any:
    url = f"{engine.url}/ace/manifest.m3u8?infohash={content.infohash}&format=json&pid={pid}"
    return (await get(url)).json["response"]


def segments(playlist: bytes) -> list[str]:
    return [line for line in playlist.decode().splitlines() if line.startswith("http")]


async def test_the_list_slides_and_its_first_segment_is_gone() -> None:
    async with running() as (engine, content):
        content.preload_seconds = 0.2
        url = (await manifest(engine, content))["playback_url"]
        assert re.fullmatch(rf"{engine.url}/ace/m/{content.infohash}/[0-9a-f]{{32}}\.m3u8", url)
        first = await get(url)  # waits until there are segments
        assert first.headers["content-type"] == "application/vnd.apple.mpegurl"
        text = first.body.decode()
        assert "#EXT-X-VERSION:3" in text and "ENDLIST" not in text
        seconds = [float(each) for each in re.findall(r"#EXTINF:([\d.]+),", text)]
        assert len(seconds) >= 13 and all(3.7 <= each <= 6.3 for each in seconds)
        target = re.search(r"TARGETDURATION:(\d+)", text)
        assert target is not None and int(target[1]) >= max(seconds)
        urls = segments(first.body)
        assert all(f"{engine.url}/ace/c/{content.infohash}/" in each for each in urls)
        gone = await get(urls[0])
        assert (gone.status, gone.body) == (500, b"download not found")
        data = b""
        for each in urls[1:5]:
            reply = await get(each)
            assert reply.status == 200
            data += reply.body
        assert decode(data)[1] == []
        sequence = re.search(r"MEDIA-SEQUENCE:(\d+)", text)
        assert sequence is not None
        while f"MEDIA-SEQUENCE:{sequence[1]}\n" in (await get(url)).body.decode():
            pass
        late = segments((await get(url)).body)[-1]
        number = int(late.rsplit("/", 1)[1].removesuffix(".ts"))
        future = late.replace(f"/{number}.ts", f"/{number + 50}.ts")
        assert (await get(future)).status == 500


async def test_many_may_read_one_list_and_a_newer_session_forbids_it() -> None:
    async with running(hls_first_missing=False) as (engine, content):
        url = (await manifest(engine, content))["playback_url"]
        lists = await asyncio.gather(*(get(url) for _ in range(3)))
        assert all(each.status == 200 for each in lists)
        bodies = await asyncio.gather(*(get(segments(lists[0].body)[-2]) for _ in range(3)))
        assert bodies[0].status == 200 and len({each.body for each in bodies}) == 1
        await start(engine, content, pid="newer")
        assert (await get(url)).status == 403


async def test_a_stopped_list_is_an_error_and_so_are_its_segments() -> None:
    async with running() as (engine, content):
        response = await manifest(engine, content)
        last = segments((await get(response["playback_url"])).body)[-1]
        await get(response["command_url"] + "?method=stop")
        assert (await get(response["playback_url"])).status == 500
        assert (await get(last)).status == 500


async def test_a_film_has_a_list_with_an_end_and_many_files_a_list_of_files() -> None:
    content = vod_content()
    content.preload_seconds = 0.0
    async with running(content) as (engine, _):
        reply = await get((await manifest(engine, content))["playback_url"])
        assert reply.body.endswith(b"#EXT-X-ENDLIST\n")
        data = b"".join([(await get(each)).body for each in segments(reply.body)])
        assert data == content.clip.read_bytes()
        content.files = ("one.ts", "two.ts")
        url = f"{engine.url}/ace/manifest.m3u8?infohash={content.infohash}"
        files = await get(url)
        assert files.body.startswith(b"#EXTM3U\n#EXTINF:-1,one.ts\n")
        assert [each[-6:] for each in segments(files.body)] == ["_idx=0", "_idx=1"]


# -- spoilt answers --


async def test_500_in_preload_comes_as_often_as_told_and_then_all_is_well() -> None:
    async with running() as (engine, content):
        content.fault("status", text="start timeout", times=2)
        started = await start(engine, content)
        for _ in range(2):
            reply = await get(started.playback_url)
            assert (reply.status, reply.body) == (500, b"start timeout")
        assert await started.media_url()


@pytest.mark.parametrize("where", ["playback", "content", "stat", "list", "segment", "event"])
async def test_a_status_can_be_set_at_each_place(where: str) -> None:
    async with running() as (engine, content):
        content.fault("status", where=where, status=403, text="no")
        started = await start(engine, content, more="&use_api_events=1")
        path = started.playback_url.split("/ace/r/")[1]
        urls = {
            "playback": started.playback_url,
            "stat": started.stat_url,
            "event": started.event_url,
            "list": f"{engine.url}/ace/m/{path}.m3u8",
            "segment": f"{engine.url}/ace/c/{content.infohash}/3.ts",
        }
        url = urls[where] if where in urls else await started.media_url()
        reply = await get(url)
        assert (reply.status, reply.body) == (403, b"no")


async def test_head_is_unsupported_unless_it_is_supported() -> None:
    async with running() as (engine, content):
        started = await start(engine, content)
        assert (await get(await started.media_url(), method="HEAD")).status == 501
        engine.head_supported = True
        assert (await get(await started.media_url(), method="HEAD")).status == 200
        assert engine.counters.heads == 2
