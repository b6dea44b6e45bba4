"""A viewer's places: the moves that are legal, and that no others are."""

from __future__ import annotations

import itertools

import pytest

from rawstream.viewer import _MOVES, Place, Viewer


class NoSink:
    paused = False


@pytest.mark.parametrize(("place", "to"), list(itertools.product(Place, Place)))
def test_only_the_moves_in_the_table_are_made(place: Place, to: Place) -> None:
    viewer = Viewer(1, NoSink(), now=0.0)  # type: ignore[arg-type]
    viewer.place = place
    if to in _MOVES[place]:
        viewer.move(to)
        assert viewer.place is to
    else:
        with pytest.raises(AssertionError):
            viewer.move(to)


def test_every_place_but_the_last_leads_to_the_end() -> None:
    assert all(Place.GONE in moves for place, moves in _MOVES.items() if place is not Place.GONE)
    assert not _MOVES[Place.GONE]
