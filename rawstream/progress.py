"""How far a command is, on a terminal: bars on standard error while it fetches and reads.

Owns: what the bars look like, and that there are none where nobody sees them: in a pipe or a log
they would be rubbish. Must not know: what is fetched, what is read.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

_PER_SECOND: Final = 8  # redrawn


class Progress:
    """Bars while the `with` block runs, gone behind it; without a terminal it does nothing."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._steps: dict[str, TaskID] = {}

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            # rich takes a tenth of a second to load, which no other command should wait for
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TransferSpeedColumn,
            )

            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                console=Console(file=sys.stderr),
                transient=True,
                refresh_per_second=_PER_SECOND,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def at(self, step: str, done_bytes: int, all_bytes: int | None) -> None:
        """`step` ("fetching") is at `done_bytes` of `all_bytes`, None where nobody knows. From any
        thread.
        """
        if self._bars is None:
            return
        if step not in self._steps:
            self._steps[step] = self._bars.add_task(step, total=all_bytes)
        self._bars.update(self._steps[step], completed=done_bytes, total=all_bytes)
