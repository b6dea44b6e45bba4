"""Ways in which bytes may come in pieces: what a parser makes of them must not depend on it."""

from __future__ import annotations

import itertools
import random


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def byte_by_byte(raw: bytes) -> list[bytes]:
    return [raw[i : i + 1] for i in range(len(raw))]


def at_random(raw: bytes, seed: int = 7) -> list[bytes]:
    chance = random.Random(seed)
    cuts = sorted(chance.randrange(len(raw) + 1) for _ in range(6))
    return [raw[a:b] for a, b in itertools.pairwise([0, *cuts, len(raw)]) if a != b]


SPLITS = [whole, byte_by_byte, at_random]
