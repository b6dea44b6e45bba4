"""What the predecessor's users bring along: nothing of it is lost, and nothing there is changed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from rawstream.errors import StateError
from rawstream.list_entries import read_list
from rawstream.passwords import Passwords
from rawstream.playlist_import import import_playlist
from rawstream.predecessor import EXTRA_PORT, import_predecessor
from rawstream.records import Account
from rawstream.store import Store

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
ACE = "a" * 40


def predecessor(path: Path) -> Path:
    """Its tables, with the columns that matter, and what users have in them."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(
            """
            CREATE TABLE users (id INTEGER PRIMARY KEY, username TEXT, password_hash TEXT,
                email TEXT, is_active INTEGER, is_admin INTEGER, is_trial INTEGER,
                max_connections INTEGER, allowed_output_formats TEXT, created_at TEXT,
                expiry_date TEXT, notes TEXT);
            CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT, display_order INTEGER);
            CREATE TABLE channels (id INTEGER PRIMARY KEY, name TEXT, acestream_id TEXT,
                stream_url TEXT, category_id INTEGER, logo_url TEXT, epg_id TEXT, is_active INTEGER,
                display_order INTEGER, created_at TEXT, source_url_id INTEGER);
            CREATE TABLE scraper_urls (id INTEGER PRIMARY KEY, url TEXT, is_enabled INTEGER);
            CREATE TABLE epg_sources (id INTEGER PRIMARY KEY, url TEXT, is_enabled INTEGER);
            """
        )
        db.executemany(
            'INSERT INTO users VALUES (?, ?, ?, NULL, ?, ?, ?, ?, \'["ts", "m3u8"]\', ?, ?, ?)',
            [
                (1, "admin", HASH, 1, 1, 0, 5, "2025-10-17 10:00:00.000000", None, None),
                (2, "josé", HASH, 1, 0, 1, 2, None, "2030-01-01 00:00:00", "pays in cash"),
                (3, "off", HASH, 0, 0, 0, None, None, None, None),
                (4, "live", HASH, 1, 0, 0, 1, None, None, None),
                (5, "plain", "secret", 1, 0, 0, 1, None, None, None),
            ],
        )
        db.executemany("INSERT INTO categories VALUES (?, ?, ?)", [(7, "Sport", 2), (9, "News", 1)])
        db.executemany(
            "INSERT INTO channels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL)",
            [
                (42, "One", ACE, None, 7, "http://l/1.png", "one.it", 1, 2),
                (17, "Web", None, "http://h/live.ts?id=77", 9, None, None, 1, 1),
                (99, "Both", "b" * 40, "http://h/b.ts", None, "", "", 0, 3),
                (100, "Number", "77", None, 7, None, None, 1, 4),
            ],
        )
        db.execute("INSERT INTO scraper_urls VALUES (1, 'https://lists.example/a.m3u', 1)")
        db.execute("INSERT INTO epg_sources VALUES (1, 'https://lists.example/guide.xml', 0)")
        db.commit()
    return path


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "data")
    yield store
    await store.close()


async def test_everything_comes_over_under_its_old_ids(store: Store, tmp_path: Path) -> None:
    old = predecessor(tmp_path / "old.db")
    before = old.read_bytes()
    env = tmp_path / ".env"
    env.write_text(
        "# comment\nexport SERVER_PORT='6880' # theirs\nSCRAPER_UPDATE_INTERVAL=7200\n"
        "SCRAPER_URLS=https://lists.example/a.m3u,https://lists.example/b.m3u\n"
        "EPG_SOURCES=file:///etc/passwd\nACESTREAM_ENGINE_HOST=box\nADMIN_PASSWORD=hidden\n"
    )
    moved = await import_predecessor(store, old, env)
    assert (moved.accounts, moved.categories, moved.channels) == (3, 2, 3)
    assert (moved.playlists, moved.guides, moved.port) == (2, 1, 6880)
    assert old.read_bytes() == before

    channels = {channel.id: channel for channel in await store.lineup.channels()}
    assert [channel.name for channel in channels.values()] == ["Web", "One", "Both"]
    assert [(s.kind, s.value) for s in channels[42].sources] == [("unknown", ACE)]
    assert [s.kind for s in channels[17].sources] == ["direct"], "its ?id= is no content"
    assert [s.kind for s in channels[99].sources] == ["unknown", "direct"]
    assert (channels[42].logo, channels[42].guide_id) == ("http://l/1.png", "one.it")
    assert not channels[99].enabled
    names = {one.id: one.name for one in await store.lineup.categories()}
    assert [names[one] for one in channels[42].categories] == ["Sport"]
    assert list(names.values()) == ["News", "Sport"], "in their order"

    jose = await store.accounts.by_name("josé")
    assert jose is not None
    assert (jose.trial, jose.max_connections, jose.notes) == (True, 2, "pays in cash")
    assert jose.expires_at == 1893456000
    passwords = Passwords()
    assert await passwords.verify(jose.password_hash, "secret")
    passwords.close()
    off = await store.accounts.by_name("off")
    assert off is not None
    assert (off.enabled, off.max_connections) == (False, 1)

    lists = {one.url: one for one in await store.lineup.lists()}
    assert lists["https://lists.example/a.m3u"].interval_seconds == 7200
    assert not lists["https://lists.example/guide.xml"].enabled
    assert await store.get_setting(EXTRA_PORT) == "6880"
    told = "\n".join(moved.notes)
    for word in ("'live'", "'plain'", "Number", "box:6878", "no web address"):
        assert word in told
    assert "hidden" not in told
    assert "secret" not in told


async def test_a_second_time_changes_nothing(store: Store, tmp_path: Path) -> None:
    old = predecessor(tmp_path / "old.db")
    await import_predecessor(store, old)
    before = await store.lineup.channels(), await store.accounts.accounts()
    moved = await import_predecessor(store, old)
    assert (moved.accounts, moved.channels, moved.playlists) == (0, 0, 0)
    assert (await store.lineup.channels(), await store.accounts.accounts()) == before


async def test_what_is_here_already_stays(store: Store, tmp_path: Path) -> None:
    await store.accounts.add(Account(0, "admin", "ours", admin=True))
    news = await store.lineup.category_named("News")
    moved = await import_predecessor(store, predecessor(tmp_path / "old.db"))
    admin = await store.accounts.by_name("admin")
    assert admin is not None
    assert admin.password_hash == "ours"
    assert moved.categories == 1
    assert (await store.lineup.category_named("News")).id == news.id
    assert any("'admin' is here already" in note for note in moved.notes)


async def test_its_list_finds_its_channels_again(store: Store, tmp_path: Path) -> None:
    """It never wrote down which list a channel is of: the first list that has it takes it."""
    await import_predecessor(store, predecessor(tmp_path / "old.db"))
    (source,) = await store.lineup.lists("playlist")
    text = (
        f'#EXTM3U\n#EXTINF:-1 group-title="Sport",One HD\nacestream://{ACE}\n'
        '#EXTINF:-1 group-title="News",Web\nhttp://h/moved.ts\n'
        f"#EXTINF:-1,New\nacestream://{'c' * 40}\n"
    )
    entries, ending = read_list([text.encode()])
    report = await import_playlist(store, source, entries, ending)
    assert (report.added, report.stale) == (1, 0)
    found = {channel.id: channel for channel in await store.lineup.channels()}
    assert (found[42].name, found[42].playlist_id) == ("One HD", source.id)
    assert found[17].sources[0].value == "http://h/moved.ts"
    assert found[99].playlist_id is None, "of no list, so that none may miss it"


async def test_what_is_not_the_predecessors_is_refused(store: Store, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as db:
        db.execute("CREATE TABLE things (id INTEGER)")
    text = tmp_path / "text.db"
    text.write_text("hello, this is no database" * 50)
    for path in (other, text, tmp_path / "missing.db"):
        with pytest.raises(StateError):
            await import_predecessor(store, path)
    with pytest.raises(StateError):
        await import_predecessor(store, predecessor(tmp_path / "old.db"), tmp_path / "no.env")
    assert await store.lineup.channels() == []


@pytest.mark.parametrize("rubbish", [None, "", "x", -1, 2**62, 1e300, b"\xff", "9" * 5000])
async def test_rubbish_in_any_column_is_passed_over(
    store: Store, tmp_path: Path, rubbish: object
) -> None:
    path = predecessor(tmp_path / "old.db")
    with contextlib.closing(sqlite3.connect(path)) as db:
        tables = ("users", "categories", "channels", "scraper_urls", "epg_sources")
        for table in tables:
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")][1:]
            for number, column in enumerate(columns):  # a row more for each, good but for this
                own = {
                    "username": f"'{column}'",
                    "acestream_id": f"'{number + 4096:040x}'",
                    "url": f"url || '{number}'",
                }
                names = ", ".join(columns)
                values = ", ".join(
                    "?" if name == column else own.get(name, name) for name in columns
                )
                db.execute(
                    f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} LIMIT 1",
                    (rubbish,),
                )
        db.commit()
    env = tmp_path / "env"
    env.write_text("SCRAPER_UPDATE_INTERVAL=" + "9" * 5000 + "\nSERVER_PORT=" + "9" * 5000)
    moved = await import_predecessor(store, path, env)
    assert moved.accounts >= 10
    assert moved.channels >= 10
    assert await store.accounts.by_name("None") is None
