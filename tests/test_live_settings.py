"""What is set over the configuration: kept, checked, in force in every process, taken back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from rawstream.config import Config, Limits
from rawstream.errors import ConfigError
from rawstream.live_settings import LIVE, SETTING, LiveSettings, value_of, with_setting
from rawstream.store import Store


class Process:
    """One that lives by the settings."""

    def __init__(self, store: Store, config: Config) -> None:
        self.applied: list[Config] = []
        self.settings = LiveSettings(store, config, lambda _was, now: self.applied.append(now))


async def test_a_setting_is_in_force_here_and_elsewhere_until_it_is_taken_back(
    store: Store,
) -> None:
    config = Config(limits=Limits(viewers=50), adult_hidden=True)
    here, there = Process(store, config), Process(store, config)
    await here.settings.change({"adult_hidden": False, "limits.viewers": 9})
    await there.settings.load()
    for process in (here, there):
        (now,) = process.applied
        assert (now.adult_hidden, now.limits.viewers, now.limits.channels) == (False, 9, 200)
        assert process.settings.origin_of("limits.viewers") == "here"
    await there.settings.load()
    assert len(there.applied) == 1, "nothing new"
    await here.settings.change({"log_level": "debug"})
    await there.settings.change({"limits.viewers": None})
    assert there.settings.config.log_level == "debug", "nobody undoes what another has set"
    await here.settings.load()
    assert (here.settings.config.limits.viewers, here.settings.config.adult_hidden) == (50, False)
    assert here.settings.origin_of("limits.viewers") == "default"


async def test_of_two_who_set_something_at_once_neither_undoes_the_other(store: Store) -> None:
    process = Process(store, Config())
    await asyncio.gather(
        process.settings.change({"limits.viewers": 9}),
        process.settings.change({"adult_hidden": True}),
    )
    afterwards = Process(store, Config())
    await afterwards.settings.load()
    for now in (process.settings.config, afterwards.settings.config):
        assert (now.limits.viewers, now.adult_hidden) == (9, True)


async def test_of_a_change_all_is_set_or_nothing(store: Store) -> None:
    process = Process(store, Config())
    for name, value in (
        ("public_url", "ftp://x"),
        ("hls_target_seconds", 99),
        ("limits.viewers", 0),
        ("limit_policy", "pray"),
        ("port", 80),
        ("limits.channels", 5),
    ):
        with pytest.raises(ConfigError) as told:
            await process.settings.change({"adult_hidden": True, name: value})
        assert told.value.field == name
    assert await store.get_setting(SETTING) is None
    assert (process.applied, process.settings.set_here) == ([], {})
    await process.settings.change({"public_url": "https://tv.example/"})
    assert process.applied[0].public_url == "https://tv.example", "as the configuration has it"


@pytest.mark.parametrize("kept", ["no json", "[1]", '{"public_url": "ftp://x", "port": 1}'])
async def test_what_was_kept_by_another_version_stops_nobody(
    store: Store, kept: str, caplog: pytest.LogCaptureFixture
) -> None:
    await store.set_setting(SETTING, kept)
    process = Process(store, Config())
    with caplog.at_level(logging.WARNING):
        await process.settings.load()
        await process.settings.load()
    assert process.settings.config == Config()
    assert process.settings.origin_of("public_url") == "default"
    assert len(caplog.records) == ("ftp" in kept)
    await process.settings.change({"adult_hidden": True})
    assert process.settings.set_here == {"adult_hidden": True}


def test_each_setting_there_is_to_change_is_one_of_the_configuration() -> None:
    for name in LIVE:
        value = value_of(Config(), name)
        assert with_setting(Config(), name, value) == Config()
