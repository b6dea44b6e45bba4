"""The command line for lists: importing playlists and guides, what comes of them, the predecessor.

Owns: flags of these commands and what they print. Must not know: what an import does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from rawstream.cli_keep import Data, with_store
from rawstream.config import Config, load_config
from rawstream.engine_client import shown_url
from rawstream.errors import ConfigError, RawstreamError
from rawstream.guide_import import GuideReport, rematch
from rawstream.lineup import (
    Report,
    refresh,
    remove_list,
    try_out,
    undo_import,
    usual_interval,
)
from rawstream.playlist_import import ImportReport
from rawstream.predecessor import Moved, import_predecessor
from rawstream.progress import Progress
from rawstream.records import ListKind, ListSource
from rawstream.status import clean
from rawstream.store import Store

_HOUR_SECONDS = 3600
_ZONE = re.compile(r"([+-])([0-9]{2}):?([0-9]{2})")

imports = typer.Typer(no_args_is_help=True, help="Playlists, guides, the predecessor.")

Place = Annotated[str, typer.Argument(metavar="FILE|URL")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
Every = Annotated[
    float | None,
    typer.Option(
        metavar="HOURS", min=0, help="How often a server reads it again; 0: never, as files are."
    ),
]
UserAgent = Annotated[str | None, typer.Option(metavar="TEXT", help="What its server is told.")]


@imports.command("playlist")
def import_a_playlist(
    place: Place,
    dry_run: DryRun = False,
    merge_names: Annotated[
        bool, typer.Option("--merge-names", help="Entries of one name are one channel.")
    ] = False,
    every: Every = None,
    user_agent: UserAgent = None,
    data: Data = None,
) -> None:
    """Bring the line-up in step with a channel list (M3U). Ids stay; nothing vanishes at once."""
    wanted = _source("playlist", place, every, user_agent, {"merge_names": merge_names or None})
    report = _import(wanted, dry_run, data)
    assert isinstance(report, ImportReport), "of a playlist"
    for kind, names in report.names.items():
        if dry_run:
            for name in names:
                print(f"  {kind:9}{clean(name)}")
    _warn([f"line {one.line}: {one.reason}" for one in report.warnings], report.warning_count)
    print(report.summary().replace(" added", " would be added") if dry_run else report.summary())


@imports.command("guide")
def import_a_guide(
    place: Place,
    dry_run: DryRun = False,
    priority: Annotated[
        int | None, typer.Option(metavar="N", help="The smallest wins; others fill gaps.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(metavar="+HH:MM", help="Of times that name no zone; else UTC.")
    ] = None,
    shift: Annotated[
        int | None, typer.Option(metavar="MINUTES", help="Added to all of its times.")
    ] = None,
    every: Every = None,
    user_agent: UserAgent = None,
    data: Data = None,
) -> None:
    """Take in a guide (XMLTV, also .gz and .xz), and find each channel's programmes in it."""
    more = {
        "priority": priority,
        "zoneless_offset": None if zone is None else _offset(zone),
        "shift_seconds": None if shift is None else shift * 60,
    }
    report = _import(_source("guide", place, every, user_agent, more), dry_run, data)
    assert isinstance(report, GuideReport), "of a guide"
    _warn(list(report.warnings), report.warning_count)
    for ours, theirs in report.names.items():
        print(f"  {clean(ours)} -> {clean(theirs)}")
    print(report.summary())


def _source(
    kind: ListKind,
    place: str,
    every: float | None,
    user_agent: str | None,
    more: Mapping[str, object],
) -> tuple[ListSource, dict[str, object]]:
    """A list as it is when it is new, and what of it the flags say."""
    given = {"user_agent": user_agent, **more}
    given["interval_seconds"] = None if every is None else round(every * _HOUR_SECONDS)
    said = {name: value for name, value in given.items() if value is not None}
    source = ListSource(0, kind, _kept(place), interval_seconds=usual_interval(kind, place))
    return dataclasses.replace(source, **said), said  # type: ignore[arg-type]


def _kept(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _import(
    wanted: tuple[ListSource, dict[str, object]], dry_run: bool, data: Path | None
) -> Report:
    source, said = wanted
    with Progress() as progress:
        if dry_run:
            return asyncio.run(try_out(source, load_config(None, data=data), progress=progress.at))

        async def work(store: Store, config: Config) -> Report:
            there = {one.url for one in await store.lineup.lists(source.kind)}
            # never to be read by itself until it is there: a server would read it at the same time
            number = await store.lineup.add_list(dataclasses.replace(source, interval_seconds=0))
            known = await store.lineup.list_source(number)
            assert known is not None, "added above"
            changed = dataclasses.replace(known, held=False, **said)  # type: ignore[arg-type]
            first = known.succeeded_at is None and not known.interval_seconds
            if first:
                changed = dataclasses.replace(changed, interval_seconds=source.interval_seconds)
            quiet = dataclasses.replace(changed, interval_seconds=0) if first else changed
            if quiet != known:
                await store.lineup.set_list(quiet, before=known)
            try:
                report = await refresh(store, quiet, config, force=True, progress=progress.at)
            except RawstreamError:
                if source.url not in there:  # never was one; a slip of the finger is not kept
                    await store.lineup.delete_list(number)
                raise
            assert report is not None, "it was forced"
            if quiet != changed:
                await store.lineup.set_list(changed, before=quiet)
            return report

        return with_store(data, work)


def _warn(texts: list[str], count: int) -> None:
    for text in texts:
        print(clean(text), file=sys.stderr)
    if count > len(texts):
        print(f"… and {count - len(texts)} more warnings", file=sys.stderr)


def _offset(text: str) -> int:
    found = _ZONE.fullmatch(text)
    if found is None:
        raise ConfigError("--zone", f"'{text}' is no offset like +01:00")
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return -seconds if found[1] == "-" else seconds


@imports.command("list")
def list_lists(data: Data = None) -> None:
    """The lists there are, and how they fare."""

    async def work(store: Store, _config: Config) -> list[ListSource]:
        return await store.lineup.lists()

    print(f"{'KIND':10}{'EVERY':8}{'READ':18}{'STATE':10}PLACE")
    for one in with_store(data, work):
        every = f"{one.interval_seconds / _HOUR_SECONDS:g} h" if one.interval_seconds else "never"
        when = one.succeeded_at
        read = "never" if when is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(when))
        state = "failed" if one.last_error else "well"
        state = "off" if not one.enabled else "held" if one.held else state
        place = shown_url(one.url) if "://" in one.url else one.url
        print(f"{one.kind:10}{every:8}{read:18}{state:10}{clean(place)}")
        if one.last_error:
            print(f"{'':10}{clean(one.last_error)}")


@imports.command("remove")
def remove_a_list(place: Place, data: Data = None) -> None:
    """Read a list no more. A playlist's channels stay, a guide's programmes go."""

    async def work(store: Store, _config: Config) -> None:
        await remove_list(store, await _known(store, place))

    with_store(data, work)
    print("removed")


@imports.command("undo")
def undo_an_import(place: Place, data: Data = None) -> None:
    """Take a playlist's last import back. It is read again only when you import it again."""

    async def work(store: Store, _config: Config) -> bool:
        return await undo_import(store, await _known(store, place, "playlist"))

    if with_store(data, work):
        print("taken back; the list is not read by itself until it is imported again")
    else:
        print("there is nothing to take back")


async def _known(store: Store, place: str, kind: ListKind | None = None) -> ListSource:
    for source in await store.lineup.lists(kind):
        if source.url == _kept(place):
            return source
    raise ConfigError("FILE|URL", "no such list was imported")


@imports.command("predecessor")
def import_the_predecessor(
    database: Annotated[Path, typer.Argument(metavar="DB", help="Its unified-iptv.db.")],
    env: Annotated[
        Path | None, typer.Option("--env", metavar="FILE", help="Its .env, for the port.")
    ] = None,
    data: Data = None,
) -> None:
    """Take over a unified-iptv-acestream: accounts with their passwords, channels with their ids,
    and where its lists and guides are.
    """

    async def work(store: Store, _config: Config) -> Moved:
        moved = await import_predecessor(store, database, env)
        await rematch(store)
        return moved

    moved = with_store(data, work)
    for note in moved.notes:
        print(clean(note), file=sys.stderr)
    print(
        f"{moved.accounts} accounts, {moved.channels} channels in {moved.categories} new "
        f"categories, {moved.playlists} playlists and {moved.guides} guides taken over"
    )
    if moved.port is not None:
        print(f"a server started from now on also listens on port {moved.port}")
