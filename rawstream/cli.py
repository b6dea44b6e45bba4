"""The command line: serve, demo, simulate, doctor; the rest is `cli_keep`'s and `cli_import`'s.

Owns: flags, what is printed where, exit statuses. An operator's mistake is one line on stderr and
status 2, what fails later one line and status 1; a traceback is always a bug of ours. Must not
know: anything of a request or a channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from rawstream import __version__, cli_import, cli_keep, simulator
from rawstream.ace import content_of
from rawstream.config import DEFAULT_PORT, Config, load_config
from rawstream.demo import DemoAccounts, furnish
from rawstream.doctor import examine
from rawstream.engine_client import ContentRef
from rawstream.errors import ConfigError, FormatError, RawstreamError, ViewerError
from rawstream.logs import log_to
from rawstream.simulator import EngineSimulator, SimContent, bundled_contents, film_contents
from rawstream.status import clean
from rawstream.store import Store
from rawstream.workers import Worker, run

logger = logging.getLogger("rawstream")

_DONE, _FAILED, _MISUSED = 0, 1, 2
_INTERRUPTED = 128 + signal.SIGINT
_ENGINE_PORT = 6878
_EVERYWHERE = ("", "0.0.0.0", "::")
_ONLY_HERE = ("127.0.0.1", "localhost", "::1")

# What typer raises for a wrong flag is click's in older releases and its own in newer ones; the
# root of both is two above the one class it has always shown.
_Misuse: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="One AceStream session per channel, fanned out to a thousand IPTV players.",
)

app.add_typer(cli_keep.users, name="user")
app.add_typer(cli_keep.channels, name="channel")
app.add_typer(cli_import.imports, name="import")
app.command()(cli_keep.backup)
app.command()(cli_keep.restore)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings; else ./rawstream.toml.")
]
Host = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Address to listen on; else all of them.")
]
Port = Annotated[int | None, typer.Option(metavar="PORT", help=f"Else {DEFAULT_PORT}.")]
Engines = Annotated[
    list[str] | None,
    typer.Option("--engine", metavar="URL", help="An engine, http://HOST:6878; give more if any."),
]
Data = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where state is kept; else ./rawstream-data.")
]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
]


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with the command's exit status."""
    try:
        status = app(args=arguments, prog_name="rawstream", standalone_mode=False)
        sys.exit(status or _DONE)
    except _Misuse as error:
        if text := " ".join(str(getattr(error, "format_message", error.__str__)()).split()):
            _complain(f"{text.rstrip('.')} (rawstream --help shows what there is)")
        sys.exit(_MISUSED)
    except ConfigError as error:
        repeated = error.problem.startswith(error.field)
        _complain(error.problem if repeated else str(error))
        sys.exit(_MISUSED)
    except RawstreamError as error:
        _complain(str(error))
        sys.exit(_FAILED)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _complain(text: str) -> None:
    print(f"rawstream: {clean(text)}", file=sys.stderr)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"rawstream {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show it and end."),
    ] = False,
) -> None:
    """Every command's common options."""


# -- serve -----------------------------------------------------------------------------------------


@app.command()
def serve(
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    engine: Engines = None,
    data: Data = None,
    log_level: LogLevel = None,
) -> int:
    """Run the server. Flags win over RAWSTREAM_* variables, those over the file."""
    settings = load_config(
        config,
        host=host,
        port=port,
        engines=tuple(engine) if engine else None,
        data=data,
        log_level=log_level,
    )
    log_to(settings.log_level, settings.log_format)
    return run(settings, ready=_tell_serving)


def _tell_serving(worker: Worker) -> None:
    url = _url_of(worker)
    logger.info("rawstream %s answers at %s", __version__, url)
    logger.info("engines: %s", ", ".join(worker.config.engines) or "none; direct sources only")
    logger.info("dashboard %s/ · play %s/ace/getstream?id=CONTENT_ID", url, url)
    if worker.first_password is not None:
        # on the terminal and not in the log: this is the one time it is shown
        print(f"account admin, password {worker.first_password} (shown this once)", flush=True)
        print(f"set it up in a browser: {url}/setup#{worker.first_link} (good once)", flush=True)


# -- demo ------------------------------------------------------------------------------------------


@app.command()
def demo(
    port: Port = None,
    host: Host = None,
    log_level: LogLevel = None,
) -> int:
    """Play something now: four small channels and three films from a simulated engine, nothing kept
    on disk.

    Only this machine can reach it unless --host says otherwise.
    """
    settings = Config(
        host="127.0.0.1" if host is None else host,
        port=_checked_port(port),
        log_level=log_level or "warning",
    )
    log_to(settings.log_level)
    contents, films = bundled_contents(), film_contents()
    public = settings.host not in _ONLY_HERE
    made: list[DemoAccounts] = []

    @contextlib.asynccontextmanager
    async def around() -> AsyncIterator[Config]:
        engine = EngineSimulator([*contents, *films])
        with tempfile.TemporaryDirectory(prefix="rawstream-demo-") as directory:
            await engine.start()
            try:
                store = await Store.open(Path(directory))
                try:
                    made.append(await furnish(store, contents, films, public=public))
                finally:
                    await store.close()
                yield settings.model_copy(
                    update={"engines": (engine.url,), "data": Path(directory)}
                )
            finally:
                await engine.stop()

    return run(settings, ready=lambda worker: _tell_demo(worker, contents, made[0]), around=around)


def _checked_port(port: int | None) -> int:
    if port is not None and not 0 <= port <= 65_535:
        raise ConfigError("--port", f"'{port}' must be from 0 to 65535")
    return DEFAULT_PORT if port is None else port


def _tell_demo(worker: Worker, contents: Sequence[SimContent], accounts: DemoAccounts) -> None:
    url = _url_of(worker)
    print("rawstream demo: four channels, one engine session each however many watch, and films.")
    print("Paste one of these into VLC (Media, Open Network Stream), mpv or ffplay:\n")
    for content in contents:
        print(f"  {url}/ace/getstream?id={content.content_id}")
        print(f"      {content.name}\n")
    password = accounts.viewer_password
    print("For players that log in (Xtream Codes):")
    print(f"  server {url}   user demo   password {password}\n")
    print("For players that take a list (M3U):")
    print(f"  {url}/get.php?username=demo&password={password}&type=m3u_plus&output=ts")
    print("  the same as HLS, for Apple's devices and smart TVs: output=m3u8\n")
    print(f"Dashboard, in a browser: {url}/ user admin, password {accounts.admin_password}")
    print(f"Who watches what:  curl {url}/status")
    if worker.config.host in _EVERYWHERE:
        print("On another device put this machine's address in place of 127.0.0.1.")
    print("Ctrl+C ends it.\n")
    print(f"ready {url}", flush=True)


# -- simulate --------------------------------------------------------------------------------------


@app.command()
def simulate(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen on.")] = _ENGINE_PORT,
    clip: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="An MPEG-TS file to broadcast in a loop; give more if any."
        ),
    ] = None,
) -> int:
    """Run the engine simulator alone, with the bundled clips or your own."""
    _checked_port(port)
    log_to("info")
    contents = [_content_of_clip(path) for path in clip] if clip else bundled_contents()
    engine = EngineSimulator((), host=host, port=port)
    for content in contents:
        try:
            engine.add(content)
        except OSError as error:
            raise ConfigError("--clip", f"'{content.clip}': {error.strerror}") from error
        except FormatError as error:
            raise ConfigError("--clip", f"'{content.clip}' is no MPEG-TS: {error}") from error
    return uvloop.run(_simulate(engine, contents))


def _content_of_clip(path: Path) -> SimContent:
    """A clip under ids made of its name, so that a URL stays good from run to run."""
    content_id, infohash = (
        hashlib.sha1(f"{kind}:{path.name}".encode(), usedforsecurity=False).hexdigest()
        for kind in ("content_id", "infohash")
    )
    return SimContent(content_id, infohash, path.stem, path)


async def _simulate(engine: EngineSimulator, contents: Sequence[SimContent]) -> int:
    try:
        await engine.start()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError("--port", f"can't listen on {engine.host}: {reason}") from error
    try:
        print(f"A simulated engine at {engine.url}. It has:\n")
        for content in contents:
            print(f"  {content.name}\n    id {content.content_id}  infohash {content.infohash}")
        _, _, calls = (simulator.__doc__ or "").partition("Control calls")
        print(f"\nControl calls{calls.rstrip()}\n")
        print(f"ready {engine.url}", flush=True)
        asked = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
        await asked.wait()
    finally:
        await engine.stop()
    return _DONE


# -- doctor ----------------------------------------------------------------------------------------


@app.command()
def doctor(
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    engine: Engines = None,
    data: Data = None,
    content: Annotated[
        str | None,
        typer.Option(metavar="ID", help="A content id, infohash or magnet that is on air now."),
    ] = None,
) -> int:
    """Look whether this machine and its engines have what the server needs.

    Ends with status 1 when something fails. Whether an engine really plays takes --content.
    """
    settings = load_config(
        config, host=host, port=port, engines=tuple(engine) if engine else None, data=data
    )
    log_to("critical")  # what an engine's client would log is in the verdicts
    return uvloop.run(_doctor(settings, _content_to_try(content)))


def _content_to_try(text: str | None) -> ContentRef | None:
    if text is None:
        return None
    try:
        return content_of({"magnet" if text.lower().startswith("magnet:") else "id": text})
    except ViewerError as error:
        raise ConfigError("--content", error.reason.partition("= ")[2] or error.reason) from error


async def _doctor(settings: Config, content: ContentRef | None) -> int:
    failures = 0
    async for verdict in examine(settings, content):
        mark = {True: "ok", False: "FAIL", None: "--"}[verdict.ok]
        print(f"{mark:5}{verdict.question:16} {clean(verdict.found)}", flush=True)
        if verdict.ok is False:
            failures += 1
            print(f"{'':5}{'':16} -> {verdict.remedy}", flush=True)
    print("everything asked is in order" if not failures else f"{failures} found wanting")
    return _FAILED if failures else _DONE


# -- what the commands share -----------------------------------------------------------------------


def _url_of(worker: Worker) -> str:
    """Where this machine's own player reaches the server."""
    host, port = worker.config.host, worker.addresses[0][1]
    if host in _EVERYWHERE:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
