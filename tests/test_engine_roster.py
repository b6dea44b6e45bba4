"""Which engines there are: numbers that stay, a store that can't be read or written."""

from __future__ import annotations

from typing import Any

import pytest

from rawstream.config import Config, load_config
from rawstream.engine_roster import SETTING, EngineRoster, engine_url
from rawstream.errors import ConfigError, StateError
from rawstream.hub import ChannelHub
from rawstream.journal import StopJournal
from rawstream.store import Store

ONE, TWO, THREE = (f"http://10.0.0.{number}:6878" for number in (1, 2, 3))


async def roster_of(store: Store, *urls: str) -> tuple[EngineRoster, ChannelHub]:
    config = Config(engines=urls)
    hub = ChannelHub(config, StopJournal(None), own_ports=lambda: ())
    roster = EngineRoster(store, hub, config)
    await roster.load()
    return roster, hub


def numbers(roster: EngineRoster) -> dict[str, int]:
    return {entry.url: entry.number for entry, _engine in roster.all()}


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("10.0.0.1", ONE),
        ("http://10.0.0.1:6878/", ONE),
        ("http://[::1]:1", "http://[::1]:1"),
        ("https://10.0.0.1", None),
        ("http://u:p@10.0.0.1", None),
        ("http://10.0.0.1:99999", None),
        ("http://a\0b", None),
        ("a b", None),
        ("http://[", None),
        ("x" * 64, None),
        ("motòre", None),
        ("engine_1.lan.", "http://engine_1.lan.:6878"),
        ("http://[fe80::1%eth0]", "http://[fe80::1%eth0]:6878"),
        ("", None),
    ],
)
def test_an_address_has_one_spelling(text: str, url: str | None) -> None:
    if url is not None:
        assert engine_url(text) == url
        return
    with pytest.raises(ConfigError) as info:
        engine_url(text)
    assert info.value.field == "url"


async def test_an_address_keeps_its_number_whatever_the_configuration_names(store: Store) -> None:
    roster, _hub = await roster_of(store, ONE, TWO)
    assert numbers(roster) == {ONE: 1, TWO: 2}
    roster, _hub = await roster_of(store, TWO, THREE)
    assert numbers(roster) == {TWO: 2, THREE: 3}
    roster, _hub = await roster_of(store, ONE)
    assert numbers(roster) == {ONE: 1}


async def test_the_default_that_never_answered_gives_way_to_an_engine_that_is_named(
    store: Store,
) -> None:
    config = Config()
    (default,) = config.engines

    async def begun(config: Config) -> tuple[EngineRoster, ChannelHub]:
        hub = ChannelHub(config, StopJournal(None), own_ports=lambda: ())
        roster = EngineRoster(store, hub, config)
        await roster.load()
        return roster, hub

    roster, hub = await begun(config)
    assert numbers(roster) == {default: 1}
    await roster.add(TWO)
    assert numbers(roster) == {TWO: 2}
    assert [engine.url for engine in hub.pool.engines] == [TWO]
    roster, _hub = await begun(config)
    assert numbers(roster) == {TWO: 2}, "after a restart, too"
    named, _hub = await begun(load_config(engines=(default,)))
    assert numbers(named) == {default: 1, TWO: 2}, "somebody says that it is one"
    await roster.add(default)
    assert numbers(roster) == {default: 1, TWO: 2}


async def test_the_default_that_has_answered_stays(store: Store) -> None:
    hub = ChannelHub(Config(), StopJournal(None), own_ports=lambda: ())
    roster = EngineRoster(store, hub, Config())
    await roster.load()
    ((_entry, engine),) = roster.all()
    engine.version = "3.2.3"
    await roster.add(TWO)
    assert numbers(roster) == {engine.url: 1, TWO: 2}


async def test_what_another_process_has_changed_is_done_too(store: Store) -> None:
    ours, hub = await roster_of(store, ONE)
    theirs, _hub = await roster_of(store, ONE)
    await theirs.add(TWO, 3)
    await theirs.change(1, draining=True, capacity=8)
    await ours.load()
    engines = [(e.url, e.capacity, e.state.value) for e in hub.pool.engines]
    assert engines == [(ONE, 8, "draining"), (TWO, 3, "unknown")]
    await theirs.remove(2)
    await theirs.change(1, draining=False)
    await ours.load()
    assert [(e.url, e.state.value) for e in hub.pool.engines] == [(ONE, "unknown")]


async def test_what_is_guarded_are_engines_in_use_and_those_that_are_configured(
    store: Store,
) -> None:
    roster, _hub = await roster_of(store, ONE)
    told: list[tuple[str, ...]] = []
    roster.on_change = lambda urls: told.append(tuple(urls))
    await roster.add(TWO)
    await roster.remove(1)
    await roster.remove(2)
    assert told == [(ONE, TWO), (ONE, TWO), (ONE,)]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"number": 1}]', "null"])
async def test_what_cannot_be_read_leaves_the_configured_ones(store: Store, text: str) -> None:
    await store.set_setting(SETTING, text)
    roster, _hub = await roster_of(store, ONE)
    assert numbers(roster) == {ONE: 1}


async def test_what_cannot_be_kept_is_not_done(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    roster, hub = await roster_of(store, ONE)

    async def full(*_: Any) -> None:
        raise StateError("rawstream.db", "the disk is full")

    monkeypatch.setattr(store, "set_setting", full)
    for change in (roster.add(TWO), roster.remove(1), roster.change(1, draining=True)):
        with pytest.raises(StateError):
            await change
    assert numbers(roster) == {ONE: 1}
    assert [(e.url, e.state.value) for e in hub.pool.engines] == [(ONE, "unknown")]
