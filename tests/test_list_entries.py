"""Entries of lists, and the channels that they are: the surest key first, and only where it is one
entry's and one channel's alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from splits import SPLITS

from rawstream.list_entries import (
    Listed,
    distinct,
    entry_identity,
    identity_of,
    link_key,
    matched_channels,
    merged,
    read_list,
)
from rawstream.m3u import NotAList

LIST = b"""#EXTM3U
#EXTINF:-1 tvg-id="one.it" tvg-logo="logo.png" group-title="News",One
acestream://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
#EXTINF:-1 tvg-name="Two" tvg-logo="http://h/2.png" group-title="News",Two
http://h/2.ts
"""


def entry(name: str, value: str = "", *, guide: str = "", group: str = "G") -> Listed:
    link = value or name[0].lower() * 40
    return Listed(name, "content_id", link, (), (group,), guide, "", "", "", False)


class There:
    """What an import finds: by id of a channel, what it was."""

    def __init__(self, own: dict[int, Listed], others: dict[int, Listed] | None = None) -> None:
        self.of = {True: own, False: others or {}}

    def identities(self, *, own: bool) -> Iterator[tuple[int, str]]:
        for number, one in self.of[own].items():
            yield number, entry_identity(one)

    def brought(self, *, own: bool) -> Iterator[tuple[int, str, str]]:
        for number, one in self.of[own].items():
            yield number, one.kind, one.value


def match(there: Any, *entries: Listed) -> dict[str, int]:
    found = matched_channels(there, [(one,) for one in entries])
    return {entries[place].name: number for place, number in found.items()}


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.__name__)
def test_a_list_is_read_alike_however_it_comes(split: Any) -> None:
    entries, ending = read_list(split(LIST))
    assert [(one.name, one.kind, one.groups) for one in entries] == [
        ("One", "unknown", ("News",)),
        ("Two", "direct", ("News",)),
    ]
    assert [one.logo for one in entries] == ["", "http://h/2.png"], "a logo is an address"
    assert entries[0].groups is entries[1].groups, "kept once"
    assert (ending.dropped, ending.truncated) == (0, False)


def test_what_is_no_list_is_none() -> None:
    with pytest.raises(NotAList):
        read_list([b"<html>"])


def test_of_one_link_the_first_entry_counts_however_it_is_spelt() -> None:
    assert link_key("infohash", "a") == link_key("content_id", "a")
    assert link_key("hls", "http://h/a") == link_key("direct", "http://h/a")
    one, again = entry("One", "a" * 40), entry("Again", "a" * 40)
    assert list(distinct([one, again, entry("Two")])) == [one, entry("Two")]


def test_entries_of_one_name_are_merged_whatever_their_spelling() -> None:
    one, same, other = entry("DAZN", "a" * 40), entry(" dazn ", "b" * 40), entry("Sky")
    assert merged([one, other, same]) == [(one, same), (other,)]


def test_a_renamed_entry_is_known_by_its_link_and_a_moved_one_by_its_guide() -> None:
    there = There({1: entry("One", "a" * 40, guide="one"), 2: entry("Two", "b" * 40, guide="two")})
    renamed, moved = entry("Uno", "a" * 40), entry("Two", "c" * 40, guide="two", group="H")
    assert match(there, renamed, moved) == {"Uno": 1, "Two": 2}


def test_a_key_that_several_have_finds_nothing() -> None:
    there = There({1: entry("One", "a" * 40), 2: entry("One", "b" * 40)})
    assert match(there, entry("One", "c" * 40)) == {}


def test_a_lists_own_channel_comes_before_one_that_is_nobodys() -> None:
    one = entry("One")
    assert match(There({1: one}, {2: one}), one) == {"One": 1}
    assert match(There({}, {2: one}), one) == {"One": 2}


def test_a_channel_from_elsewhere_is_found_by_the_identity_it_was_given() -> None:
    one = entry("One", guide="one.it")
    assert identity_of(one.kind, one.value, "One", "one.it", "G") == entry_identity(one)
