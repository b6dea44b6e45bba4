"""Hashes and their checks."""

from __future__ import annotations

import asyncio

import bcrypt
import pytest

from rawstream.errors import ConfigError, ViewerError
from rawstream.passwords import PASSWORD_LIMIT, Passwords


async def test_a_password_is_right_for_its_own_hash_only() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("s3cret")
    assert hashed.startswith("$argon2id$")
    assert ",p=1$" in hashed, "one lane: a login never takes a second core from viewers"
    assert await passwords.verify(hashed, "s3cret")
    assert not await passwords.verify(hashed, "S3cret")
    passwords.close()


async def test_the_predecessors_hashes_are_accepted() -> None:
    passwords = Passwords()
    hashed = bcrypt.hashpw(b"old", bcrypt.gensalt(4)).decode()
    assert await passwords.verify(hashed, "old")
    assert not await passwords.verify(hashed, "new")
    passwords.close()


@pytest.mark.parametrize("hashed", ["", "nonsense", "$2b$broken", "$argon2id$v=19$"])
async def test_a_broken_hash_fits_no_password(hashed: str) -> None:
    passwords = Passwords()
    assert not await passwords.verify(hashed, "")
    assert not await passwords.verify(hashed, "x" * 10_000)
    passwords.close()


async def test_a_password_that_could_never_be_right_is_not_hashed() -> None:
    passwords = Passwords()
    longest = "x" * PASSWORD_LIMIT
    assert await passwords.verify(await passwords.hash(longest), longest)
    with pytest.raises(ConfigError, match="256"):
        await passwords.hash(longest + "x")
    passwords.close()


async def test_more_than_the_queue_holds_is_told_to_come_again() -> None:
    passwords = Passwords(queue=2)
    results = await asyncio.gather(*(passwords.hash("x") for _ in range(5)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ViewerError)]
    assert [error.status for error in refused] == [503] * 3
    assert passwords.waiting == 0
    passwords.close()
