"""What the demo has: the passwords everybody may know, and the ones nobody may."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rawstream.demo import furnish
from rawstream.guide import listings
from rawstream.passwords import Passwords
from rawstream.simulator import bundled_contents
from rawstream.store import Store


@pytest.mark.parametrize("public", [False, True])
async def test_only_where_nobody_else_comes_the_password_is_a_known_one(
    tmp_path: Path, public: bool
) -> None:
    store = await Store.open(tmp_path)
    contents = bundled_contents()
    made = await furnish(store, contents, public=public)
    assert (made.viewer_password == "demo") is not public
    passwords = Passwords()
    for name, password in (("demo", made.viewer_password), ("admin", made.admin_password)):
        account = await store.accounts.by_name(name)
        assert account is not None
        assert account.admin is (name == "admin")
        assert await passwords.verify(account.password_hash, password)
    passwords.close()
    channels = await store.lineup.channels()
    assert [channel.name for channel in channels] == [content.name for content in contents]
    assert all(len(channel.sources) > 1 and channel.categories for channel in channels)
    assert set(await store.guide.guide_ids()) == {channel.id for channel in channels}
    now = int(time.time())
    for hours in (-20, 0, 24 * 6):
        at = now + hours * 3600
        for channel in channels:
            assert len(await listings(store.guide, channel.guide_id, at, at + 1)) == 1
    await store.close()
