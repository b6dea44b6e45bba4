"""Who watches by requests: a player who holds no connection, only a lease that he renews.

Owns: when such a player has come, how long he stays without a word, what is counted of him. Must
not know: playlists, segments, HTTP, whose lease it is.

He has come with his second request: who asks once and never again is a probe, and counts nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from rawstream.viewer import ViewerSnapshot


class WatcherKey(NamedTuple):
    """Who a request is taken for. `account_id`, `channel_id` 0: a local player, a content."""

    account_id: int
    channel_id: int
    address: str
    user_agent: str


class RequestLease(Protocol):
    """A lease that lasts as long as requests come (`leases.Lease`)."""

    def started(self, cut: Callable[[], None], now: float) -> None: ...
    def ended(self, sent: int = 0) -> None: ...
    def by_requests(self, drop: Callable[[], None]) -> None: ...
    def asked(self, now: float) -> bool: ...


class Watcher:
    """One player. Times are on the monotonic clock."""

    __slots__ = (
        "account",
        "at_seconds",
        "id",
        "joined_at",
        "key",
        "last_at",
        "lease",
        "port",
        "requests",
        "sent",
    )

    def __init__(
        self, id: int, key: WatcherKey, account: str | None, lease: RequestLease | None, port: int
    ) -> None:
        self.id = id
        self.key = key
        self.account = account
        self.lease = lease
        self.port = port
        self.joined_at = 0.0
        self.last_at = 0.0
        self.requests = 0
        self.sent = 0  # bytes of segments
        self.at_seconds: float | None = None  # where the newest segment ends that he can have


class Watchers:
    """All of one channel. `lease_seconds`: how long one stays who asks for nothing. `on_cut` is
    told of one who must not come back with his old token.
    """

    def __init__(
        self, ids: Iterator[int], *, lease_seconds: float, on_cut: Callable[[Watcher], None]
    ) -> None:
        self._ids = ids
        self._lease_seconds = lease_seconds
        self._on_cut = on_cut
        self._by_key: dict[WatcherKey, Watcher] = {}
        self._by_id: dict[int, Watcher] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Watcher]:
        return iter(list(self._by_key.values()))

    def get(self, key: WatcherKey) -> Watcher | None:
        return self._by_key.get(key)

    def numbered(self, id: int) -> Watcher | None:
        return self._by_id.get(id)

    def add(
        self,
        key: WatcherKey,
        now: float,
        *,
        account: str | None = None,
        lease: RequestLease | None = None,
        port: int = 0,
    ) -> Watcher:
        """A player who was not here before."""
        assert key not in self._by_key, "he is here"
        watcher = self._by_key[key] = Watcher(next(self._ids), key, account, lease, port)
        self._by_id[watcher.id] = watcher
        watcher.joined_at = watcher.last_at = now
        if lease is not None:
            lease.by_requests(lambda: self.end(watcher))
        return watcher

    def renew(self, watcher: Watcher, now: float) -> None:
        """He has asked for something."""
        watcher.last_at = now
        watcher.requests += 1
        if watcher.requests == 2 and watcher.lease is not None:
            watcher.lease.started(lambda: self.cut(watcher), now)

    def asked(self, watcher: Watcher, now: float) -> bool:
        """He asks for the playlist. False if he had left for another channel: he comes anew."""
        if watcher.lease is None or watcher.lease.asked(now):
            return True
        self.end(watcher)
        return False

    def end(self, watcher: Watcher) -> None:
        """He has left. A second call does nothing."""
        if self._by_key.get(watcher.key) is watcher:
            del self._by_key[watcher.key], self._by_id[watcher.id]
            if watcher.lease is not None:
                watcher.lease.ended(watcher.sent)

    def cut(self, watcher: Watcher) -> None:
        """His lease was withdrawn."""
        if self._by_key.get(watcher.key) is watcher:
            self.end(watcher)
            self._on_cut(watcher)

    def end_all(self) -> None:
        for watcher in self:
            self.end(watcher)

    def sweep(self, now: float) -> None:
        """End those who have not asked for long."""
        since = now - self._lease_seconds
        for watcher in [one for one in self._by_key.values() if one.last_at <= since]:
            self.end(watcher)

    def snapshots(self, now: float, head_seconds: float) -> list[ViewerSnapshot]:
        """`head_seconds`: the newest media time. How far behind one is, at least: up to the end of
        the segment he asked for last, or if a cache answers those of his first playlist. Probes are
        left out.
        """
        return [
            ViewerSnapshot(
                id=one.id,
                address=one.key.address,
                port=one.port,
                user_agent=one.key.user_agent,
                account=one.account,
                state="hls",
                seconds=now - one.joined_at,
                seconds_behind=max(0.0, head_seconds - one.at_seconds) if one.at_seconds else 0.0,
                bytes_sent=one.sent,
                queued_bytes=0,
                jumps=0,
            )
            for one in self._by_key.values()
            if one.requests > 1
        ]
