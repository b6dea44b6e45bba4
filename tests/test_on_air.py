"""What two looks differ in, and that a look asks no viewer anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from snapshots import channel
from stage import quick_contents, stage

from rawstream.channels import LiveChannel
from rawstream.on_air import EngineView, LiveTotals, Look, _channel, difference
from rawstream.workers import Worker

ENGINE = EngineView(1, "http://e:1", "up", False, True, "3", 0, 0, 4, 0, 0, None)
TOTALS = LiveTotals(0, 0, 0, 0, 0, 0, 30, 0)


def look(**values: Any) -> Look:
    whole = {"channels": {}, "films": {}, "engines": {1: ENGINE}, "totals": TOTALS, **values}
    return Look(**whole)


def of(**changes: Any) -> dict[str, Any]:
    shown = _channel(channel(**changes))
    return {str(shown["key"]): shown}  # type: ignore[dict-item]


def test_what_moves_all_the_time_is_no_news() -> None:
    before = of(bitrate=5_110_000.0, bytes_in=1, ring_seconds=1.0, state_seconds=1.0)
    after = of(bitrate=5_130_000.0, bytes_in=9, ring_seconds=2.0, state_seconds=9.0)
    change = difference(look(channels=before), look(channels=after))
    assert not any(change[:3]) and change.totals is None
    after = of(bitrate=5_300_000.0, state_seconds=9.0)
    (told,) = difference(look(channels=before), look(channels=after)).channels
    key = next(iter(before))
    assert told == {"key": key, "state_seconds": 9, "bitrate": 5_300_000}


def test_time_that_passes_is_told_once_a_minute() -> None:
    later = replace(TOTALS, uptime_seconds=59)
    assert difference(look(), look(totals=later)).totals is None
    later = replace(TOTALS, uptime_seconds=60)
    assert difference(look(), look(totals=later)).totals == later
    watched = replace(TOTALS, viewers=1)
    assert difference(look(), look(totals=watched)).totals == watched


def test_what_is_gone_is_named() -> None:
    films = {"9": {"key": "9"}}
    change = difference(look(channels=of(), films=films), look(engines={}))
    assert change.gone == [*of(), "9"]
    assert change.engines_gone == [1]
    change = difference(look(), look(films=films, engines={1: replace(ENGINE, sessions=1)}))
    assert (change.films, [e.sessions for e in change.engines]) == ([{"key": "9"}], [1])


async def test_a_look_counts_viewers_and_asks_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = quick_contents()
    async with stage(tmp_path, contents) as made:
        for _ in range(3):
            await (await made.play(contents[0])).more(60_000)

        def asked(*_: Any, **__: Any) -> Any:
            raise AssertionError("a viewer was looked at")

        worker: Worker = made.worker
        with monkeypatch.context() as patched:
            patched.setattr(LiveChannel, "viewer_snapshots", asked)
            (shown,) = worker.on_air.look().channels.values()
        assert shown["viewer_count"] == 3
        found = worker.on_air.viewers_of(str(shown["key"]))
        assert found is not None
        assert (found.kind, len(found.viewers)) == ("channels", 3)
        assert worker.on_air.viewers_of("none") is None
        assert worker.on_air.totals().viewers == 3
