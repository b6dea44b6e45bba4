"""Leases that requests renew."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from rawstream.watchers import Watcher, WatcherKey, Watchers

ANA = WatcherKey(1, 5, "10.0.0.9", "box")
LOCAL = WatcherKey(0, 0, "10.0.0.9", "box")


class FakeLease:
    def __init__(self) -> None:
        self.cut: Callable[[], None] | None = None
        self.drop: Callable[[], None] | None = None
        self.ends: list[int] = []
        self.leaving = False

    def started(self, cut: Callable[[], None], now: float) -> None:
        assert self.cut is None, "told once"
        self.cut = cut

    def ended(self, sent: int = 0) -> None:
        self.ends.append(sent)

    def asked(self, now: float) -> bool:
        return not self.leaving

    def by_requests(self, drop: Callable[[], None]) -> None:
        self.drop = drop


@pytest.fixture
def cut() -> list[Watcher]:
    return []


@pytest.fixture
def watchers(cut: list[Watcher]) -> Watchers:
    return Watchers(itertools.count(1), lease_seconds=30.0, on_cut=cut.append)


def test_who_asks_once_is_a_probe_and_who_asks_again_has_come(watchers: Watchers) -> None:
    lease = FakeLease()
    watcher = watchers.add(ANA, 0.0, account="ana", lease=lease)
    watchers.renew(watcher, 0.0)
    assert lease.cut is None
    watchers.renew(watcher, 1.0)
    assert lease.cut is not None
    watchers.renew(watcher, 2.0)


def test_a_watcher_stays_as_long_as_he_asks(watchers: Watchers) -> None:
    lease = FakeLease()
    watcher = watchers.add(ANA, 0.0, lease=lease)
    for now in (0.0, 29.0, 58.0):
        watchers.renew(watcher, now)
        watchers.sweep(now + 29.9)
        assert watchers.get(ANA) is watchers.numbered(watcher.id) is watcher
    watcher.sent = 1234
    watchers.sweep(88.0)
    assert watchers.get(ANA) is watchers.numbered(watcher.id) is None
    assert lease.ends == [1234]
    watchers.end(watcher)
    assert lease.ends == [1234]


def test_one_whose_lease_is_withdrawn_is_told_of_and_one_who_leaves_is_not(
    watchers: Watchers, cut: list[Watcher]
) -> None:
    leases = FakeLease(), FakeLease()
    ana = watchers.add(ANA, 0.0, lease=leases[0])
    bob = watchers.add(ANA._replace(account_id=2), 0.0, lease=leases[1])
    for watcher in (ana, bob):
        watchers.renew(watcher, 0.0)
        watchers.renew(watcher, 0.0)
    assert leases[0].cut is not None and leases[1].drop is not None
    leases[0].cut()
    leases[1].drop()
    assert cut == [ana]
    assert len(watchers) == 0
    assert [lease.ends for lease in leases] == [[0], [0]]


def test_a_player_without_an_account_has_no_lease(watchers: Watchers) -> None:
    watcher = watchers.add(LOCAL, 0.0)
    watchers.renew(watcher, 1.0)
    watchers.renew(watcher, 2.0)
    assert list(watchers) == [watcher]
    watchers.end_all()
    assert len(watchers) == 0


def test_what_is_shown_of_one(watchers: Watchers) -> None:
    watcher = watchers.add(ANA, 10.0, account="ana", port=4000)
    watcher.at_seconds, watcher.sent = 93.0, 5
    watchers.renew(watcher, 10.0)
    assert watchers.snapshots(now=25.0, head_seconds=100.0) == [], "so far he is a probe"
    watchers.renew(watcher, 11.0)
    (shown,) = watchers.snapshots(now=25.0, head_seconds=100.0)
    assert (shown.address, shown.port, shown.user_agent) == ("10.0.0.9", 4000, "box")
    assert (shown.account, shown.state, shown.seconds) == ("ana", "hls", 15.0)
    assert (shown.seconds_behind, shown.bytes_sent) == (7.0, 5)


def test_one_who_comes_back_from_another_channel_comes_anew(
    watchers: Watchers, cut: list[Watcher]
) -> None:
    lease = FakeLease()
    watcher = watchers.add(ANA, 0.0, lease=lease)
    assert watchers.asked(watcher, 1.0)
    lease.leaving = True
    assert not watchers.asked(watcher, 2.0)
    assert (watchers.get(ANA), lease.ends, cut) == (None, [0], [])
