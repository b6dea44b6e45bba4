"""Many rows at once: order, numbers, categories, and what imports leave alone then."""

from __future__ import annotations

import dataclasses
import random

import pytest

from rawstream.errors import ConfigError
from rawstream.records import Account, Channel, ListSource
from rawstream.store import Store
from rawstream.store_edits import BulkEdit
from rawstream.store_import import LineupChanges, ListContents
from rawstream.store_search import ChannelFilter


async def fill(store: Store, count: int, *, position: int | None = None) -> None:
    for at in range(count):
        await store.lineup.add_channel(
            Channel(0, f"C{at + 1}", position=at if position is None else position)
        )


async def order(store: Store) -> list[int]:
    return [channel.id for channel in await store.lineup.channels()]


async def by_hand(store: Store, field: str) -> set[int]:
    return {one.id for one in await store.lineup.channels() if field in one.edited}


async def test_a_channel_is_put_before_another_and_moves_no_more_than_it_must(
    store: Store,
) -> None:
    await fill(store, 5)
    assert await store.lineup.move(5, 2)
    assert await order(store) == [1, 5, 2, 3, 4]
    assert await by_hand(store, "position") == {5}
    assert await store.lineup.move(2, 4)
    assert await order(store) == [1, 5, 3, 2, 4]
    assert await by_hand(store, "position") == {5, 2}
    assert await store.lineup.move(2, 3)
    assert await store.lineup.move(4, 1)
    assert await order(store) == [4, 1, 5, 2, 3]
    assert await by_hand(store, "position") == {5, 2, 4}
    assert await store.lineup.move(4, None)
    assert await order(store) == [1, 5, 2, 3, 4]
    assert await store.lineup.move(1, None, 2)
    assert await order(store) == [5, 2, 1, 3, 4]
    assert await store.lineup.move(5, None, 4)
    assert await order(store) == [2, 1, 3, 4, 5]
    assert not await store.lineup.move(99, 1)
    with pytest.raises(ConfigError, match="after_id"):
        await store.lineup.move(1, None, 99)
    with pytest.raises(ConfigError, match="before_id"):
        await store.lineup.move(1, 99)


async def test_who_makes_room_is_held_where_he_is_too(store: Store) -> None:
    await fill(store, 4, position=0)
    await store.lineup.move(1, 3)
    assert await order(store) == [2, 1, 3, 4]
    assert await by_hand(store, "position") == {1, 3, 4}


@pytest.mark.parametrize("position", [None, 0])
async def test_any_drag_gives_the_order_that_was_seen(store: Store, position: int | None) -> None:
    await fill(store, 12, position=position)
    dice = random.Random(5)
    expected = await order(store)
    for _ in range(60):
        moved, before = dice.choice(expected), dice.choice([*expected, None])
        await store.lineup.move(moved, before)
        if before != moved:
            expected.remove(moved)
            expected.insert(expected.index(before) if before else len(expected), moved)
        assert await order(store) == expected


async def test_what_stays_where_it_is_is_no_change(store: Store) -> None:
    await fill(store, 3)
    kinds = await store.db.kinds()
    assert await store.lineup.move(2, 2) and await store.lineup.move(2, 3)
    assert (await store.db.kinds(), await by_hand(store, "position")) == (kinds, set())


async def test_many_are_switched_sorted_and_numbered_at_once(store: Store) -> None:
    await fill(store, 3)
    news, sport = [(await store.lineup.category_named(name)).id for name in ("News", "Sport")]
    edit = BulkEdit(enabled=False, radio=True, categories_add=(sport, news), numbers=(100, 10))
    assert await store.lineup.edit_many([3, 1, 77], edit) == 2
    first, second, third = await store.lineup.channels()
    assert (first.number, third.number, second.number) == ("100", "110", "")
    assert first.categories == (sport, news) and second.categories == ()
    assert first.edited == {"radio", "categories", "number"} and not first.enabled
    assert second.edited == frozenset() and second.enabled
    await store.lineup.edit_many(ChannelFilter(q="c"), BulkEdit(categories_remove=(sport,)))
    first, second, third = await store.lineup.channels()
    assert (first.categories, second.categories, second.edited) == ((news,), (), frozenset())
    await store.lineup.edit_many([2], BulkEdit(categories_set=(sport,)))
    assert (await store.lineup.channels())[1].categories == (sport,)
    with pytest.raises(ConfigError, match="no category 9"):
        await store.lineup.edit_many([2], BulkEdit(enabled=False, categories_set=(9,)))
    assert (await store.lineup.channels())[1].enabled
    assert await store.lineup.edit_many(ChannelFilter(state="disabled"), BulkEdit(delete=True)) == 2
    assert await order(store) == [2]
    kinds = await store.db.kinds()
    assert await store.lineup.edit_many([1], BulkEdit(delete=True)) == 0
    assert await store.db.kinds() == kinds


async def imported(store: Store, group: str) -> int:
    """The category that a list's group is sorted into."""
    found: list[int] = []

    def plan(there: ListContents) -> LineupChanges:
        found.append(there.category(group))
        return LineupChanges()

    await store.lineup.apply(
        await store.lineup.add_list(ListSource(0, "playlist", "http://h/l")), plan
    )
    return found[0]


async def test_two_categories_become_one_for_channels_accounts_and_lists(store: Store) -> None:
    await fill(store, 3)
    news, late, sport = [
        (await store.lineup.category_named(name, adult=name == "Late")).id
        for name in ("News", "Late", "Sport")
    ]
    for channel, categories in ((1, (late,)), (2, (late, news)), (3, (sport,))):
        await store.lineup.edit_many([channel], BulkEdit(categories_set=categories))
    child = await store.accounts.add(Account(0, "ana", "", categories=frozenset({late, sport})))
    assert await store.lineup.merge_categories(late, news)
    found = [channel.categories for channel in await store.lineup.channels()]
    assert found == [(news,), (news,), (sport,)]
    assert [(one.name, one.adult) for one in await store.lineup.categories()] == [
        *(("News", True), ("Sport", False)),
    ]
    account = await store.accounts.account(child)
    assert account is not None and account.categories == {news, sport}
    assert await imported(store, "Late") == news
    assert await store.lineup.merge_categories(news, sport)
    assert {await imported(store, name) for name in ("Late", "News", "Sport")} == {sport}
    assert not await store.lineup.merge_categories(late, sport)
    assert not await store.lineup.merge_categories(sport, sport)


async def test_a_renamed_category_is_found_by_lists_under_its_old_name(store: Store) -> None:
    news = await store.lineup.category_named("News")
    await store.lineup.set_category(dataclasses.replace(news, name="Notizie"))
    assert await imported(store, "News") == news.id == await imported(store, "Notizie")
    again = await store.lineup.category_named("News")  # somebody wants one of that name
    assert again.id != news.id
    assert await imported(store, "News") == again.id
    with pytest.raises(ConfigError, match="already"):
        await store.lineup.set_category(dataclasses.replace(again, name="Notizie"))


async def test_categories_are_put_in_order(store: Store) -> None:
    a, b, c = [(await store.lineup.category_named(name)).id for name in "abc"]
    await store.lineup.order_categories([c, b])
    assert [one.id for one in await store.lineup.categories()] == [c, b, a]
    with pytest.raises(ConfigError, match="ids"):
        await store.lineup.order_categories([99])
