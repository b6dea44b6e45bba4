"""The command line for what is kept: accounts, channels, copies.

Owns: flags of these commands and what they print. Must not know: what a running server does with a
change; it sees it by itself within two seconds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
import uvloop

from rawstream.config import Config, load_config
from rawstream.database import FILE_NAME
from rawstream.database import backup as back_up
from rawstream.database import restore as put_back
from rawstream.errors import ConfigError
from rawstream.extinf import writable
from rawstream.guide_import import rematch
from rawstream.lineup_edit import ChannelEdit, add_channel, change_channel, source_of
from rawstream.passwords import PASSWORD_LIMIT, Passwords
from rawstream.records import Account, Channel, ChannelKind
from rawstream.status import clean
from rawstream.store import Store
from rawstream.store_search import Assigned, LiveMapping

_Result = TypeVar("_Result")

Data = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where state is kept.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
PasswordFlag = Annotated[str | None, typer.Option("--password", help="Else a random one is made.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read it from the first line of the input.")
]
MaxConnections = Annotated[
    int | None, typer.Option(min=0, max=100_000, help="Players at once; 0: no limit.")
]
Expires = Annotated[
    str | None, typer.Option(metavar="DATE", help="YYYY-MM-DD, its end in UTC; or never.")
]
Admin = Annotated[bool | None, typer.Option("--admin/--no-admin")]
Trial = Annotated[bool | None, typer.Option("--trial/--no-trial")]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable")]
Formats = Annotated[
    str | None, typer.Option(metavar="LIST", help="What it may play: ts,m3u8 or one of them.")
]
_FORMATS: Final = ("ts", "m3u8")

users = typer.Typer(no_args_is_help=True, help="Accounts: who may watch.")
channels = typer.Typer(no_args_is_help=True, help="The line-up.")


def with_store(data: Path | None, work: Callable[[Store, Config], Awaitable[_Result]]) -> _Result:
    """Run a command on the store of a data directory, which is made if it is not there."""
    config = load_config(None, data=data)

    async def run() -> _Result:
        store = await Store.open(config.data)
        try:
            return await work(store, config)
        finally:
            await store.close()

    return uvloop.run(run())


# -- accounts --


@users.command("add")
def user_add(
    name: Name,
    password: PasswordFlag = None,
    password_stdin: PasswordStdin = False,
    max_connections: MaxConnections = None,
    expires: Expires = None,
    admin: Admin = None,
    trial: Trial = None,
    formats: Formats = None,
    data: Data = None,
) -> None:
    """Make an account; without a password a random one is made and shown this once."""
    given = _password(password, password_stdin)
    chosen = given or secrets.token_urlsafe(9)

    async def work(store: Store, _config: Config) -> None:
        account = _changed(
            Account(0, name, ""), max_connections, expires, admin, trial, None, formats
        )
        await store.accounts.add(await _with_password(account, chosen))

    with_store(data, work)
    print(f"account {name} is there")
    if given is None:
        print(f"password {chosen}")


@users.command("set")
def user_set(
    name: Name,
    password: PasswordFlag = None,
    password_stdin: PasswordStdin = False,
    max_connections: MaxConnections = None,
    expires: Expires = None,
    admin: Admin = None,
    trial: Trial = None,
    enabled: Enabled = None,
    formats: Formats = None,
    data: Data = None,
) -> None:
    """Change an account. Streams that it is not allowed any more end within two seconds."""
    given = _password(password, password_stdin)

    async def work(store: Store, _config: Config) -> None:
        before = await _found(store, name)
        account = _changed(before, max_connections, expires, admin, trial, enabled, formats)
        if given is not None:
            account = await _with_password(account, given)
        await store.accounts.set(account, before=before)

    with_store(data, work)
    print(f"account {name} is changed")


@users.command("list")
def user_list(data: Data = None) -> None:
    """All accounts, a line each."""

    async def work(store: Store, _config: Config) -> list[Account]:
        return await store.accounts.accounts()

    print(f"{'NAME':24}{'STATE':10}{'PLAYERS':>8}  {'EXPIRES':12}KIND")
    for account in with_store(data, work):
        state = "enabled" if account.enabled else "disabled"
        players = str(account.max_connections or "any")
        when = account.expires_at
        date = "never" if when is None else datetime.fromtimestamp(when, UTC).date().isoformat()
        kind = " ".join(word for word in ("admin", "trial") if getattr(account, word))
        print(f"{clean(account.username):24}{state:10}{players:>8}  {date:12}{kind}".rstrip())


@users.command("kick")
def user_kick(name: Name, data: Data = None) -> None:
    """End the streams of an account within two seconds; it may log in and open others."""

    async def work(store: Store, _config: Config) -> None:
        await store.accounts.kick((await _found(store, name)).id, int(time.time()))

    with_store(data, work)
    print(f"account {name} is kicked: its streams end within two seconds")


@users.command("token")
def user_token(
    name: Name,
    reset: Annotated[
        bool, typer.Option("--reset", help="Make a new one; the old one is good for nothing.")
    ] = False,
    data: Data = None,
) -> None:
    """Show the addresses that stand in for user and password, by the account's token."""

    async def work(store: Store, config: Config) -> tuple[str, Config]:
        account = await _found(store, name)
        token = await store.accounts.reset_token(account.id) if reset else account.token
        return token, config

    token, config = with_store(data, work)
    base = config.public_url or f"http://SERVER:{config.port}"
    print(f"list   {base}/get.php?token={token}&type=m3u_plus&output=ts")
    print(f"guide  {base}/xmltv.php?token={token}")
    print(f"stream {base}/live/{token}/ID.ts")


@users.command("delete")
def user_delete(name: Name, data: Data = None) -> None:
    """Remove an account; its streams end within two seconds."""

    async def work(store: Store, _config: Config) -> None:
        await store.accounts.delete((await _found(store, name)).id)

    with_store(data, work)
    print(f"account {name} is gone")


async def _found(store: Store, name: str) -> Account:
    account = await store.accounts.by_name(name)
    if account is None:
        raise ConfigError("NAME", f"there is no account '{name}'")
    return account


def _password(flag: str | None, stdin: bool) -> str | None:
    """The password given, None without one. Raises ConfigError."""
    if flag is not None and stdin:
        raise ConfigError("--password-stdin", "one of --password and --password-stdin is enough")
    given = flag
    if stdin:
        line = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline()
        given = line.rstrip("\r\n")
    if given is not None and not 1 <= len(given) <= PASSWORD_LIMIT:
        raise ConfigError("--password", f"takes 1 to {PASSWORD_LIMIT} characters")
    if given is not None and (not given.isprintable() or set(given) & set("/:?#%&+ \\")):
        # players put it into URLs unencoded (Xtream reference §2.1)
        raise ConfigError("--password", "players break on blanks and on / : ? # % & + \\")
    return given


async def _with_password(account: Account, password: str) -> Account:
    passwords = Passwords()
    try:
        return dataclasses.replace(account, password_hash=await passwords.hash(password))
    finally:
        passwords.close()


def _changed(
    account: Account,
    max_connections: int | None,
    expires: str | None,
    admin: bool | None,
    trial: bool | None,
    enabled: bool | None,
    formats: str | None,
) -> Account:
    given = {
        "max_connections": max_connections, "admin": admin, "trial": trial, "enabled": enabled
    }  # fmt: skip
    values: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if expires is not None:
        values["expires_at"] = _moment(expires)
    if formats is not None:
        values["allowed_formats"] = _formats(formats)
    return dataclasses.replace(account, **values)  # type: ignore[arg-type]


def _formats(text: str) -> tuple[str, ...]:
    """Raises ConfigError. Players take the first: that is ts (Xtream reference §3.1)."""
    words = {word.strip().lower() for word in text.split(",") if word.strip()}
    unknown = sorted(words.difference(_FORMATS))
    if unknown or not words:
        said = f"'{unknown[0]}' is none of" if unknown else "takes one or more of"
        raise ConfigError("--formats", f"{said} {', '.join(_FORMATS)}")
    return tuple(word for word in _FORMATS if word in words)


def _moment(text: str) -> int | None:
    """The last second of a day in UTC, None for 'never'. Raises ConfigError."""
    if text.lower() == "never":
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError("--expires", f"'{text}' is no date like 2027-01-31, nor never") from error
    return int(day.replace(hour=23, minute=59, second=59).timestamp())


# -- channels --

ChannelId = Annotated[int, typer.Argument(metavar="ID")]
Source = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="LINK", help="AceStream id or link, or URL; best first."),
]
Category = Annotated[str | None, typer.Option(metavar="NAME", help="Made if it is not there.")]
Number = Annotated[str | None, typer.Option(metavar="N")]
Logo = Annotated[str | None, typer.Option(metavar="URL")]
GuideId = Annotated[str | None, typer.Option(metavar="ID", help="What guides call it (tvg-id).")]
Kind = Annotated[str | None, typer.Option(metavar="KIND", help="live, movie or episode.")]
Extension = Annotated[
    str | None, typer.Option(metavar="EXT", help="What file a film is: mp4, mkv, ts …")
]
Series = Annotated[
    str | None, typer.Option("--series", metavar="NAME", help="An episode's series; made if new.")
]
Season = Annotated[int | None, typer.Option(metavar="N", min=0, max=9999)]
Episode = Annotated[int | None, typer.Option(metavar="N", min=0, max=99_999)]
_KINDS: Final[tuple[ChannelKind, ...]] = ("live", "movie", "episode")


def _kind(text: str | None) -> ChannelKind | None:
    if text is None:
        return None
    for kind in _KINDS:
        if text.lower() == kind:
            return kind
    raise ConfigError("--kind", f"'{text}' is none of {', '.join(_KINDS)}")


@channels.command("list")
def channel_list(kind: Kind = None, data: Data = None) -> None:
    """The line-up, a line each."""
    wanted = _kind(kind)

    async def work(store: Store, _config: Config) -> tuple[list[Channel], dict[int, str]]:
        names = {category.id: category.name for category in await store.lineup.categories()}
        return await store.lineup.channels(), names

    found, names = with_store(data, work)
    print(f"{'ID':>6}  {'NUMBER':8}{'NAME':40}{'CATEGORY':24}STATE")
    for channel in found:
        if wanted is not None and channel.kind != wanted:
            continue
        category = names.get(channel.categories[0], "") if channel.categories else ""
        state = "disabled" if not channel.enabled else "stale" if channel.stale_since else ""
        state = " ".join(filter(None, (_film_text(channel), state)))
        name, shown = clean(channel.name)[:38], clean(category)[:22]
        print(f"{channel.id:>6}  {channel.number:8}{name:40}{shown:24}{state}".rstrip())


def _film_text(channel: Channel) -> str:
    if channel.kind == "episode":
        return f"episode S{channel.season:02}E{channel.episode:02}"
    return "" if channel.kind == "live" else channel.kind


@channels.command("add")
def channel_add(
    name: Name,
    source: Source = None,
    category: Category = None,
    number: Number = None,
    logo: Logo = None,
    guide_id: GuideId = None,
    kind: Kind = None,
    extension: Extension = None,
    series: Series = None,
    season: Season = None,
    episode: Episode = None,
    data: Data = None,
) -> None:
    """Add a channel or a film by hand; no import touches it."""
    edit = _edit(
        name=name,
        sources=source,
        number=number,
        logo=logo,
        guide_id=guide_id,
        kind=kind,
        extension=extension,
        series=series,
        season=season,
        episode=episode,
    )

    async def work(store: Store, _config: Config) -> int:
        with _as_flags():
            made = await add_channel(store, await _in_category(store, edit, category))
        await rematch(store)
        return made

    print(f"channel {with_store(data, work)} is there")


@channels.command("set")
def channel_set(
    channel_id: ChannelId,
    name: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    source: Source = None,
    category: Category = None,
    number: Number = None,
    logo: Logo = None,
    guide_id: GuideId = None,
    enabled: Enabled = None,
    kind: Kind = None,
    extension: Extension = None,
    series: Series = None,
    season: Season = None,
    episode: Episode = None,
    data: Data = None,
) -> None:
    """Change a channel or a film; what is set here no import changes any more."""
    edit = _edit(
        name=name,
        sources=source,
        number=number,
        logo=logo,
        guide_id=guide_id,
        enabled=enabled,
        kind=kind,
        extension=extension,
        series=series,
        season=season,
        episode=episode,
    )

    async def work(store: Store, _config: Config) -> None:
        channel = await _channel(store, channel_id)
        with _as_flags():
            await change_channel(store, channel, await _in_category(store, edit, category))
        await rematch(store)

    with_store(data, work)
    print(f"channel {channel_id} is changed")


@channels.command("delete")
def channel_delete(channel_id: ChannelId, data: Data = None) -> None:
    """Remove a channel. A list that has it brings it back under a new id; `set --disable` hides
    it for good.
    """

    async def work(store: Store, _config: Config) -> None:
        await store.lineup.delete_channel((await _channel(store, channel_id)).id)

    with_store(data, work)
    print(f"channel {channel_id} is gone")


@channels.command("guide")
def channel_guide(
    channel_id: ChannelId,
    guide_id: Annotated[
        str | None, typer.Argument(metavar="[GUIDE_ID]", help="A channel's id in a guide.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="It has no guide, whatever fits.")] = False,
    auto: Annotated[bool, typer.Option("--auto", help="Leave it to the matching again.")] = False,
    data: Data = None,
) -> None:
    """Decide by hand which guide a channel has. No import and no matching changes that."""
    if (guide_id is not None) + none + auto != 1:
        raise ConfigError("GUIDE_ID", "give one of: an id, --none, --auto")
    wanted = None if auto else "" if none else writable(guide_id or "")

    async def work(store: Store, _config: Config) -> bool:
        channel = await _channel(store, channel_id)
        await store.guide.set_mapping(channel.id, wanted)
        return any(found.id == wanted for found in await store.guide.channels())

    known = with_store(data, work)
    print(f"channel {channel_id} is changed")
    if wanted and not known:
        print(f"no guide has '{clean(wanted)}' now; its programmes show when one does")


@channels.command("matches")
def channel_matches(data: Data = None) -> None:
    """Which guide each channel has, by which rule, and how sure that is; the doubtful first."""

    async def work(store: Store, _config: Config) -> list[LiveMapping]:
        return (await store.guide.find_mappings())[0]

    print(f"{'ID':>6}  {'SCORE':>5}  {'RULE':18}{'NAME':34}GUIDE")
    for one in with_store(data, work):
        guide = one.guide or Assigned("", "none", 0)
        shown = guide.guide_id or ("(none)" if guide.manual else "")
        name = clean(one.name)[:32]
        line = f"{one.channel_id:>6}  {guide.score:>5}  {guide.rule:18}{name:34}{clean(shown)}"
        print(line.rstrip())


async def _channel(store: Store, channel_id: int) -> Channel:
    channel = await store.lineup.channel(channel_id)
    if channel is None:
        raise ConfigError("ID", f"there is no channel {channel_id}")
    return channel


def _edit(*, sources: list[str] | None, kind: str | None, **values: Any) -> ChannelEdit:
    """Raises ConfigError."""
    with _as_flags():
        found = None if sources is None else tuple(map(source_of, sources))
        return ChannelEdit(sources=found, kind=_kind(kind), **values)


async def _in_category(store: Store, edit: ChannelEdit, name: str | None) -> ChannelEdit:
    if name is None:
        return edit
    made = await store.lineup.category_named(name)
    return dataclasses.replace(edit, categories=(made.id,))


@contextlib.contextmanager
def _as_flags() -> Iterator[None]:
    """What is wrong with a field, told of the flag that sets it."""
    try:
        yield
    except ConfigError as error:
        if error.field.startswith("--"):
            raise
        flag = {"sources": "source", "guide_id": "guide-id"}.get(error.field, error.field)
        raise ConfigError(f"--{flag}", error.problem) from error


# -- copies --


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    data: Data = None,
) -> None:
    """Copy the database, also of a running server."""
    back_up(load_config(None, data=data).data / FILE_NAME, file, force=force)
    print(f"{file} holds all accounts and channels: keep it as safe as the original")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    data: Data = None,
) -> None:
    """Put a backup in the database's place, while no server runs; the replaced one is kept."""
    kept = put_back(file, load_config(None, data=data).data / FILE_NAME)
    print("restored" if kept is None else f"restored; what was there is {kept}")
