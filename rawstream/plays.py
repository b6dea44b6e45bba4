"""What operators play in their pages: each stream ends with the session or token it was begun with.

Owns: which streams are whose, the look whether he still is an operator. Must not know: what is
played, by what right one is an operator (`operators`).

Such a stream has no lease, so nothing of accounts ends it. HLS is no stream: each of its requests
is asked anew (`hls_face`).
"""

from __future__ import annotations

from collections.abc import Callable

from rawstream.connection import Exchange
from rawstream.operators import Operator


class Plays:
    """All of one process. `is_good`: whether somebody still is an operator."""

    def __init__(self, is_good: Callable[[Operator], bool]) -> None:
        self.is_good = is_good
        self._under_way: dict[Exchange, Operator] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def add(self, exchange: Exchange, operator: Operator) -> None:
        """A stream for an operator, from before its answer to its end."""
        self._under_way[exchange] = operator

    def tick(self) -> None:
        """Some times a second: cut what is left of those who are no operators any more."""
        for exchange, operator in list(self._under_way.items()):
            if exchange.over:
                del self._under_way[exchange]
            elif not self.is_good(operator):
                exchange.cut()
