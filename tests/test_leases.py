"""A lease from its request to its end."""

from __future__ import annotations

import pytest
from account_stage import ANA

from rawstream.leases import Lease, PlayerKey, since


class Keeper:
    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []

    def began(self, lease: Lease) -> None:
        self.told.append(("began", lease.number))

    def forget(self, lease: Lease, sent: int) -> None:
        self.told.append(("forget", sent))


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def lease(keeper: Keeper) -> Lease:
    return Lease(keeper, 7, ANA, PlayerKey(1, "10.0.0.2", "Box"), "a")


def test_its_keeper_is_told_of_its_first_byte_and_once_of_its_end(
    keeper: Keeper, lease: Lease
) -> None:
    lease.started(lambda: None, 5.0)
    assert (lease.since, lease.over) == (5.0, False)
    lease.ended(100)
    lease.ended(100)
    assert keeper.told == [("began", 7), ("forget", 100)]
    assert lease.over


def test_what_is_over_can_be_cut_by_nobody(lease: Lease) -> None:
    lease.started(lambda: None, 5.0)
    lease.by_requests(lambda: None)
    lease.ended()
    assert (lease.cut, lease.drop) == (None, None)


def test_who_zapped_away_by_requests_is_to_ask_for_another(lease: Lease) -> None:
    assert lease.asked(1.0)
    lease.leaving_at = 9.0
    assert not lease.asked(2.0)
    assert lease.asked_at == 2.0


def test_what_has_not_begun_is_younger_than_all_that_has(keeper: Keeper, lease: Lease) -> None:
    other = Lease(keeper, 8, ANA, lease.key, "a")
    other.started(lambda: None, 1e9)
    assert sorted((lease, other), key=since) == [other, lease]
