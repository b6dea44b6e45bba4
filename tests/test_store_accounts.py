"""Accounts in their table."""

from __future__ import annotations

import dataclasses

import pytest

from rawstream.errors import ConfigError
from rawstream.records import Account
from rawstream.store import Store
from rawstream.store_accounts import check_name

ANA = Account(
    0, "ana", "hash", trial=True, expires_at=5, max_connections=3, categories=frozenset({4, 2})
)


async def test_an_account_comes_back_as_it_was_with_a_token(store: Store) -> None:
    number = await store.accounts.add(ANA)
    found = await store.accounts.by_name("ana")
    assert found is not None
    assert found.token
    assert dataclasses.replace(found, token="", created_at=0) == dataclasses.replace(ANA, id=number)
    assert await store.accounts.by_token(found.token) == found
    await store.accounts.set(dataclasses.replace(found, enabled=False, categories=None))
    changed = await store.accounts.account(number)
    assert changed == dataclasses.replace(found, enabled=False, categories=None)


async def test_a_name_is_taken_once_and_means_its_case(store: Store) -> None:
    await store.accounts.add(ANA)
    with pytest.raises(ConfigError, match="taken"):
        await store.accounts.add(ANA)
    await store.accounts.add(dataclasses.replace(ANA, username="Ana"))
    assert len(await store.accounts.accounts()) == 2


async def test_a_name_can_be_changed_to_one_that_is_free(store: Store) -> None:
    await store.accounts.add(ANA)
    number = await store.accounts.add(dataclasses.replace(ANA, username="bob"))
    bob = await store.accounts.account(number)
    assert bob is not None
    with pytest.raises(ConfigError, match="taken"):
        await store.accounts.set(dataclasses.replace(bob, username="ana"), before=bob)
    await store.accounts.set(dataclasses.replace(bob, username="rob"), before=bob)
    assert await store.accounts.by_name("rob") is not None


async def test_who_changes_one_thing_leaves_what_another_has_changed(store: Store) -> None:
    number = await store.accounts.add(ANA)
    read = await store.accounts.account(number)
    assert read is not None
    await store.accounts.set(dataclasses.replace(read, enabled=False), before=read)
    await store.accounts.set(dataclasses.replace(read, password_hash="new"), before=read)
    await store.accounts.set(read, before=read)
    expected = dataclasses.replace(read, enabled=False, password_hash="new")
    assert await store.accounts.account(number) == expected


async def test_an_old_token_is_good_for_nothing_after_a_reset(store: Store) -> None:
    number = await store.accounts.add(ANA)
    old = await store.accounts.account(number)
    token = await store.accounts.reset_token(number)
    assert old is not None
    assert await store.accounts.by_token(old.token) is None
    assert (await store.accounts.by_token(token)) is not None


async def test_a_deleted_id_is_not_given_again(store: Store) -> None:
    number = await store.accounts.add(ANA)
    await store.accounts.delete(number)
    assert await store.accounts.add(ANA) > number


async def test_bytes_add_up(store: Store) -> None:
    number = await store.accounts.add(ANA)
    await store.accounts.add_bytes({number: 5})
    await store.accounts.add_bytes({number: 7})
    assert await store.accounts.bytes_of() == {number: 12}


async def test_every_kick_is_newer_than_the_last_and_a_change_is_none(store: Store) -> None:
    number = await store.accounts.add(ANA)
    before = await store.accounts.account(number)
    assert before is not None
    assert before.kicked_at == 0
    kicks = []
    for _ in range(3):
        await store.accounts.kick(number, 1000)
        found = await store.accounts.account(number)
        assert found is not None
        kicks.append(found.kicked_at)
    assert kicks == [1000, 1001, 1002]
    await store.accounts.set(before)
    found = await store.accounts.account(number)
    assert found is not None
    assert found.kicked_at == 1002


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "a:b", "live", "HLS", "playlist", "é", "a" * 65]
)
def test_names_that_break_players_or_our_own_urls_are_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)


def test_a_name_from_elsewhere_may_have_other_letters_but_no_word_of_ours() -> None:
    assert check_name("josé", lenient=True) == "josé"
    with pytest.raises(ConfigError):
        check_name("live", lenient=True)
