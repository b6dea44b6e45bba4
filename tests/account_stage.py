"""Accounts with a clock that stands still until it is moved, and players who watch with them."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from wire import Clock

from rawstream.accounts import Accounts
from rawstream.config import Config
from rawstream.leases import Lease
from rawstream.records import Account

ANA = Account(1, "ana", "pw", token="t0k", max_connections=1)


class FakePasswords:
    """Hash and password are the same text; counts what a check would have cost."""

    checks = 0

    def __init__(self) -> None:
        self.free = asyncio.Event()  # checks wait for it
        self.free.set()
        self.failure: Exception | None = None

    async def hash(self, password: str) -> str:
        return password

    async def verify(self, hashed: str, password: str) -> bool:
        self.checks += 1
        await self.free.wait()
        if self.failure is not None:
            raise self.failure
        return hashed == password


class Stage:
    def __init__(self, *accounts: Account, **settings: Any) -> None:
        self.clock = Clock()
        self.rows = list(accounts)
        self.passwords: Any = FakePasswords()
        self.cut: list[Lease] = []
        self.crowded = False
        self.of = Accounts(
            self,
            self.passwords,
            Config(**settings),
            crowded=lambda: self.crowded,
            clock=self.clock,
            calendar=lambda: 5000.0,
        )

    async def accounts(self) -> list[Account]:
        return self.rows

    async def reload(self) -> Stage:
        await self.of.reload()
        return self

    def ask(self, channel: str, agent: str = "Box", address: str = "10.0.0.2") -> Lease:
        return self.of.lease(
            self.rows[0], address=address, user_agent=agent, channel=channel, now=self.clock.now
        )

    def start(self, lease: Lease) -> Lease:
        lease.started(lambda: self.cut.append(lease), self.clock.now)
        return lease

    def play(self, channel: str, agent: str = "Box", address: str = "10.0.0.2") -> Lease:
        return self.start(self.ask(channel, agent, address))

    async def change(self, **values: Any) -> None:
        self.rows = [dataclasses.replace(self.rows[0], **values)]
        await self.of.reload()

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds * 4)):
            self.clock.now += 0.25
            self.of.tick(self.clock.now)


def film_of(stage: Stage, film: str = "900", agent: str = "VLC") -> Lease:
    """A stream of a film that begins now."""
    account = stage.of._by_name["ana"]
    lease = stage.of.lease(
        account, address="10.0.0.1", user_agent=agent, channel=film, now=stage.clock.now, film=True
    )
    lease.started(lambda: stage.cut.append(lease), stage.clock.now)
    return lease
