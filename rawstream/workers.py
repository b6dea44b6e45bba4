"""One process's life: open the doors, serve, close them in order.

Owns: the order in which things start and stop, signals, the loop. Must not know: what a request
means, how a channel lives. The parent that keeps several of these on one port is design §7's, and
will call `Worker` as `run` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import math
import resource
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import cast

import uvloop

from rawstream.accounts import Accounts
from rawstream.ace import AceEndpoints
from rawstream.ace_accounts import AceAccountEndpoints
from rawstream.api import ApiEndpoints
from rawstream.api_accounts import AccountOperations
from rawstream.api_backup import BackupOperations
from rawstream.api_categories import CategoryOperations
from rawstream.api_channels import ChannelOperations
from rawstream.api_engines import EngineOperations
from rawstream.api_guide import GuideOperations
from rawstream.api_history import HistoryOperations
from rawstream.api_lists import ListOperations
from rawstream.api_live import LiveOperations
from rawstream.api_logos import LogoOperations
from rawstream.api_search import SearchOperations
from rawstream.api_settings import SettingsOperations
from rawstream.api_tokens import TokenOperations
from rawstream.books import Books
from rawstream.catalogue import LiveCatalogue
from rawstream.codes import told
from rawstream.config import Config
from rawstream.database import locked
from rawstream.engine_client import ContentRef, Kind
from rawstream.engine_roster import EngineRoster
from rawstream.engine_search import EngineSearch
from rawstream.errors import ConfigError, StateError
from rawstream.events import EventBus
from rawstream.fetch_policy import FetchPolicy
from rawstream.guide_desk import GuideDesk
from rawstream.happenings import Happenings
from rawstream.hls_face import HlsEndpoints
from rawstream.hub import ChannelHub
from rawstream.importer import ListProgress, Refresher
from rawstream.journal import StopJournal
from rawstream.live import LiveEndpoints
from rawstream.live_settings import LiveSettings
from rawstream.log_tail import LogTail
from rawstream.logins import Doorman
from rawstream.logo_cache import LogoCache
from rawstream.metrics import Counted
from rawstream.on_air import OnAir
from rawstream.operators import Operators
from rawstream.pages import PageEndpoints, Site, read_site
from rawstream.passwords import Passwords
from rawstream.plays import Plays
from rawstream.predecessor import EXTRA_PORT
from rawstream.predecessor_api import PredecessorEndpoints
from rawstream.protocol import Server
from rawstream.records import Account, Activity
from rawstream.redaction import redacted
from rawstream.rest import Edit
from rawstream.routes import OperatorEndpoints, PlayerEndpoints, Router
from rawstream.stats import Stats
from rawstream.store import Store
from rawstream.supply import LadderStep
from rawstream.vod import VodEndpoints
from rawstream.webhooks import Webhooks
from rawstream.xtream import XtreamEndpoints

logger = logging.getLogger(__name__)

_ACCOUNT_TICK_SECONDS = 0.25
_LAST_WORDS_SECONDS = 3.0  # for messages to webhooks that wait when we stop


class Worker:
    """The server, its channels and its engines, as one thing to start and to stop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.addresses: list[tuple[str, int]] = []
        self.started_at = time.monotonic()
        self.hub: ChannelHub
        self.server: Server
        self.store: Store
        self.accounts: Accounts
        self.catalogue: LiveCatalogue
        self.operators: Operators
        self.refresher: Refresher
        self.books: Books
        self.webhooks: Webhooks
        self.happenings: Happenings
        self.roster: EngineRoster
        self.on_air: OnAir
        self.stats: Stats
        self.events: EventBus
        self.settings: LiveSettings
        self.log_tail = LogTail()
        self.plays: Plays
        self._doorman: Doorman
        self._hls: HlsEndpoints
        self._xtream: XtreamEndpoints
        self.first_password: str | None = None  # of the admin made at the first start
        self.first_link: str | None = None  # the secret of the link that logs him in once
        self._site: Site
        self._policies: list[FetchPolicy] = []  # besides those that the hub and imports have
        self._passwords = Passwords(queue=config.limits.password_queue)
        self._kept = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._forced = asyncio.Event()

    async def start(self) -> None:
        """Prepare the data directory, stop a former life's sessions, listen.

        Raises ConfigError: the directory can't be used, a port is taken.
        """
        config = self.config
        try:
            await asyncio.to_thread(_prepare_directory, config.data)
        except OSError as error:
            raise ConfigError("data", f"'{config.data}' can't be used: {error.strerror}") from error
        self._site = await asyncio.to_thread(read_site)
        logging.getLogger().addHandler(self.log_tail)
        self._kept.callback(logging.getLogger().removeHandler, self.log_tail)
        self.hub = ChannelHub(config, StopJournal(config.data), own_ports=self._own_ports)
        self.server = Server(self._first_answer, timeouts=config.timeouts, limits=config.limits)
        try:
            await self._open_what_is_kept()
            players = self._players()
            self._kept.callback(players.xtream.close)
            self.server.handler = Router(
                config,
                self.hub,
                self.server,
                started_at=self.started_at,
                players=players,
                operators=self._operators(),
                counted=Counted(
                    *(self.accounts, self.refresher, self.books, self.events),
                    self.webhooks.results,
                ),
            )
            await self.hub.start()  # first: no content may start before its orphan is stopped
            for port in (config.port, *config.extra_ports):
                self.addresses += await self.server.listen(config.host, port)
            await self._listen_where_boxes_look()
            self._tasks = [
                asyncio.create_task(self.catalogue.watch(), name="look for changes"),
                asyncio.create_task(self._tick_accounts(), name="account ticks"),
                asyncio.create_task(self.refresher.watch(), name="list refresh"),
                asyncio.create_task(self.books.watch(), name="books"),
                asyncio.create_task(self.happenings.watch(), name="happenings"),
                asyncio.create_task(self.webhooks.run(), name="webhooks"),
                asyncio.create_task(self.stats.watch(), name="stats"),
            ]
        except BaseException:
            await self.stop(grace_seconds=0.01)
            raise

    def _players(self) -> PlayerEndpoints:
        config, accounts, catalogue = self.config, self.accounts, self.catalogue
        doorman = self._doorman
        hls = self._hls = HlsEndpoints(self.hub, doorman, accounts)
        live = LiveEndpoints(doorman, self.hub, accounts, catalogue, hls)
        vod = VodEndpoints(doorman, self.hub.films, accounts, catalogue, config.timeouts)
        ace = AceAccountEndpoints(doorman, catalogue, AceEndpoints(self.hub, hls), live, vod)
        return PlayerEndpoints(self._xtream, live, hls, vod, ace)

    def _operators(self) -> OperatorEndpoints:
        doorman = self._doorman
        accounts = AccountOperations(
            self.store, self.accounts, self.operators, self._passwords, doorman
        )
        guides = GuideDesk(self.store)
        operations = [
            *accounts.table(),
            *ChannelOperations(self.store, self.catalogue, guides).table(),
            *CategoryOperations(self.store, self.catalogue).table(),
            *GuideOperations(self.store, self.catalogue, guides).table(),
            *LogoOperations(self.store, self._logos()).table(),
            *EngineOperations(self.roster).table(),
            *SearchOperations(
                EngineSearch(lambda: self.hub.pool.engines, self.config.timeouts),
                *(self.store, self.catalogue, guides),
                patience_seconds=self.config.timeouts.engine_resolve_seconds,
                learn=self.hub.pool.learn,
            ).table(),
            *LiveOperations(
                *(self.hub, self.accounts, self.store, self._hls),
                *(self.on_air, self.stats, self.events, self.plays),
            ).table(),
            *ListOperations(self.store, self.refresher, self.config).table(),
            *HistoryOperations(self.store, self.log_tail).table(),
            *TokenOperations(self.operators, self.accounts).table(),
            *SettingsOperations(self.settings).table(),
            *BackupOperations(
                self.store, patience_seconds=self.config.timeouts.viewer_stall_seconds
            ).table(),
        ]
        return OperatorEndpoints(
            self.operators,
            ApiEndpoints(self.operators, doorman, operations, self._note_edit),
            PageEndpoints(self.operators, self._site),
            PredecessorEndpoints(
                self.store, self.catalogue, self.hub, self.operators, port=self._first_port
            ),
        )

    def _first_port(self) -> int:
        return self.addresses[0][1]

    def _logos(self) -> LogoCache:
        config = self.config
        policy = FetchPolicy(self.roster.guarded, self._own_ports, config.fetch_networks)
        self._policies.append(policy)
        cache = LogoCache(config.data, policy)
        self._kept.push_async_callback(cache.close)
        return cache

    async def _open_what_is_kept(self) -> None:
        """Store, accounts, line-up; the first admin. Raises StateError."""
        config = self.config
        self._kept.enter_context(locked(config.data))
        self.store = await Store.open(config.data, history_rows=config.limits.history_rows)
        self._kept.push_async_callback(self._close_store)
        self._kept.callback(self._passwords.close)
        self.accounts = Accounts(
            self.store.accounts, self._passwords, config, crowded=lambda: self.hub.crowded
        )
        self.catalogue = LiveCatalogue(
            self.store, adult_hidden=config.adult_hidden, on_change=self._changed
        )
        self.operators = Operators(self.store.credentials, self.accounts)
        self.plays = Plays(self.operators.is_good)
        self.books = Books(self.store, self.accounts, name_of=self._name_of)
        self._kept.push_async_callback(self._close_books)
        self.accounts.on_activity = self.books.note
        for (kind, value), infohash in (await self.store.known_infohashes()).items():
            self.hub.pool.learn(ContentRef(cast(Kind, kind), value), infohash)
        self.hub.pool.on_learnt = self.books.learnt
        self.refresher = Refresher(
            self.store, config, tell=lambda line: self.books.note("import", text=line)
        )
        self.refresher.on_progress = self._tell_import
        await self._open_what_is_shown()
        if not any(account.admin for account in await self.store.accounts.accounts()):
            password = secrets.token_urlsafe(12)
            hashed = await self._passwords.hash(password)
            await self.store.accounts.add(Account(0, "admin", hashed, admin=True))
            self.first_password = password
        self._doorman = Doorman(config, self.accounts)
        self._xtream = XtreamEndpoints(
            config, self._doorman, self.accounts, self.catalogue, self.store
        )
        await self.accounts.reload()
        await self.operators.reload()
        self.settings = LiveSettings(self.store, config, self._apply)
        await self.settings.load()
        if self.first_password is not None:
            first = await self.store.accounts.by_name("admin")
            assert first is not None, "it was just made"
            self.first_link = await self.operators.invite(first)
        await self.catalogue.look()

    async def _open_what_is_shown(self) -> None:
        """Engines as operators left them, and what they see of it all. Raises StateError."""
        self.roster = EngineRoster(self.store, self.hub, self.config)
        self.roster.on_change = self._guard
        await self.roster.load()
        self.on_air = OnAir(self.hub, self.roster, self.server, started_at=self.started_at)
        self.stats = Stats(self.hub.totals)
        self.events = EventBus(self.on_air, self.operators.is_good)
        self.hub.ladder_listeners.append(self._tell_step)
        self.books.on_note = self._noted
        self._open_webhooks()

    def _open_webhooks(self) -> None:
        config = self.config
        policy = FetchPolicy(self.roster.guarded, self._own_ports, config.fetch_networks)
        self._policies.append(policy)
        self.webhooks = Webhooks(
            config.webhooks,
            policy,
            queue=config.limits.webhook_queue,
            seconds=config.timeouts.webhook_seconds,
        )
        self.happenings = Happenings(self.hub, self.webhooks.say)

    def _apply(self, before: Config, config: Config) -> None:
        """Settings that changed while we run, or before we began."""
        self.accounts.set_config(config)
        self._doorman.set_config(config)
        self._xtream.set_config(config)
        self.hub.set_config(config)
        self.catalogue.hide_adult(config.adult_hidden)
        if config.log_level != before.log_level:
            logging.getLogger().setLevel(config.log_level.upper())

    def _guard(self, engines: Sequence[str]) -> None:
        self.hub.engines_are(engines)
        self.refresher.engines_are(engines)
        for policy in self._policies:
            policy.engines_are(engines)

    def _noted(self, activity: Activity) -> None:
        self.events.tell("history", dataclasses.asdict(activity))

    def _note_edit(self, edit: Edit) -> None:
        self.books.note("edit", **edit._asdict())

    def _tell_step(self, step: LadderStep) -> None:
        text = redacted(step.text)
        code, values = told(text)
        step_told = {**step._asdict(), "text": text, "code": code, "values": values}
        self.events.tell("ladder", {**step_told, "at": int(time.time())})

    def _tell_import(self, progress: ListProgress) -> None:
        told = progress._asdict()
        del told["text"]  # may quote the list; what came of it is asked for
        self.events.tell("import", told)

    def _name_of(self, channel_id: str) -> str:
        return self.catalogue.current.names.get(int(channel_id), "")

    async def _close_store(self) -> None:
        with contextlib.suppress(StateError):  # told by the books, which were closed before
            await self.store.close()

    async def _close_books(self) -> None:
        try:
            await self.books.write()
        except StateError as error:
            logger.error("the last lines of the books are lost: %s", error)

    async def _listen_where_boxes_look(self) -> None:
        """The predecessor's port, which its users' boxes know. As long as that still runs, or where
        we may not have it, we do without.
        """
        text = await self.store.get_setting(EXTRA_PORT)
        if text is None or int(text) in self._own_ports():
            return
        try:
            self.addresses += await self.server.listen(self.config.host, int(text))
        except ConfigError as error:
            logger.warning("the predecessor's port is not served: %s", error.problem)

    async def _changed(self, kinds: Collection[str]) -> None:
        if "accounts" in kinds:
            await self.accounts.reload()
        if "credentials" in kinds:
            await self.operators.reload()
        if "settings" in kinds:
            await self.settings.load()
            await self.roster.load()
        if "sources" in kinds:
            self.refresher.wake()
        if "lineup" in kinds:
            await self._tell_what_is_on_air()

    async def _tell_what_is_on_air(self) -> None:
        """A channel that plays has its newest sources, for the time when it needs another one."""
        for number in self.hub.line_up_ids:
            channel = await self.store.lineup.channel(number)
            if channel is not None and channel.retired_at is None:
                self.hub.sources_are(channel)

    async def _tick_accounts(self) -> None:
        while True:
            await asyncio.sleep(_ACCOUNT_TICK_SECONDS)
            try:
                self.accounts.tick(time.monotonic())
                self.plays.tick()
            except Exception:  # one bug of ours is not to end everybody's limits
                logger.exception("a tick of the accounts failed")

    def _first_answer(self, *_: object) -> None:
        raise AssertionError("the router is set before anything listens")

    def _own_ports(self) -> set[int]:
        return {port for _host, port in self.addresses}

    async def stop(self, grace_seconds: float | None = None) -> None:
        """Close in order: no new connections, viewers let go, engine sessions stopped. May be
        called twice.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(grace_seconds), name="stop")
        await asyncio.shield(self._stopping)

    async def _stop(self, grace_seconds: float | None) -> None:
        grace = self.config.timeouts.shutdown_seconds if grace_seconds is None else grace_seconds
        if hasattr(self, "events"):
            self.events.close()
        channels = asyncio.create_task(self.hub.close(), name="end of channels")
        cut = await self.server.shutdown(grace)
        if cut:
            logger.warning("%d connection(s) had to be cut", cut)
        await self._unless_forced(asyncio.shield(channels))
        if not channels.done():
            logger.warning("engines still asked to stop are left; the next start asks them again")
            channels.cancel()
        await asyncio.gather(channels, return_exceptions=True)
        if hasattr(self, "webhooks"):
            await self._unless_forced(self.webhooks.drain(min(grace, _LAST_WORDS_SECONDS)))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if hasattr(self, "accounts"):
            self.accounts.settle(math.inf)
        await self._kept.aclose()

    async def _unless_forced(self, work: Awaitable[None]) -> None:
        """Wait for it, but not beyond a second signal."""
        under_way = asyncio.ensure_future(work)
        forced = asyncio.create_task(self._forced.wait(), name="second signal")
        await asyncio.wait({under_way, forced}, return_when=asyncio.FIRST_COMPLETED)
        for task in (under_way, forced):
            task.cancel()
        await asyncio.gather(under_way, forced, return_exceptions=True)

    def force(self) -> None:
        """Cut what the graceful stop still waits for: viewers, and engines that don't answer."""
        self._forced.set()
        self.server.force()


def _prepare_directory(path: Path) -> None:
    """Make it, and see that it takes a file. Raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path):
        pass


def raise_descriptor_limit() -> int:
    """Use as many descriptors as the system lets us: each viewer is one. Returns the limit in
    force.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def settle_garbage() -> None:
    """Once all is up: what is there now is there to stay, so no collection is to look at it again.
    With 10,000 channels a full one, which holds up the loop, is a seventh as long then.

    What the line-up is replaced by later is no garbage: it holds itself in no circle (`catalogue`).
    """
    gc.collect()  # what is frozen as garbage is never freed
    gc.freeze()


Around = Callable[[], AbstractAsyncContextManager[Config]]


def run(config: Config, *, ready: Callable[[Worker], None], around: Around | None = None) -> int:
    """Serve until a signal: the first one ends gracefully, the second cuts. Returns the exit
    status.

    `ready` is called once the doors are open. `around` wraps the whole life and may give another
    configuration: the demo starts its simulator there. Raises ConfigError.
    """
    raise_descriptor_limit()
    return uvloop.run(_serve(config, ready, around))


async def _serve(config: Config, ready: Callable[[Worker], None], around: Around | None) -> int:
    async with around() if around is not None else _as_it_is(config) as final:
        worker = Worker(final)
        await worker.start()
        settle_garbage()
        asked = asyncio.Event()

        def on_signal(number: signal.Signals) -> None:
            if asked.is_set():
                logger.warning("%s again: cutting", number.name)
                worker.force()
            else:
                logger.info("%s: stopping", number.name)
                asked.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, on_signal, number)
        try:
            ready(worker)
            await asked.wait()
        finally:
            await worker.stop()
    return 0


@contextlib.asynccontextmanager
async def _as_it_is(config: Config) -> AsyncIterator[Config]:
    yield config
