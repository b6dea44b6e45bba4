"""Settings: where they come from, and the one line an operator reads when one is wrong."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rawstream.config import (
    DEFAULT_ENGINE,
    DEFAULT_PORT,
    PRIVATE_NETWORKS,
    Config,
    Limits,
    Timeouts,
    load_config,
)
from rawstream.errors import ConfigError


@pytest.fixture(autouse=True)
def _nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No file and no variable of the machine that runs the tests."""
    monkeypatch.chdir(tmp_path)
    for name in ("RAWSTREAM_PORT", "RAWSTREAM_ENGINES", "RAWSTREAM_HOST", "RAWSTREAM_DATA"):
        monkeypatch.delenv(name, raising=False)


def refusal(text: str = "", **flags: Any) -> str:
    """What is said of a file's text and of flags that can't be used."""
    file = Path("settings.toml")
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load_config(file, **flags)
    said = str(refused.value)
    assert "\n" not in said
    return said


# -- where settings come from --


def test_without_anything_the_defaults_hold() -> None:
    config = load_config()
    assert (config.host, config.port, config.engines) == ("", DEFAULT_PORT, (DEFAULT_ENGINE,))
    assert config.ace_networks == tuple(ip_network(n) for n in PRIVATE_NETWORKS)
    assert config.trusted_proxies == ()


def test_flags_win_over_variables_and_variables_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("rawstream.toml").write_text('host = "file"\nport = 1\ndata = "file"\n')
    monkeypatch.setenv("RAWSTREAM_PORT", "2")
    monkeypatch.setenv("RAWSTREAM_DATA", "variable")
    config = load_config(None, data=Path("flag"), port=None)
    assert (config.host, config.port, config.data) == ("file", 2, Path("flag"))


def test_a_variable_changes_one_value_of_a_group_and_leaves_the_files_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("rawstream.toml").write_text("[timeouts]\nlinger_seconds = 7\nhold_seconds = 8\n")
    monkeypatch.setenv("RAWSTREAM_TIMEOUTS__HOLD_SECONDS", "9")
    timeouts = load_config().timeouts
    assert (timeouts.linger_seconds, timeouts.hold_seconds) == (7.0, 9.0)


@pytest.mark.parametrize("text", ["http://a:1,http://b:2", "http://a:1 http://b:2", "a:1, b:2"])
def test_a_list_in_a_variable_is_parted_by_commas_or_blanks(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RAWSTREAM_ENGINES", text)
    monkeypatch.setenv("RAWSTREAM_TRUSTED_PROXIES", "10.0.0.1,fd00::/8")
    config = load_config()
    assert config.engines == ("http://a:1", "http://b:2")
    assert config.trusted_proxies == (ip_network("10.0.0.1/32"), ip_network("fd00::/8"))


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAWSTREAM_PORT", "")
    assert load_config().port == DEFAULT_PORT


def test_a_config_made_by_hand_looks_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("rawstream.toml").write_text("port = 1")
    monkeypatch.setenv("RAWSTREAM_PORT", "2")
    assert Config().port == DEFAULT_PORT


# -- what is wrong with them --


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = 70000", "settings.toml: port: '70000' must be at most 65535"),
        ('port = "x"', "settings.toml: port: 'x' is not a whole number"),
        ("port = 1.5", "settings.toml: port: '1.5' is not a whole number"),
        ("prot = 1", "settings.toml: prot: no such setting; did you mean port?"),
        ("entirely_else = 1", "settings.toml: entirely_else: no such setting"),
        (
            "[timeouts]\nlinger_secons = 1",
            "settings.toml: timeouts.linger_secons: no such setting; did you mean linger_seconds?",
        ),
        ("timeouts = 3", "settings.toml: timeouts: must be a group of settings, in TOML a [table]"),
        (
            "[timeouts]\nsilence_look_seconds = 9",
            "settings.toml: timeouts: silence_look_seconds must not be above silence_act_seconds",
        ),
        (
            "[limits]\nring_bytes = 50_000_000\nring_cap_bytes = 40_000_000",
            "settings.toml: limits: ring_bytes must not be above ring_cap_bytes",
        ),
        ('log_level = "loud"', "settings.toml: log_level: one of debug, info, warning, error"),
        (
            'ace_networks = ["1.2.3"]',
            "settings.toml: ace_networks: "
            "'1.2.3' is not a network like 192.168.0.0/16 or an address",
        ),
        ("[limits]\nchannels = 0\nconnections = 0", "(and 1 more)"),
        ("port = ", "settings.toml: not valid TOML"),
    ],
)
def test_a_wrong_setting_in_the_file_is_named_with_what_is_wrong(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("ftp://x", "reached over http://"),
        ("https://x", "reached over http://"),
        ("http://x:y", "no usable port"),
        ("http://x:99999", "no usable port"),
        ("http://u:p@x", "is not an address like"),
        ("http://x/path", "is not an address like"),
        ("http://", "is not an address like"),
    ],
)
def test_an_engine_is_an_address_and_nothing_behind_it(engine: str, said: str) -> None:
    text = refusal(engines=(engine,))
    assert text.startswith("--engine: ")
    assert said in text


@pytest.mark.parametrize("host", ["h", "h:x", "h:99999", "h/path", "h/?key=SECRET"])
@pytest.mark.parametrize("scheme", ["http", "ftp"])
def test_a_refused_address_is_named_without_its_secrets(scheme: str, host: str) -> None:
    """It stands in a log, where a service manager keeps it."""
    for name in ("engines", "public_url"):
        given = f"{scheme}://ana:SECRET@{host}"
        text = refusal(**{name: (given,) if name == "engines" else f"{given}?SECRET"})
        assert "SECRET" not in text and "ana" not in text
        assert "h" in text.partition("***@")[2]


@pytest.mark.parametrize(
    ("given_as", "url"),
    [
        ("10.0.0.5", "http://10.0.0.5:6878"),
        (" http://engine.lan/ ", "http://engine.lan:6878"),
        ("http://[fd00::1]:80", "http://[fd00::1]:80"),
    ],
)
def test_an_engines_address_may_leave_out_what_is_usual(given_as: str, url: str) -> None:
    assert load_config(engines=(given_as, given_as)).engines == (url,)


@pytest.mark.parametrize(
    "url", ["ftp://h/SECRET", "http:///SECRET", "h/SECRET", "http://h/SECRET x", "http://[h/SECRET"]
)
def test_a_webhook_that_is_none_is_refused_and_not_shown(url: str, tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(f'webhooks = ["{url}"]')
    with pytest.raises(ConfigError) as info:
        load_config(file)
    assert "webhooks" in info.value.field
    assert "SECRET" not in str(info.value)


def test_webhooks_in_a_variable_are_parted_like_any_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAWSTREAM_WEBHOOKS", "http://h/a,https://u:p@h:1/b?c=d")
    assert load_config().webhooks == ("http://h/a", "https://u:p@h:1/b?c=d")


def test_a_wrong_variable_is_named_as_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAWSTREAM_PORT", "x")
    assert refusal() == "RAWSTREAM_PORT: 'x' is not a whole number"
    monkeypatch.delenv("RAWSTREAM_PORT")
    monkeypatch.setenv("RAWSTREAM_LIMITS__CHANNELS", "0")
    assert refusal() == "RAWSTREAM_LIMITS__CHANNELS: '0' must be at least 1"
    monkeypatch.setenv("RAWSTREAM_TIMEOUTS", "{")
    assert refusal().startswith("RAWSTREAM_")


def test_a_wrong_flag_is_named_as_a_flag() -> None:
    assert refusal(log_level="loud").startswith("--log-level: ")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file"):
        load_config(Path("absent.toml"))
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    Path("latin.toml").write_bytes(b'host = "\xff"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(Path("latin.toml"))


keys = st.sampled_from([*Config.model_fields, "unknown"])
words = st.text(alphabet="aé1:/.-[ \n\x00", max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
toml_values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(words, scalars, max_size=2)


@given(st.dictionaries(keys, toml_values, max_size=3))
def test_any_value_is_taken_or_refused_in_one_line(values: dict[str, Any]) -> None:
    try:
        load_config(None, **values)
    except ConfigError as refused:
        assert str(refused)
        assert "\n" not in str(refused)


# -- the groups --


def test_every_timeout_and_limit_says_its_unit_and_refuses_nonsense() -> None:
    for name in Timeouts.model_fields:
        assert name.endswith("_seconds"), name
        for nonsense in (-1, "soon", 1e9):
            with pytest.raises(ValidationError):
                Timeouts(**{name: nonsense})
    for name in Limits.model_fields:
        with pytest.raises(ValidationError):
            Limits(**{name: -1})


def test_the_profile_for_tests_is_shorter_in_all_it_changes() -> None:
    usual, short = Timeouts(), Timeouts.for_tests(drain_seconds=0.5)
    assert short.drain_seconds == 0.5
    for name in Timeouts.model_fields:
        assert getattr(short, name) <= getattr(usual, name), name


@pytest.mark.parametrize(
    "url", ["tv.example.org", "ftp://a", "https://", "http://a:x", "http://a/?b"]
)
def test_a_public_url_that_players_could_not_use_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="public_url"):
        Config(public_url=url)


def test_a_public_url_loses_its_last_slash() -> None:
    assert Config(public_url="https://tv.example.org:8443/tv/").public_url == (
        "https://tv.example.org:8443/tv"
    )


def test_where_each_setting_comes_from_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.toml"
    file.write_text('log_level = "debug"\nport = 1\nadult_hidden = true\n[limits]\nviewers = 7\n')
    monkeypatch.setenv("RAWSTREAM_PORT", "2")
    monkeypatch.setenv("RAWSTREAM_LIMITS__CHANNELS", "9")
    made = load_config(file, log_level="error", host=None)
    names = ("log_level", "port", "adult_hidden", "limits.viewers", "limits.channels", "host")
    assert [made.origin(name) for name in names] == [
        *("flag", "variable", "file", "file", "variable", "default")
    ]
    assert made.model_copy(update={"port": 3}).origin("port") == "variable"
