"""What happens, posted as JSON to the addresses that the operator named.

Owns: one queue per address, its bound, what is tried again and when. Must not know: what is worth
telling (`happenings`).

Whoever says something is never kept waiting: it is put into queues, and what an address does not
take in time is dropped, the oldest first. At the end what waits is sent, for a short while. The
addresses hold secrets: of one only its host is ever shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson

from rawstream.errors import UpstreamError
from rawstream.fetch import host_of, post
from rawstream.fetch_policy import FetchPolicy
from rawstream.happenings import Happening

logger = logging.getLogger(__name__)

PAUSES: Final = (1.0, 5.0, 30.0, 120.0)  # seconds between two tries
_AGAIN: Final = frozenset((408, 425, 429))  # of the refusals, those that time may heal


class _Hook:
    """One address."""

    def __init__(self, url: str, queue: int) -> None:
        self.url = url
        self.label = host_of(url)
        self.queue: deque[bytes] = deque(maxlen=queue)
        self.something = asyncio.Event()
        self.left = 0  # messages that wait or are on their way
        self.failing = False


class Webhooks:
    """All addresses of this process. `results`: how many messages were sent, failed after all
    tries, or were dropped because too many waited.
    """

    def __init__(
        self,
        urls: Sequence[str],
        policy: FetchPolicy,
        *,
        queue: int,
        seconds: float,
        pauses: Sequence[float] = PAUSES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`queue`: messages that wait per address at most. `seconds`: for one try."""
        self._hooks = [_Hook(url, queue) for url in urls]
        self._policy = policy
        self._seconds = seconds
        self._pauses = pauses
        self._sleep = sleep
        self._ending = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.results: Counter[str] = Counter()

    def say(self, happening: Happening) -> None:
        """Have it sent. Returns at once."""
        if not self._hooks:
            return
        message = message_of(happening)
        for hook in self._hooks:
            if len(hook.queue) == hook.queue.maxlen:
                self.results["dropped"] += 1
                hook.left -= 1
            hook.queue.append(message)
            hook.left += 1
            hook.something.set()
        self._idle.clear()

    async def run(self) -> None:
        """Send what is said, for ever; each address at its own pace."""
        async with asyncio.TaskGroup() as group:
            for hook in self._hooks:
                group.create_task(self._serve(hook), name=f"webhook {hook.label}")

    async def drain(self, seconds: float) -> None:
        """The end is near: have `run` try what waits once more, within this time. What is left is
        dropped, and said to be.
        """
        self._ending.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)
        for hook in self._hooks:
            if hook.left:
                self.results["dropped"] += hook.left
                logger.warning(
                    "webhook %s: %d message(s) dropped at the end", hook.label, hook.left
                )

    async def _serve(self, hook: _Hook) -> None:
        while True:
            await hook.something.wait()
            hook.something.clear()
            while hook.queue:
                message = hook.queue.popleft()
                try:
                    await self._deliver(hook, message)
                except Exception:  # a bug of ours is not to end all messages
                    logger.exception("webhook %s: a message could not be sent", hook.label)
                    self.results["failed"] += 1
                hook.left -= 1
            if not any(one.left for one in self._hooks):
                self._idle.set()

    async def _deliver(self, hook: _Hook, message: bytes) -> None:
        problem = ""
        for pause in (*self._pauses, None):
            last = pause is None or self._ending.is_set()
            try:
                await post(hook.url, message, policy=self._policy, total_seconds=self._seconds)
            except UpstreamError as error:
                problem = error.reason
                status = error.status or 0
                if last or pause is None or (400 <= status < 500 and status not in _AGAIN):
                    break
                await self._pause(pause)
            else:
                self.results["sent"] += 1
                if hook.failing:
                    hook.failing = False
                    logger.info("webhook %s takes messages again", hook.label)
                return
        self.results["failed"] += 1
        if not hook.failing:  # said once
            hook.failing = True
            logger.warning("webhook %s does not take messages: %s", hook.label, problem)

    async def _pause(self, seconds: float) -> None:
        """As long as that, or until the end is near."""
        pause = asyncio.ensure_future(self._sleep(seconds))
        end = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait((pause, end), return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            end.cancel()


def message_of(happening: Happening) -> bytes:
    """JSON: the event's fields, those without a value left out, and it all in a sentence, which
    chat programs show: as `text` (Slack, Mattermost) and as `content` (Discord).
    """
    fields = {
        name: value
        for name, value in dataclasses.asdict(happening).items()
        if value not in ("", None)
    }
    sentence = happening.sentence
    return orjson.dumps({**fields, "text": sentence, "content": sentence})
