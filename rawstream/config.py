"""Every setting, timeout and limit, in one place, validated before anything runs.

Owns: the names of settings, their defaults, and where they come from (flags over environment over
file over default), and the one line an operator reads when one of them is wrong. Must not know:
sockets, channels, engines; it only carries values to them.

A field name carries its unit. Every timeout says who suffers when it fires.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from rawstream.errors import ConfigError

DEFAULT_PORT = 58055
DEFAULT_ENGINE = "http://127.0.0.1:6878"
CONFIG_FILE_NAME = "rawstream.toml"
ENVIRONMENT_PREFIX = "RAWSTREAM_"
_LOGIN = re.compile(r"[^/\s]*@")  # in front of a host, all that may stand there
_FLAGS = {"engines": "engine"}  # flags that are not spelled like their setting

# a name (RFC 1123 §2.1, and the underscores of containers), IPv4, or IPv6 with a zone
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.){0,20}[a-z0-9_-]{1,63}\.?|[0-9a-f:.]+(?:%[\w.-]+)?")

LOOPBACK_NETWORKS = ("127.0.0.0/8", "::1/128")
PRIVATE_NETWORKS = (
    *LOOPBACK_NETWORKS,
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)

Origin = Literal["flag", "variable", "file", "default"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
LogFormat = Literal["text", "json"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _ordered(model: BaseModel, *pairs: tuple[str, str]) -> None:
    """Hold pairs of fields in order, the lesser first."""
    for lesser, greater in pairs:
        if getattr(model, lesser) > getattr(model, greater):
            raise ValueError(f"{lesser} must not be above {greater}")


class Timeouts(BaseModel):
    """Seconds, each with the one who suffers when it fires."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # -- viewers' connections --
    request_head_seconds: Seconds = 10.0  # a client that opens a socket and sends half a head
    request_body_seconds: Seconds = 30.0  # a client that announces a body and does not send it
    keep_alive_seconds: Seconds = 75.0  # an idle connection between two requests
    drain_seconds: Seconds = 10.0  # a peer that does not take the end of an answer: aborted
    shutdown_seconds: Seconds = 10.0  # viewers still connected when the operator stops the server

    # -- a channel's start and end --
    hold_seconds: Seconds = 30.0  # a viewer who waits for a channel's first picture: 503
    hold_impatient_seconds: Seconds = 6.5  # the same for players that give up at 8 s and ask again
    failure_memory_seconds: Seconds = 5.0  # a viewer who asks for a channel that has just failed
    linger_seconds: Annotated[float, Field(ge=0, le=86_400)] = 20.0  # nobody: the engine's slot

    # -- engines --
    engine_connect_seconds: Seconds = 3.0  # the engine's turn passes to the next one
    engine_resolve_seconds: Seconds = 3.0  # an id is started without knowing its infohash
    engine_start_seconds: Seconds = 50.0  # a start whose JSON never comes
    engine_yield_seconds: Seconds = 10.0  # a start that hangs while another engine is free
    slot_wait_seconds: Seconds = 5.0  # a viewer who zaps before the engine's slot is free
    engine_first_byte_seconds: Seconds = 30.0  # a start without bytes; longer while it loads
    engine_first_byte_limit_seconds: Seconds = 60.0  # the same, however much it loads
    engine_stop_seconds: Seconds = 3.0  # an engine that does not answer a stop
    engine_stat_seconds: Seconds = 3.0  # a stat answer that never comes
    engine_search_seconds: Seconds = 15.0  # an operator who looks through the index
    engine_probe_seconds: Seconds = 3.0  # an engine that does not answer the health probe
    engine_stat_interval_seconds: Seconds = 2.0  # nobody: how old the shown peers and speeds may be
    engine_probe_interval_seconds: Seconds = 20.0  # nobody: how long a dead engine goes unnoticed
    engine_preload_retry_seconds: Seconds = 1.0  # nobody: the pause between two tries in preload
    engine_aside_seconds: Seconds = 120.0  # nobody: others go before an engine that brings no bytes

    # -- reading a source --
    source_connect_seconds: Seconds = 5.0  # a direct source that does not accept
    source_head_seconds: Seconds = 15.0  # a direct source that accepts and says nothing
    hls_segment_seconds: Seconds = 30.0  # a playlist, key or segment that trickles
    silence_look_seconds: Seconds = 2.0  # nobody: when a silent source is asked for its state
    silence_act_seconds: Seconds = 5.5  # a silent source: it is left for the next rung
    # nobody: how long a new source may replay what was shown before it is restamped instead
    replay_seconds: Seconds = 2.5
    recover_seconds: Seconds = 90.0  # viewers of a channel that no rung of the ladder brings back
    random_access_wait_seconds: Seconds = 15.0  # viewers of a stream without an entry point

    # -- accounts --
    count_after_seconds: Seconds = 2.0  # nobody: a probe shorter than this is no player
    player_burst_seconds: Seconds = 5.0  # an equal box that opens a channel just after another one
    zap_overlap_seconds: Seconds = 3.0  # a player's former channel, while it opens the next
    superseded_seconds: Seconds = 30.0  # a player that was taken over and asks for the same again
    login_window_seconds: Seconds = 300.0  # who guesses passwords: how long a failure counts

    # -- lists and guides --
    fetch_total_seconds: Seconds = 600.0  # a list that trickles
    webhook_seconds: Seconds = 10.0  # nobody: a webhook that does not answer is tried again
    fetch_read_seconds: Seconds = 30.0  # a list's server that falls silent

    # -- HLS for players --
    hls_hold_seconds: Seconds = 7.0  # a player who waits for a channel's first segment: 503
    hls_lease_seconds: Seconds = 30.0  # a watcher who asks for nothing any more: he has left
    hls_token_seconds: Seconds = 3600.0  # who got a segment's URL from somebody else, later
    hls_send_seconds: Seconds = 60.0  # a watcher who takes a segment that slowly: aborted

    # -- slow viewers --
    viewer_stall_seconds: Seconds = 60.0  # a viewer who acknowledges nothing: aborted
    film_pause_seconds: Seconds = 3600.0  # a viewer of a film who takes nothing: cut

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _ordered(self, ("silence_look_seconds", "silence_act_seconds"))
        return self

    @classmethod
    def for_tests(cls, **changes: float) -> Timeouts:
        """The same machine, faster: each value short enough that a test ends soon."""
        short: dict[str, Any] = {
            "drain_seconds": 2.0,
            "shutdown_seconds": 2.0,
            "linger_seconds": 0.3,
            "slot_wait_seconds": 0.5,
            "failure_memory_seconds": 0.5,
            "engine_stat_interval_seconds": 0.2,
            "engine_probe_interval_seconds": 0.5,
            "engine_preload_retry_seconds": 0.1,
            "silence_look_seconds": 0.4,
            "silence_act_seconds": 1.0,
            "recover_seconds": 20.0,
        }
        return cls(**{**short, **changes})


class Limits(BaseModel):
    """Bytes and counts. Every buffer in the program has its bound here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # -- HTTP, viewers' side (RFC 9112 §2.2 and §5 leave them to us) --
    request_head_bytes: int = Field(default=32 * 1024, ge=1024, le=1 << 30)  # 431 above
    request_header_count: int = Field(default=100, ge=10, le=1 << 30)  # 431 above
    request_target_bytes: int = Field(default=8 * 1024, ge=256, le=1 << 30)  # 414 above
    request_body_bytes: int = Field(default=1024 * 1024, ge=0, le=1 << 30)  # 413 above
    pipelined_requests: int = Field(default=16, ge=1, le=1 << 30)  # reading pauses above
    connections: int = Field(default=20_000, ge=1, le=1 << 30)  # further ones are shed with 503
    # not yet accepted; the kernel has its own cap
    listen_backlog: int = Field(default=4096, ge=1, le=65_535)
    # waiting for a channel's first picture
    held_viewers: int = Field(default=5_000, ge=1, le=1 << 30)

    # -- HTTP, engines' side --
    response_head_bytes: int = Field(default=64 * 1024, ge=1024, le=1 << 30)
    # documents, not streams
    response_body_bytes: int = Field(default=1024 * 1024, ge=1024, le=1 << 30)
    redirects: int = Field(default=3, ge=0, le=1 << 30)

    # -- a viewer's socket --
    write_high_bytes: int = Field(default=64 * 1024, ge=4096, le=1 << 30)
    write_low_bytes: int = Field(default=16 * 1024, ge=0, le=1 << 30)
    not_sent_low_bytes: int = Field(default=128 * 1024, ge=4096, le=1 << 30)  # TCP_NOTSENT_LOWAT

    # -- the ring --
    ring_seconds: float = Field(default=60.0, ge=1)
    ring_bytes: int = Field(default=32 * 1024 * 1024, ge=188 * 1024, le=1 << 30)  # kept at any age
    ring_cap_bytes: int = Field(default=96 * 1024 * 1024, ge=188 * 1024, le=1 << 30)  # never above
    # all together
    rings_budget_bytes: int = Field(default=2 * 1024 * 1024 * 1024, ge=1024 * 1024, le=1 << 44)
    # 65,424: whole packets below 64 KiB
    chunk_bytes: int = Field(default=348 * 188, ge=188, le=1 << 24, multiple_of=188)
    batch_window_max_seconds: float = Field(default=0.5, ge=0)
    # the budget that sets the batch window
    writes_per_second: int = Field(default=10_000, ge=100, le=1 << 30)
    catch_up_chunks: int = Field(default=8, ge=1, le=1 << 30)  # per viewer and turn of the loop

    # -- accounts --
    viewers: int = Field(default=20_000, ge=1, le=1 << 30)  # all together; 503 above
    # what all viewers together are sent, 0: any; 503 for new ones above
    bandwidth_bits_per_second: int = Field(default=0, ge=0, le=1 << 44)
    sockets_per_player: int = Field(default=8, ge=2, le=1 << 30)  # streams of an uncounted burst
    login_failures: int = Field(default=10, ge=1, le=1 << 30)  # per address and name; 429 above
    password_queue: int = Field(default=64, ge=1, le=1 << 30)  # waiting to be checked; 503 above
    webhook_queue: int = Field(default=100, ge=1, le=1 << 20)  # messages that wait for an address
    history_rows: int = Field(default=10_000, ge=0, le=1 << 30)

    # -- HLS for players --
    hls_segments: int = Field(default=6, ge=3, le=100)  # in a playlist
    # of a channel's segments, beside the ring; above, what has left the playlist is kept less long,
    # then the playlist becomes shorter
    hls_window_bytes: int = Field(default=96 * 1024 * 1024, ge=1024 * 1024, le=1 << 34)
    # a target duration that follows a stream's random-access points is never above
    hls_target_max_seconds: int = Field(default=15, ge=1, le=60)

    # -- HLS sources --
    hls_playlist_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, le=1 << 30)
    hls_segment_bytes: int = Field(default=64 * 1024 * 1024, ge=1024, le=1 << 32)

    # -- lists and guides --
    # what players ask for, kept ready
    built_lists_bytes: int = Field(default=256 * 1024 * 1024, ge=0, le=1 << 40)
    list_bytes: int = Field(default=256 * 1024 * 1024, ge=1024, le=1 << 34)  # as it is fetched
    guide_bytes: int = Field(default=2 * 1024**3, ge=1024, le=1 << 40)  # unpacked
    # of the process that imports: a document that needs more fails alone
    import_bytes: int = Field(default=1024**3, ge=128 * 1024**2, le=1 << 44)

    # -- channels --
    join_seconds: float = Field(default=2.0, ge=0)
    channels: int = Field(default=200, ge=1, le=1 << 30)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _ordered(self, ("write_low_bytes", "write_high_bytes"), ("ring_bytes", "ring_cap_bytes"))
        return self


def _quoted(url: str) -> str:
    """An address for an error message, which may end up in a log: without a login and a query."""
    return f"'{_LOGIN.sub('***@', url).partition('?')[0]}'"


def _engine_url(value: str) -> str:
    """Normalise an engine's address to `http://host:port`, nothing behind it."""
    text = value.strip()
    if "://" not in text:
        text = "http://" + text
    parts = urlsplit(text)
    try:
        port = parts.port or 6878
    except ValueError as error:
        raise ValueError(f"{_quoted(value)} has no usable port") from error
    if parts.scheme != "http":
        raise ValueError(f"{_quoted(value)}: an engine is reached over http://")
    beside = parts.username or parts.password or parts.path.strip("/") or parts.query
    if not parts.hostname or beside or not _HOST.fullmatch(parts.hostname):
        raise ValueError(f"{_quoted(value)} is not an address like http://127.0.0.1:6878")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"http://{host}:{port}"


def _network(value: Any) -> Network:
    """A network, or one address for the network that holds only it; host bits may be set."""
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    try:
        return ipaddress.ip_network(str(value).strip(), strict=False)
    except ValueError as error:
        raise ValueError(f"'{value}' is not a network like 192.168.0.0/16 or an address") from error


def _parts(value: Any) -> Any:
    """A list as a variable of the environment holds it: parted by commas or blanks."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _webhook(value: str) -> str:
    """An address to post to. It holds a secret, so no message shows it."""
    text = value.strip()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[^\x21-\x7e]", text):
        raise ValueError("a webhook is an address like https://chat.example.org/hooks/…")
    return text.partition("#")[0]


EngineUrl = Annotated[str, AfterValidator(_engine_url)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...], NoDecode, BeforeValidator(_parts)
]


Webhooks = Annotated[
    tuple[Annotated[str, AfterValidator(_webhook)], ...], NoDecode, BeforeValidator(_parts)
]


class Config(BaseSettings):
    """All settings, validated: made by `load_config`, or of given values and the defaults."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    host: str = ""  # empty: every IPv4 and IPv6 address
    port: Port = DEFAULT_PORT
    extra_ports: Annotated[tuple[Port, ...], NoDecode, BeforeValidator(_parts)] = ()
    data: Path = Path("rawstream-data")
    engines: Annotated[tuple[EngineUrl, ...], NoDecode, BeforeValidator(_parts)] = (DEFAULT_ENGINE,)
    engine_capacity: int = Field(default=4, ge=1)  # channels at a time on one engine
    ace_networks: Networks = tuple(map(_network, PRIVATE_NETWORKS))
    operator_networks: Networks = tuple(map(_network, LOOPBACK_NETWORKS))
    trusted_proxies: Networks = ()
    fetch_networks: Networks = ()  # lists, guides and direct sources; empty: see fetch_policy
    public_url: str = ""  # what players are told; empty: what they asked for
    hls_target_seconds: float = Field(default=4.0, ge=1, le=15)  # how long an HLS segment should be
    adult_hidden: bool = False  # adult categories are hidden from every account
    kodi_properties: bool = (
        True  # in lists (m3u_plus): #KODIPROP lines, which spare Kodi its probes
    )
    case_sensitive_names: bool = True
    # what a login with a wrong password answers: 200 with auth 0, as panels do, or 401
    login_failure_status: Literal[200, 401] = 200
    limit_policy: Literal["take over", "refuse"] = "take over"  # at an account's max_connections
    webhooks: Webhooks = ()  # told of channels and engines that go down, come up, fail over
    log_level: str = "info"
    log_format: LogFormat = "text"  # or a JSON object a line
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    def origin(self, name: str) -> Origin:
        """Where a setting's value comes from. `name`: dotted in a group."""
        return self._origins.get(name, "default")

    @field_validator("engines", mode="after")
    @classmethod
    def _some_engine_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("public_url")
    @classmethod
    def _usable_url(cls, value: str) -> str:
        text = value.strip().rstrip("/")
        if not text:
            return ""
        parts = urlsplit(text)
        beside = parts.username or parts.query or parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or beside:
            raise ValueError(f"{_quoted(value)} is not an address like https://tv.example.org/tv")
        if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)*", parts.path):
            raise ValueError(f"{_quoted(value)}: the path takes letters, digits and . _ ~ -")
        try:
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"{_quoted(value)} has no usable port") from error
        return text

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError("one of debug, info, warning, error")
        return value.lower()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given: `load_config` looks further, tests and the demo must not."""
        return (init_settings,)


def load_config(file: Path | None = None, **flags: Any) -> Config:
    """Read and validate all settings.

    `file`: the TOML file; None looks for `rawstream.toml` in the working directory and does without
    it. `flags`: values from the command line; None means not given.

    Raises ConfigError, naming the setting where the operator wrote it (a flag, a variable, the
    file) and what is wrong with it.
    """
    path = file if file is not None else Path(CONFIG_FILE_NAME)
    values = _read_toml(path) if file is not None or path.is_file() else {}
    given = {name: value for name, value in flags.items() if value is not None}
    origins: dict[str, Origin] = dict.fromkeys(_dotted(values), "file")
    try:
        from_environment = EnvSettingsSource(Config)()
        origins |= dict.fromkeys(_dotted(from_environment), "variable")
        origins |= dict.fromkeys(_dotted(given), "flag")
        for name, value in {**from_environment, **given}.items():
            below = values.get(name)
            if isinstance(below, dict) and isinstance(value, dict):
                value = {**below, **value}
            values[name] = value
        made = Config(**values)
        made._origins = origins
        return made
    except ValidationError as error:
        problems = error.errors(include_url=False)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        name, problem = _explain(problems[0])
        one_line = " ".join(problem.split()) + more
        raise ConfigError(_where(name, given, path), one_line) from error
    except SettingsError as error:
        problem = "a group is set as JSON, or one by one as in RAWSTREAM_LIMITS__CHANNELS=100"
        raise ConfigError(ENVIRONMENT_PREFIX + "…", problem) from error


def _dotted(values: Mapping[str, Any]) -> Iterator[str]:
    """The names of all settings in it, those in groups too."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), error.strerror or "can't be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"not valid TOML: {error}") from error


def _explain(problem: ErrorDetails) -> tuple[str, str]:
    """The setting's dotted name, and a sentence for what pydantic found."""
    parts = [part for part in problem["loc"] if isinstance(part, str)]
    name = ".".join(parts)
    kind, limits = problem["type"], problem.get("ctx", {})
    shown = f"'{str(problem['input'])[:60]}'"
    if kind == "extra_forbidden":
        fields = {"timeouts": Timeouts.model_fields, "limits": Limits.model_fields}
        near = difflib.get_close_matches(parts[-1], fields.get(parts[0], Config.model_fields), 1)
        return name, "no such setting" + (f"; did you mean {near[0]}?" if near else "")
    texts = {
        "path_type": f"{shown} is not a path",
        "int_parsing": f"{shown} is not a whole number",
        "int_type": f"{shown} is not a whole number",
        "int_from_float": f"{shown} is not a whole number",
        "float_parsing": f"{shown} is not a number",
        "float_type": f"{shown} is not a number",
        "greater_than": f"{shown} must be above {limits.get('gt')}",
        "greater_than_equal": f"{shown} must be at least {limits.get('ge')}",
        "less_than_equal": f"{shown} must be at most {limits.get('le')}",
        "tuple_type": f"{shown} must be a list",
        "model_type": "must be a group of settings, in TOML a [table]",
        "model_attributes_type": "must be a group of settings, in TOML a [table]",
        "string_type": f"{shown} must be text",
    }
    return name, texts.get(kind) or problem["msg"].removeprefix("Value error, ")


def _where(name: str, flags: Iterable[str], file: Path) -> str:
    """The setting's name as the operator wrote it: the strongest source that has it counts."""
    first = name.partition(".")[0]
    if first in flags:
        return "--" + _FLAGS.get(first, first).replace("_", "-")
    variable = ENVIRONMENT_PREFIX + name.replace(".", "__").upper()
    for known in os.environ:
        if known.upper() in (variable, ENVIRONMENT_PREFIX + first.upper()):
            return known
    return f"{file}: {name}" if name else str(file)
