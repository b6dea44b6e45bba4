"""Segments to whoever has a good token, and what is asked before."""

from __future__ import annotations

import itertools
from typing import Any, cast

import pytest
from door import Door
from test_mux import Turns
from test_packager import Asked, Channel

from rawstream.config import Config
from rawstream.errors import ChannelUnavailable, ViewerError
from rawstream.hls_face import HlsEndpoints
from rawstream.http1 import Request, Response
from rawstream.logins import Doorman
from rawstream.packager import PlaylistRequest
from rawstream.watchers import WatcherKey


class Scene:
    """A channel on air, and the endpoints before it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.channel = Channel(Turns())
        self.channel.wall = 1_767_225_600.0
        self.packager = self.channel.package()
        self.channel.play(20.0)
        self.endpoints = HlsEndpoints(
            cast(Any, Hub(self)), Doorman(Config(), door.accounts), door.accounts
        )

    # -- what the endpoints ask of a hub --

    def packager_of(self, run: str) -> Any:
        return self.packager if run == self.packager.run else None

    def watches(self, _ref: Any, key: WatcherKey) -> bool:
        return self.packager.watchers.get(key) is not None

    def watch_playlist(self, _ref: Any, exchange: Any, key: WatcherKey, **more: Any) -> None:
        wanted = {name: more[name] for name in ("prefix", "account", "lease") if name in more}
        self.packager.ask(PlaylistRequest(exchange, key, deadline=7.0, **wanted))

    # -- what players do --

    def playlist(self, name: str = "ana", agent: str = "box") -> list[str]:
        account = self.door.accounts.verified(name, "pw")
        assert account is not None
        channel = self.door.catalogue.current.channels[0]
        asked = Asked()
        asked.request = Request(
            "GET", "/live/x/y/1.m3u8", {"host": "tv", "user-agent": agent}, peer=("10.0.0.9", 7)
        )
        self.endpoints.playlist(channel, account, asked.request, cast(Any, asked))
        assert asked.answer is not None and asked.answer.status == 200
        return [line for line in asked.answer.body.decode().splitlines() if line[0] != "#"]

    def segment(self, target: str, method: str = "GET", **headers: str) -> Response:
        request = Request(method, target, headers, peer=("10.0.0.9", 7))
        try:
            return self.endpoints.segment(request, cast(Any, Asked()))
        except ViewerError as error:
            return Response.of_error(error)


@pytest.fixture
async def scene(door: Door) -> Scene:
    found = Scene(door)
    for name in ("ana", "sam"):
        await door.accounts.verify(name, "pw", "10.0.0.9")
    return found


class Hub:
    """The scene, under the names a hub has."""

    def __init__(self, scene: Scene) -> None:
        self.packager = scene.packager_of
        self.watches = scene.watches
        self.watch_playlist = scene.watch_playlist


async def test_who_has_the_playlist_has_its_segments(scene: Scene) -> None:
    for target in scene.playlist():
        answer = scene.segment(target)
        assert (answer.status, answer.content_type) == (200, "video/mp2t")
    (watcher,) = scene.packager.watchers
    assert watcher.sent == scene.packager.bytes_out > 0
    assert watcher.requests == 7
    account = scene.door.accounts.verified("ana", "pw")
    assert account is not None
    assert scene.door.accounts.active(account.id) == 0  # it counts in two seconds


async def test_a_segment_that_is_known_already_is_not_sent_again(scene: Scene) -> None:
    (target, *_) = scene.playlist()
    etag = dict(scene.segment(target).headers)["ETag"]
    answer = scene.segment(target, **{"if-none-match": etag})
    assert (answer.status, answer.length) == (304, 0)
    assert scene.segment(target, "HEAD").status == 200
    (watcher,) = scene.packager.watchers
    segment = scene.packager.find(names_of(target))
    assert segment is not None and watcher.sent == segment.size


def names_of(target: str) -> str:
    return target.partition("?")[0].rpartition("/")[2]


async def test_nobody_guesses_a_segment_or_a_token(scene: Scene) -> None:
    target = scene.playlist()[0]
    path, _, token = target.partition("?t=")
    number = int(names_of(target).partition("-")[0])
    for wrong, status in (
        (path, 403),
        (f"{path}?t=", 403),
        (f"{path}?t={token[:-1]}", 403),
        (f"{path}?t={'A' * len(token)}", 403),
        (f"{path.replace(str(number), str(number + 1))}?t={token}", 404),
        (f"/hls/{'x' * 16}/{names_of(target)}?t={token}", 404),
        (f"/hls/{scene.packager.run}/?t={token}", 404),
    ):
        segments = wrong.partition("?")[0].strip("/").split("/")
        if len(segments) == 3:
            answer = scene.segment(wrong)
            assert answer.status == status, wrong
            # kept by its path, a refusal would be told to all
            assert dict(answer.headers)["Cache-Control"] == "no-store"


async def test_an_account_that_is_over_has_no_more_segments(scene: Scene) -> None:
    target = scene.playlist()[0]
    assert scene.segment(target).status == 200
    account = scene.door.accounts.verified("ana", "pw")
    assert account is not None
    await scene.door.store.accounts.delete(account.id)
    await scene.door.accounts.reload()
    assert scene.segment(target).status == 403


async def test_one_who_was_silent_long_is_let_in_again_with_a_lease_of_his_own(
    scene: Scene,
) -> None:
    target = scene.playlist()[0]
    scene.packager.watchers.end_all()
    assert scene.segment(target, **{"user-agent": "box"}).status == 200
    (watcher,) = scene.packager.watchers
    assert watcher.lease is not None and watcher.account == "ana"
    assert scene.segment(target, **{"user-agent": "box"}).status == 200
    assert len(scene.packager.watchers) == 1


async def test_a_player_whose_segments_come_under_another_name_is_one_player(scene: Scene) -> None:
    """Some ask for segments with another User-Agent, or from an address that has changed."""
    target = scene.playlist()[0]
    assert scene.segment(target, **{"user-agent": "decoder"}).status == 200
    assert len(scene.packager.watchers) == 1


async def test_only_formats_that_an_account_has_are_served(scene: Scene) -> None:
    await scene.door.accounts.verify("tom", "pw", "10.0.0.9")
    with pytest.raises(ViewerError) as refused:
        scene.playlist("tom")
    assert refused.value.status == 403
    assert scene.playlist("sam")


async def test_a_lease_that_is_refused_is_told(scene: Scene, door: Door) -> None:
    account = door.accounts.verified("ana", "pw")
    assert account is not None
    for number in itertools.count():
        try:
            door.accounts.lease(
                account, address="10.0.0.9", user_agent="box", channel="9", now=float(number)
            )
        except ChannelUnavailable:
            break
    with pytest.raises(ChannelUnavailable):
        scene.playlist()
    assert len(scene.packager.watchers) == 0
