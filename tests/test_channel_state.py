"""The table of a channel's states: everybody gets to the end."""

from __future__ import annotations

from rawstream.channel_state import MOVES, RUNNING, ChannelState


def test_every_state_has_its_moves_and_a_way_to_the_end() -> None:
    assert set(MOVES) == set(ChannelState)
    reachable = {ChannelState.IDLE}
    for _ in ChannelState:
        reachable |= {to for state in reachable for to in MOVES[state]}
    assert reachable == set(ChannelState)
    for state in RUNNING:
        assert ChannelState.STOPPING in MOVES[state]


def test_what_runs_can_fail_and_what_is_over_only_begins_anew() -> None:
    for state in ChannelState:
        if state in RUNNING:
            assert ChannelState.FAILED in MOVES[state]
        elif state is not ChannelState.IDLE:
            assert MOVES[state] == {ChannelState.IDLE}
