"""The states of a channel, and the moves between them.

Owns: that table (design §5). Must not know: what leads to a move, what it brings about.
"""

from __future__ import annotations

from enum import Enum


class ChannelState(Enum):
    """The value is what operators see."""

    IDLE = "idle"
    STARTING = "starting"
    LIVE = "live"
    RECOVERING = "recovering"
    LINGERING = "lingering"
    STOPPING = "stopping"
    FAILED = "failed"


_S = ChannelState
MOVES: dict[ChannelState, frozenset[ChannelState]] = {
    _S.IDLE: frozenset({_S.STARTING}),
    _S.STARTING: frozenset({_S.LIVE, _S.STOPPING, _S.FAILED}),
    _S.LIVE: frozenset({_S.RECOVERING, _S.LINGERING, _S.STOPPING, _S.FAILED}),
    _S.RECOVERING: frozenset({_S.LIVE, _S.STOPPING, _S.FAILED}),
    _S.LINGERING: frozenset({_S.LIVE, _S.STOPPING, _S.FAILED}),
    _S.STOPPING: frozenset({_S.IDLE}),
    _S.FAILED: frozenset({_S.IDLE}),
}
RUNNING = frozenset({_S.STARTING, _S.LIVE, _S.RECOVERING, _S.LINGERING})
