"""Passwords: made into hashes and checked against them, away from the loop.

Owns: the algorithm and its cost, the threads that pay it, the bound on how many wait. Must not
know: whose password it is, what a wrong one leads to.

argon2id with one lane (design §6): a check takes some tens of milliseconds of one core. The one
thread that does it has the lowest priority, so that a storm of logins delays logins and nothing
else; argon2 and bcrypt both let go of the interpreter's lock while they work.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import argon2
import bcrypt

from rawstream.errors import ConfigError, ViewerError

_NICE: Final = 19
_BCRYPT_BYTES: Final = 72  # what bcrypt reads of a password; newer libraries refuse a longer one
PASSWORD_LIMIT: Final = 256  # characters; a longer one is wrong without being looked at

_Result = TypeVar("_Result")


class Passwords:
    """Hashes and checks, at most `queue` of them waiting at a time."""

    def __init__(self, *, queue: int = 64, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher(
            time_cost=2, memory_cost=19 * 1024, parallelism=1
        )
        self._queue = queue
        self.waiting = 0
        self._pool = ThreadPoolExecutor(1, "passwords", initializer=_step_back)

    def close(self) -> None:
        """What waits is not done any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """A PHC string (argon2id). Raises ConfigError for a password that `verify` would not look
        at, ViewerError 503 when too many wait.
        """
        if len(password) > PASSWORD_LIMIT:
            raise ConfigError("password", f"takes at most {PASSWORD_LIMIT} characters")
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, hashed: str, password: str) -> bool:
        """Whether it is this password's hash: argon2's or, of the predecessor's users, bcrypt's.

        Raises ViewerError 503 when too many wait.
        """
        if len(password) > PASSWORD_LIMIT:
            return False
        return await self._run(lambda: self._verified(hashed, password))

    def _verified(self, hashed: str, password: str) -> bool:
        try:
            if hashed.startswith("$2"):
                return bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], hashed.encode())
            return self._hasher.verify(hashed, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHash, ValueError):
            return False

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        if self.waiting >= self._queue:
            raise ViewerError(503, "too many logins at once", retry_after=2)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.waiting -= 1


def _step_back() -> None:
    """On Linux a thread has a priority of its own."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    except OSError:
        pass  # nothing is lost but politeness
