"""What goes in and out a second, and whether that is as much as may go out.

Owns: the rates of the last seconds, the cap. Must not know: whose bytes they are.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_LOOKS: Final = 4  # between the first and the last of which a rate is measured


class Bandwidth:
    """Rates in bit/s, of what `measure` was told. `cap_bits_per_second` 0: none."""

    def __init__(self, cap_bits_per_second: int) -> None:
        self.cap_bits_per_second = cap_bits_per_second
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=_LOOKS)  # when, in, out
        self.bits_in_per_second = 0.0
        self.bits_out_per_second = 0.0

    def measure(self, now: float, bytes_in: int, bytes_out: int) -> None:
        """Once a second: the bytes until now."""
        self._looks.append((now, bytes_in, bytes_out))
        (since, *before), (until, *after) = self._looks[0], self._looks[-1]
        if until > since:
            self.bits_in_per_second, self.bits_out_per_second = (
                (a - b) * 8 / (until - since) for a, b in zip(after, before, strict=True)
            )

    @property
    def measured(self) -> bool:
        """Whether the rates begin to say something."""
        return bool(self._looks)

    @property
    def crowded(self) -> bool:
        """Whether as much goes out as may, or more."""
        return 0 < self.cap_bits_per_second <= self.bits_out_per_second
