"""Faults and contents: what can be set, what is refused, and when a fault is used up."""

from __future__ import annotations

import re

import pytest

from rawstream.simulator_contents import (
    ANSWER_FAULTS,
    FAULT_KINDS,
    Counters,
    Fault,
    Faults,
    SimContent,
    bundled_contents,
    dead_content,
    film_contents,
    vod_content,
)


def test_the_four_bundled_contents_are_told_apart_by_fixed_ids() -> None:
    contents = bundled_contents()
    assert len(contents) == 4
    ids = [each for content in contents for each in (content.content_id, content.infohash)]
    assert len(set(ids)) == 8
    assert all(re.fullmatch("[0-9a-f]{40}", each) for each in ids)
    assert all(content.clip.is_file() for content in contents)
    assert [content.content_id for content in bundled_contents()] == ids[::2]


def test_contents_are_fresh_so_that_one_test_spoils_no_other() -> None:
    bundled_contents()[0].fault("eof")
    assert list(bundled_contents()[0].faults) == []
    assert bundled_contents()[0].counters is not bundled_contents()[0].counters


def test_the_dead_and_the_film_are_made_as_they_say() -> None:
    dead = dead_content(peers=3).faults.find("dead")
    assert dead is not None and dead.amount == 3
    assert not vod_content().live


def test_the_films_of_the_demo_are_a_movie_and_two_episodes_and_no_channels() -> None:
    films = film_contents()
    assert [film.name[-6:] for film in films] == ["m film", "S01E01", "S01E02"]
    assert not any(film.live for film in films)
    every = [*films, *bundled_contents(), dead_content()]
    ids = [each for content in every for each in (content.content_id, content.infohash)]
    assert len(set(ids)) == len(ids) == 16


@pytest.mark.parametrize(
    "values",
    [
        {"infohash": "A" * 40},
        {"infohash": "a" * 39},
        {"content_id": "not an id"},
        {"framing": "pigeons"},
    ],
)
def test_a_content_with_a_wrong_field_is_refused(values: dict[str, str]) -> None:
    right = {"content_id": "a" * 40, "infohash": "b" * 40, "framing": "chunked"}
    clip = bundled_contents()[0].clip
    with pytest.raises(ValueError, match=re.escape(next(iter(values.values())))):
        SimContent(name="x", clip=clip, **{**right, **values})


@pytest.mark.parametrize(
    ("kind", "where"), [("meteor", ""), ("status", "moon"), ("eof", "start"), ("dead", "stat")]
)
def test_a_fault_that_does_not_exist_is_refused(kind: str, where: str) -> None:
    with pytest.raises(ValueError, match=f"{kind}|{where}"):
        Fault(kind, where)


@pytest.mark.parametrize("kind", sorted(FAULT_KINDS))
def test_each_kind_stands_at_its_place(kind: str) -> None:
    fault = Fault(kind)
    assert fault.where == ANSWER_FAULTS.get(kind, "")
    assert Faults([fault]).find(kind, fault.where) is fault


def test_a_fault_of_the_same_kind_and_place_gives_way() -> None:
    faults = Faults([Fault("eof", after_bytes=1), Fault("eof", after_bytes=2)])
    assert [fault.after_bytes for fault in faults] == [2]
    faults.add(Fault("status", where="stat"))
    faults.add(Fault("status", where="stop"))
    assert len(list(faults)) == 3


def test_a_fault_is_gone_when_it_has_struck_as_often_as_it_may() -> None:
    faults = Faults([Fault("status", times=2), Fault("eof")])
    for left in (1, 0):
        (fault,) = faults.at("playback")
        faults.strike(fault)
        assert len(faults.at("playback")) == left
    for fault in faults.media():
        faults.strike(fault)
    assert [fault.kind for fault in faults.media()] == ["eof"]


def test_clearing_takes_one_kind_or_all() -> None:
    faults = Faults([Fault("eof"), Fault("delay"), Fault("delay", where="stat")])
    faults.clear("delay")
    assert [fault.kind for fault in faults] == ["eof"]
    faults.clear()
    assert list(faults) == []
    assert faults.clears == 2


def test_a_delay_strikes_before_what_ends_the_answer() -> None:
    faults = Faults([Fault("status"), Fault("delay")])
    assert [fault.kind for fault in faults.at("playback")] == ["delay", "status"]


def test_counters_go_back_to_zero_but_for_readers_that_are_there() -> None:
    counters = Counters(opens=3, readers_now=1, readers_max=4)
    counters.reset()
    assert (counters.opens, counters.readers_now, counters.readers_max) == (0, 1, 1)
