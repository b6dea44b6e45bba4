"""Secrets of operators, of which only a digest is kept."""

from __future__ import annotations

from pathlib import Path

from rawstream.records import Account
from rawstream.store import Store
from rawstream.store_credentials import SESSIONS, digest_of


async def test_a_secret_is_nowhere_but_in_the_hand_that_got_it(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    account = await store.accounts.add(Account(0, "boss", "x", admin=True))
    made, secret = await store.credentials.add("session", account, now=100, expires_at=200)
    assert made.digest == digest_of(secret)
    assert secret not in repr(made)
    (kept,) = await store.credentials.credentials()
    assert kept == made
    await store.close()
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


async def test_what_has_expired_is_swept_out_and_what_goes_with_its_account(
    tmp_path: Path,
) -> None:
    store = await Store.open(tmp_path)
    account = await store.accounts.add(Account(0, "boss", "x", admin=True))
    other = await store.accounts.add(Account(0, "help", "x", admin=True))
    await store.credentials.add("session", account, now=100, expires_at=200)
    token, _ = await store.credentials.add("token", account, now=150, name="script")
    await store.credentials.add("session", other, now=300, expires_at=400)
    assert {one.kind for one in await store.credentials.credentials()} == {"token", "session"}
    await store.accounts.delete(other)
    assert await store.credentials.credentials() == [token]
    await store.credentials.remove(token.id)
    assert await store.credentials.credentials() == []
    await store.close()


async def test_of_an_account_the_newest_sessions_are_kept(store: Store) -> None:
    account = await store.accounts.add(Account(0, "boss", "x", admin=True))
    other = await store.accounts.add(Account(0, "help", "x", admin=True))
    theirs, _ = await store.credentials.add("session", other, now=1)
    token, _ = await store.credentials.add("token", account, now=1)
    made = [
        (await store.credentials.add("session", account, now=1))[0] for _ in range(SESSIONS + 2)
    ]
    assert await store.credentials.credentials() == [theirs, token, *made[2:]]
