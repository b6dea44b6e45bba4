"""What the demo shows: accounts and a line-up over the simulated engine's channels.

Owns: these few made-up things. Must not know: how they are served.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from rawstream.passwords import Passwords
from rawstream.records import Account, Channel, ChannelSource
from rawstream.simulator import SimContent
from rawstream.store import Store

_CATEGORIES: Final = ("Pictures", "Sounds")


class DemoAccounts(NamedTuple):
    """Passwords that were made for this run; the viewer's name is `demo`, the admin's `admin`."""

    viewer_password: str
    admin_password: str


async def furnish(store: Store, contents: Sequence[SimContent], *, public: bool) -> DemoAccounts:
    """Put accounts and channels into an empty store. `public`: others than this machine can reach
    it, so that the viewer's password must not be one that everybody knows.
    """
    viewer = secrets.token_urlsafe(9) if public else "demo"
    admin = secrets.token_urlsafe(12)
    passwords = Passwords()
    try:
        await store.accounts.add(Account(0, "demo", await passwords.hash(viewer)))
        await store.accounts.add(Account(0, "admin", await passwords.hash(admin), admin=True))
    finally:
        passwords.close()
    for position, content in enumerate(contents):
        radio = content.clip.name.startswith("four")
        category = await store.lineup.category_named(_CATEGORIES[radio])
        source = ChannelSource("content_id", content.content_id)
        await store.lineup.add_channel(
            Channel(
                0,
                content.name,
                position,
                str(position + 1),
                guide_id=f"{content.clip.stem}.demo",
                categories=(category.id,),
                sources=(source,),
            )
        )
    return DemoAccounts(viewer, admin)
