"""Guides in their tables: generations that are whole or not there, mappings, what is on."""

from __future__ import annotations

from guides import HOUR, NOON, show

from rawstream.epg import GuideChannel, LocalText
from rawstream.guide_match import Match
from rawstream.records import Channel, ListSource
from rawstream.store import Store
from rawstream.store_guide import _BROADCASTS, read_broadcasts

ONE = GuideChannel("one.it", (LocalText("Uno", "it"), LocalText("One")), ("http://icon",))


async def new_list(store: Store, url: str = "http://h/g", priority: int = 100) -> int:
    return await store.lineup.add_list(ListSource(0, "guide", url, priority=priority))


async def titles(store: Store) -> list[str]:
    found = await store.guide.broadcasts("one.it", NOON, NOON + 24 * HOUR)
    return [one.body.partition("</title>")[0].rpartition(">")[2] for by in found for one in by]


async def test_a_generation_is_seen_when_it_is_whole(store: Store) -> None:
    number = await new_list(store)
    first = await store.guide.begin(number)
    await store.guide.add(number, first, [ONE], [show("one.it", NOON, NOON + HOUR, "First")])
    assert await titles(store) == []
    assert await store.guide.channels() == []
    assert await store.guide.finish(number, first)
    assert await titles(store) == ["First"]
    assert await store.guide.channels() == [ONE]
    second = await store.guide.begin(number)
    await store.guide.add(number, second, [], [show("one.it", NOON, NOON + HOUR, "Second")])
    assert await titles(store) == ["First"]
    await store.guide.finish(number, second)
    assert await titles(store) == ["Second"]
    assert await store.guide.count(number) == 1
    rows = await store.db.read("SELECT count(*) FROM programmes")
    assert rows[0][0] == 1, "the old generation is gone"


async def test_a_generation_that_is_given_up_leaves_nothing(store: Store) -> None:
    number = await new_list(store)
    first = await store.guide.begin(number)
    await store.guide.add(number, first, [ONE], [show("one.it", NOON, NOON + HOUR, "First")])
    await store.guide.finish(number, first)
    second = await store.guide.begin(number)
    await store.guide.add(number, second, [ONE], [show("one.it", NOON, NOON + HOUR, "Second")])
    await store.guide.abandon(number, second)
    assert await titles(store) == ["First"]
    for table in ("programmes", "guide_channels"):
        rows = await store.db.read(f"SELECT DISTINCT generation FROM {table}")
        assert [row[0] for row in rows] == [first]


async def test_of_two_imports_at_once_the_later_one_stays(store: Store) -> None:
    number = await new_list(store)
    early = await store.guide.begin(number)
    await store.guide.add(number, early, [], [show("one.it", NOON, NOON + HOUR, "Early")])
    late = await store.guide.begin(number)
    await store.guide.add(number, early, [], [show("one.it", NOON + HOUR, NOON + 2 * HOUR, "E")])
    assert not await store.guide.finish(number, early), "it was overtaken"
    await store.guide.add(number, late, [], [show("one.it", NOON, NOON + HOUR, "Late")])
    assert await store.guide.finish(number, late)
    assert await titles(store) == ["Late"]
    for table, count in (("programmes", 1), ("guide_channels", 0)):
        assert (await store.db.read(f"SELECT count(*) FROM {table}"))[0][0] == count


async def test_what_a_killed_import_has_left_goes_with_the_next_attempt(store: Store) -> None:
    number = await new_list(store)
    first = await store.guide.begin(number)
    await store.guide.add(number, first, [ONE], [show("one.it", NOON, NOON + HOUR, "First")])
    await store.guide.finish(number, first)
    other = await new_list(store, "http://other")
    theirs = await store.guide.begin(other)
    await store.guide.add(other, theirs, [ONE], [show("one.it", NOON, NOON + HOUR, "Other")])
    for _ in range(3):  # killed each time, and so never shown
        dead = await store.guide.begin(number)
        await store.guide.add(number, dead, [ONE], [show("one.it", NOON, NOON + HOUR, "Dead")])
    assert await titles(store) == ["First"]
    rows = await store.db.read("SELECT DISTINCT generation FROM programmes ORDER BY generation")
    assert [row[0] for row in rows] == [first, theirs, dead]
    assert await store.guide.finish(other, theirs), "another list's import goes on"


async def test_more_than_one_sweep_takes(store: Store) -> None:
    number = await new_list(store)
    generation = await store.guide.begin(number)
    many = [show("one.it", NOON + n, NOON + n + 1, "x") for n in range(12_000)]
    await store.guide.add(number, generation, [ONE], many)
    await store.guide.abandon(number, generation)
    assert (await store.db.read("SELECT count(*) FROM programmes"))[0][0] == 0


async def test_the_last_programme_of_one_start_counts(store: Store) -> None:
    number = await new_list(store)
    generation = await store.guide.begin(number)
    for title in ("Old", "New"):
        await store.guide.add(number, generation, [], [show("one.it", NOON, NOON + HOUR, title)])
    await store.guide.finish(number, generation)
    assert await titles(store) == ["New"]


async def test_what_is_on_comes_by_list_and_the_preferred_one_first(store: Store) -> None:
    for url, priority, title in (("http://b", 20, "Second"), ("http://a", 10, "First")):
        number = await new_list(store, url, priority)
        generation = await store.guide.begin(number)
        await store.guide.add(
            number,
            generation,
            [GuideChannel("one.it", (LocalText(title),))],
            [
                show("one.it", NOON - HOUR, NOON, "over"),
                show("one.it", NOON, NOON + HOUR, title),
                show("one.it", NOON + 24 * HOUR, NOON + 25 * HOUR, "too late"),
            ],
        )
        await store.guide.finish(number, generation)
    assert await titles(store) == ["First", "Second"]
    (channel,) = await store.guide.channels()
    assert [name.text for name in channel.names] == ["First", "Second"]
    path = store.db.path
    ((key, by_list),) = read_broadcasts(path, ["nobody", "one.it"], NOON, NOON + 24 * HOUR)
    assert (key, [len(one) for one in by_list]) == ("one.it", [1, 1])


async def test_a_list_that_is_switched_off_shows_nothing(store: Store) -> None:
    number = await new_list(store)
    generation = await store.guide.begin(number)
    await store.guide.add(number, generation, [ONE], [show("one.it", NOON, NOON + HOUR, "First")])
    await store.guide.finish(number, generation)
    await store.lineup.set_list(ListSource(number, "guide", "http://h/g", enabled=False))
    assert (await titles(store), await store.guide.channels()) == ([], [])


async def test_what_the_operator_maps_wins_over_what_was_matched(store: Store) -> None:
    a, b, c = [await store.lineup.add_channel(Channel(0, name)) for name in "ABC"]
    match = Match("one.it", "name", 97, "A", "a", 1)
    await store.guide.set_matches({a: match, b: match, 999: match})
    assert await store.guide.matches() == {a: match, b: match}
    before = (await store.db.kinds())["guide"]
    await store.guide.set_matches({a: match, b: match})
    assert (await store.db.kinds())["guide"] == before, "nothing has changed, nobody reads again"
    await store.guide.set_mapping(a, "two.it")
    await store.guide.set_mapping(c, "")
    assert await store.guide.guide_ids() == {a: "two.it", b: "one.it", c: ""}
    await store.guide.set_mapping(a, None)
    await store.lineup.delete_channel(b)
    assert await store.guide.guide_ids() == {a: "one.it", c: ""}


async def test_a_channels_day_is_found_without_reading_all_the_others(store: Store) -> None:
    """Without an index of its own a guide of 10,000 channels takes minutes to write out."""
    plan = await store.db.read(f"EXPLAIN QUERY PLAN {_BROADCASTS}", ("one.it", 0, 1))
    steps = [row["detail"] for row in plan]
    assert not [step for step in steps if step.startswith("SCAN programmes")]
    assert any("channel=?" in step for step in steps)
