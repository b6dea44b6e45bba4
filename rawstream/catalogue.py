"""The line-up in memory: what each kind of account sees of it, and when it changes.

Owns: one immutable catalogue per version of the line-up, views of it per class of accounts, the
look for changes made by anybody. Must not know: HTTP, how rows are kept, who is logged in.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from rawstream.errors import StateError
from rawstream.extinf import writable
from rawstream.records import Account, Category, Channel
from rawstream.store import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5  # design §7: a command's change is seen within two seconds
_ADDRESSED_VIEWS: Final = 64
# for channels in no category: players demand one (Xtream reference §3.3)
UNSORTED: Final = Category(2_147_483_647, "Other", position=1 << 30)


@dataclass(frozen=True, slots=True)
class View:
    """What one class of accounts sees. `key` is equal for equal views of one version.

    Every channel has a category here: the first that the view shows, or `UNSORTED`.
    `categories` have at least one channel each. A channel's `guide_id` is the guide it really has,
    by hand or by matching; its list's own only where no guide of ours is known (reference §13 row
    13: `epg_channel_id` = `tvg-id` = XMLTV id).
    """

    key: Hashable
    channels: tuple[Channel, ...]
    categories: tuple[Category, ...]
    by_id: Mapping[int, Channel] = field(repr=False)
    own_logos: bool = False  # some are ours, and have no address yet


def _with_guide(channel: Channel, guide_id: str) -> Channel:
    return channel if channel.guide_id == guide_id else replace(channel, guide_id=guide_id)


def _is_ours(logo: str) -> bool:
    return logo.startswith("/")


class Catalogue:
    """The line-up and its guides at one version."""

    def __init__(
        self,
        version: Hashable,
        channels: Collection[Channel] = (),
        categories: Collection[Category] = (),
        *,
        guide_ids: Mapping[int, str] | None = None,
        adult_hidden: bool = False,
    ) -> None:
        self.version = version
        # an id is written the same in every list (Xtream reference §1), so as M3U can hold it
        own = guide_ids or {}
        self.channels = tuple(
            _with_guide(channel, own.get(channel.id, writable(channel.guide_id)))
            for channel in channels
            if channel.enabled
        )
        self.names = {channel.id: channel.name for channel in self.channels}
        self._categories = tuple(categories)
        self._adult = {category.id for category in categories if category.adult}
        self._adult_hidden = adult_hidden
        self._views: dict[Hashable, View] = {}
        self._addressed_views: OrderedDict[Hashable, View] = OrderedDict()

    def visible(self, account: Account, base: str = "") -> View:
        """The part of the line-up that this account may see and watch. `base`: what stands before
        the path of logos that are ours, for lists that name them.
        """
        hidden = self._adult_hidden or not account.show_adult
        key = (self.version, account.categories, hidden)
        view = self._views.get(key)
        if view is None:
            view = self._views[key] = self._made(key, account.categories, hidden)
        return self._addressed(view, base) if base and view.own_logos else view

    def _addressed(self, view: View, base: str) -> View:
        key = (view.key, base)
        found = self._addressed_views.get(key)
        if found is None:
            channels = tuple(
                replace(channel, logo=base + channel.logo) if _is_ours(channel.logo) else channel
                for channel in view.channels
            )
            by_id = {channel.id: channel for channel in channels}
            found = View(key, channels, view.categories, by_id)
            self._addressed_views[key] = found
            if len(self._addressed_views) > _ADDRESSED_VIEWS:  # anybody can make up a Host
                self._addressed_views.popitem(last=False)
        return found

    def is_adult(self, channel: Channel) -> bool:
        return channel.adult or not self._adult.isdisjoint(channel.categories)

    def _made(self, key: Hashable, allowed: frozenset[int] | None, hidden: bool) -> View:
        shown = [
            channel
            for channel in self.channels
            if (allowed is None or not allowed.isdisjoint(channel.categories))
            and not (hidden and self.is_adult(channel))
        ]
        used = {category for channel in shown for category in channel.categories}
        categories = [
            category
            for category in self._categories
            if category.id in used
            and (allowed is None or category.id in allowed)
            and not (hidden and category.id in self._adult)
        ]
        if any(not channel.categories for channel in shown):
            categories.append(UNSORTED)
        return View(
            key,
            tuple(shown),
            tuple(categories),
            {channel.id: channel for channel in shown},
            any(_is_ours(channel.logo) for channel in shown),
        )


class LiveCatalogue:
    """The newest catalogue of a store. `on_change(kinds)` is awaited after others' changes too."""

    def __init__(
        self,
        store: Store,
        *,
        adult_hidden: bool = False,
        on_change: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        self._store = store
        self._adult_hidden = adult_hidden
        self._on_change = on_change
        self._kinds: Mapping[str, int] = {}
        self._data_version = -1
        self.current = Catalogue(0)

    async def reload(self) -> None:
        """Read the line-up again. Raises StateError."""
        kinds = await self._store.db.kinds()
        version = (kinds.get("lineup", 0), kinds.get("guide", 0))
        channels = await self._store.lineup.channels()
        categories = await self._store.lineup.categories()
        guide_ids = await self._store.guide.guide_ids()
        # tens of thousands of channels are a fifth of a second
        self.current = await asyncio.to_thread(
            Catalogue,
            version,
            channels,
            categories,
            guide_ids=guide_ids,
            adult_hidden=self._adult_hidden,
        )

    async def look(self) -> None:
        """Read again what has changed since the last look. Raises StateError."""
        data_version = await self._store.db.data_version()
        if data_version == self._data_version:
            return
        kinds = await self._store.db.kinds()
        changed = {kind for kind, version in kinds.items() if self._kinds.get(kind) != version}
        if changed & {"lineup", "guide"}:
            await self.reload()
        if changed and self._on_change is not None:
            await self._on_change(changed)
        self._kinds, self._data_version = kinds, data_version

    async def watch(self) -> None:
        """Look again and again; a database that can't be read for a while is only logged."""
        told = ""
        while True:
            try:
                await self.look()
                told = ""
            except StateError as error:
                if str(error) != told:
                    told = str(error)
                    logger.error("the line-up can't be read: %s", error)
            except Exception as error:  # one row we can't read is not to end all looking
                if repr(error) != told:
                    told = repr(error)
                    logger.exception("a look for changes failed")
            await asyncio.sleep(LOOK_SECONDS)
