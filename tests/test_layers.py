"""The module order of the design, read out of the imports: a module imports only modules above it.

A total order has no cycles, and it tells a reader where to begin.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rawstream

PACKAGE = Path(rawstream.__file__).parent

ORDER = (
    # ground
    "errors",
    "config",
    "records",
    "redaction",
    "codes",
    "tally",
    # formats
    "psi",
    "pictures",
    "mpegts",
    "continuity",
    "restamp",
    "splice",
    "unpack",
    "textlines",
    "acelink",
    "extinf",
    "m3u",
    "m3u_writer",
    "film_names",
    "hls",
    "hls_writer",
    "hls_tokens",
    "xml_text",
    "epg",
    "epg_order",
    "epg_elements",
    "epg_reader",
    "guide_match",
    "byte_range",
    # wire
    "http1",
    "listener",
    "connection",
    "protocol",
    "http1_client",
    "http_client",
    "journal",
    "engine_answers",
    "engine_client",
    "engine_search",
    "engine_pool",
    "fetch_policy",
    "fetch",
    "web_resource",
    "sources",
    "film_web",
    "hls_pace",
    "hls_source",
    "channel_sources",
    # store
    "database",
    "lineup_rows",
    "store_import",
    "store_search",
    "store_edits",
    "store_lineup",
    "store_guide",
    "store_accounts",
    "store_credentials",
    "store",
    "list_entries",
    "playlist_import",
    "predecessor",
    "guide_import",
    "guide_desk",
    "lineup_edit",
    "guide",
    "uploads",
    "lineup",
    "importer",
    # live
    "ring",
    "viewer",
    "mux",
    "supply",
    "segmenter",
    "watchers",
    "packager",
    "channel_state",
    "waiting_room",
    "channels",
    "film_reader",
    "film_engine",
    "film_viewer",
    "film_files",
    "films",
    "channel_index",
    "drain",
    "refusals",
    "bandwidth",
    "hub",
    "happenings",
    "webhooks",
    "catalogue",
    "passwords",
    "leases",
    "limit_policy",
    "login_guard",
    "sittings",
    "accounts",
    "operators",
    "plays",
    "books",
    "engine_roster",
    "on_air",
    "stats",
    "events",
    "live_settings",
    "log_tail",
    # faces
    "urls",
    "logins",
    "hls_face",
    "ace",
    "logos",
    "logo_cache",
    "live",
    "vod",
    "ace_accounts",
    "xtream_shapes",
    "xtream_films",
    "xtream_guide",
    "xtream_lists",
    "xtream",
    "metrics",
    "status",
    "rest",
    "openapi",
    "api_accounts",
    "api_channels",
    "api_categories",
    "api_guide",
    "api_logos",
    "api_engines",
    "api_live",
    "list_views",
    "api_lists",
    "api_history",
    "api_tokens",
    "api_settings",
    "api_backup",
    "api_search",
    "api",
    "pages",
    "predecessor_api",
    "routes",
    # process
    "broadcast",
    "simulator_contents",
    "simulator_http",
    "simulator_sessions",
    "simulator_answers",
    "simulator_media",
    "simulator_playback",
    "simulator_services",
    "simulator",
    "logs",
    "doctor",
    "workers",
    "demo",
    "progress",
    "cli_keep",
    "cli_import",
    "cli",
)

# sans-IO: bytes in, values out (style rule 6). Neither loop nor clock nor disk nor log may come in.
PURE = (
    "errors",
    "records",
    "tally",
    "psi",
    "pictures",
    "mpegts",
    "continuity",
    "restamp",
    "splice",
    "unpack",
    "textlines",
    "acelink",
    "extinf",
    "m3u",
    "m3u_writer",
    "film_names",
    "hls",
    "hls_writer",
    "hls_tokens",
    "xml_text",
    "epg",
    "epg_order",
    "epg_elements",
    "epg_reader",
    "guide_match",
    "byte_range",
    "http1",
    "engine_answers",
    "ring",
    "viewer",
    "mux",
    "channel_state",
    "refusals",
    "bandwidth",
)
NOT_IN_PURE = {"asyncio", "time", "logging", "socket", "os", "pathlib", "threading"}

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if not path.stem.startswith("__"))


def imports(source: str) -> Iterator[str]:
    """The dotted names a module imports, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None, "an absolute import names its module"
            if node.module == "rawstream":
                yield from (f"rawstream.{alias.name}" for alias in node.names)
            else:
                yield node.module


def ours(source: str) -> set[str]:
    """The modules of the package among them; the version in `__init__.py` is in no layer."""
    found = {name.split(".")[1] for name in imports(source) if name.startswith("rawstream.")}
    return found - {"__version__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_above_it(module: str) -> None:
    assert module in ORDER, f"{module} has no place in the order; the design names one"
    above = ORDER[: ORDER.index(module)]
    below = ours((PACKAGE / f"{module}.py").read_text()) - set(above)
    assert not below, f"{module} imports {sorted(below)}, which stand below it"


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_reaches_for_no_loop_clock_disk_or_log(module: str) -> None:
    path = PACKAGE / f"{module}.py"
    found = {name.split(".")[0] for name in imports(path.read_text())} & NOT_IN_PURE
    assert not found, f"{module} imports {sorted(found)}"


def test_the_reader_of_imports_sees_every_way_of_writing_one() -> None:
    source = (
        "import rawstream.mux\n"
        "from rawstream import channels, __version__\n"
        "from rawstream.errors import ConfigError\n"
        "def late():\n    from rawstream.cli import main\n"
    )
    assert ours(source) == {"mux", "channels", "errors", "cli"}


def test_the_module_map_shows_every_module_in_its_order() -> None:
    text = (PACKAGE.parent / "docs" / "modules.md").read_text()
    shown = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert tuple(shown) == ORDER
