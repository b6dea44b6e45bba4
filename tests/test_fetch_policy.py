"""Whom a URL may make us connect to: each address is judged, and what was judged is given back."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rawstream import fetch_policy
from rawstream.errors import UpstreamError
from rawstream.fetch_policy import Allowed, FetchPolicy

OWN_PORT = 58055
PUBLIC, OTHER_PUBLIC = "8.8.8.8", "2606:4700:4700::1111"

Say = Callable[..., None]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Say what names resolve to, for this test; addresses resolve as ever."""
    real = socket.getaddrinfo
    known: dict[str, tuple[str, ...]] = {}

    def resolve(host: Any, port: Any, **more: Any) -> list[Any]:
        if host not in known and host.endswith(".example"):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        found: list[Any] = []
        for address in known.get(host, (host,)):
            found += real(address, port, **more)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return lambda name, *addresses: known.update({name: addresses})


def policy(*engines: str) -> FetchPolicy:
    return FetchPolicy(engines or ("http://127.0.0.1:6878",), lambda: {OWN_PORT})


async def refusal(judge: FetchPolicy, url: str, **settings: bool) -> str:
    with pytest.raises(UpstreamError) as caught:
        await judge.check(url, **settings)
    assert caught.value.phase == "connect"
    return caught.value.reason


def own_address() -> str:
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError:
            pytest.skip("this machine has no other address than loopback")
        return str(probe.getsockname()[0])


@pytest.mark.parametrize(
    ("url", "addresses", "public"),
    [
        ("http://127.0.0.1:8080/a.ts", ("127.0.0.1",), False),
        ("http://[::1]:8080/a.ts", ("::1",), False),
        ("http://192.168.1.9/a.ts", ("192.168.1.9",), False),
        ("http://10.0.0.1/a.ts", ("10.0.0.1",), False),
        ("http://[fd00::9]/a.ts", ("fd00::9",), False),
        ("http://100.64.0.7/a.ts", ("100.64.0.7",), False),
        (f"http://{PUBLIC}/a.ts", (PUBLIC,), True),
        (f"https://[{OTHER_PUBLIC}]/a.ts", (OTHER_PUBLIC,), True),
        (f"http://user:pass@{PUBLIC}/a.ts", (PUBLIC,), True),
        (f" http://{PUBLIC}/a.ts\n", (PUBLIC,), True),
    ],
)
async def test_a_households_and_the_worlds_sources_are_allowed(
    url: str, addresses: tuple[str, ...], public: bool
) -> None:
    assert await policy().check(url) == Allowed(addresses, public)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "[::169.254.169.254]",
        "2852039166",  # 169.254.169.254 as one number
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "0.0.0.0",
        "0.0.0.1",
        "[::]",
        "224.0.0.1",
        "[ff02::1]",
        "255.255.255.255",
        "100.100.100.200",
        "[fd00:ec2::254]",
    ],
)
@pytest.mark.parametrize("user", ["", "127.0.0.1:80@"])
async def test_addresses_that_serve_machines_are_never_fetched_from(host: str, user: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await policy().check(f"http://{user}{host}:8080/latest/meta-data")
    assert caught.value.reason in ("this address is not fetched from", "the name can't be resolved")
    if not host.startswith(("[fe80::1%", "0", "2852")):  # the system may not know those spellings
        assert caught.value.reason == "this address is not fetched from"


async def test_a_name_is_judged_by_every_address_it_has(names: Say) -> None:
    names("mixed.example", PUBLIC, "169.254.169.254")
    assert "not fetched" in await refusal(policy(), "http://mixed.example/")
    names("many.example", PUBLIC, OTHER_PUBLIC)
    assert await policy().check("http://many.example/") == Allowed((PUBLIC, OTHER_PUBLIC), True)
    names("half.example", PUBLIC, "192.168.1.1")
    assert not (await policy().check("http://half.example/")).public


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "file:///etc/passwd",
        "http:///x",
        "http://",
        "gopher://127.0.0.1/",
        "http://[bad/x",
        "http://h:99999/x",
        "http://h:-1/x",
        "unix:///run/x",
        "",
        "http",
    ],
)
async def test_what_is_no_http_url_is_refused(url: str) -> None:
    assert await refusal(policy(), url) == "not an http or https URL"


async def test_a_name_nobody_knows_is_refused_and_its_secrets_are_not_told(names: Say) -> None:
    with pytest.raises(UpstreamError) as caught:
        await policy().check("http://u:SECRET@nobody.example:81/SECRET?k=SECRET")
    assert str(caught.value) == "nobody.example:81: connect: the name can't be resolved"
    assert "resolved" in await refusal(policy(), "http://" + "a" * 300 + ".example/")


# -- ourselves --


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.3.2.1", "[::1]", "localhost", "[::ffff:127.0.0.1]"]
)
async def test_our_own_ports_are_no_source(host: str) -> None:
    url = f"http://{host}:{OWN_PORT}/ace/getstream?id=x"
    assert await refusal(policy(), url) == "our own port is not a source"
    await policy().check(f"http://{host}:{OWN_PORT + 1}/")


async def test_our_own_ports_are_no_source_by_any_address_of_this_machine(names: Say) -> None:
    names("me.example", own_address())
    for host in (own_address(), "me.example"):
        assert "own port" in await refusal(policy(), f"http://{host}:{OWN_PORT}/")


async def test_another_machine_may_use_the_port_that_we_use() -> None:
    assert (await policy().check(f"http://{PUBLIC}:{OWN_PORT}/")).public


async def test_ports_opened_later_are_ours_too() -> None:
    ports: set[int] = set()
    judge = FetchPolicy((), lambda: ports)
    await judge.check("http://127.0.0.1/")
    ports.add(80)
    assert "own port" in await refusal(judge, "http://127.0.0.1/")


# -- engines --


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9"])
async def test_an_engine_on_this_machine_is_no_source_by_any_name(host: str) -> None:
    assert await refusal(policy(), f"http://{host}:6878/x") == "an engine is not a source"
    await policy().check(f"http://{host}:6879/x")


async def test_an_engine_on_this_machine_is_no_source_by_its_outer_address() -> None:
    assert "engine" in await refusal(policy(), f"http://{own_address()}:6878/")


async def test_an_engine_elsewhere_is_no_source_by_name_nor_address(names: Say) -> None:
    names("engine.example", "192.168.7.7")
    names("alias.example", "192.168.7.7")
    for configured in ("http://engine.example:6878", "http://192.168.7.7:6878"):
        judge = policy(configured)
        for host in ("engine.example", "alias.example", "192.168.7.7", "[::ffff:192.168.7.7]"):
            assert "engine" in await refusal(judge, f"http://{host}:6878/ace/r/x")
            await judge.check(f"http://{host}:8000/tv.ts")
        await judge.check("http://192.168.7.8:6878/")
        await judge.check("http://127.0.0.1:6878/")


async def test_an_engine_whose_name_is_lost_forbids_nothing_else(names: Say) -> None:
    await policy("http://engine.example:6878").check("http://192.168.7.7:6878/")


# -- redirects --


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.1.1", "[fd00::1]", "[::1]", "100.64.0.1"])
async def test_a_redirect_from_public_to_private_is_refused(host: str) -> None:
    url = f"http://{host}:8080/"
    assert "from a public to a private" in await refusal(policy(), url, came_from_public=True)
    await policy().check(url, came_from_public=False)


async def test_a_redirect_from_public_to_public_is_followed() -> None:
    assert (await policy().check(f"http://{PUBLIC}/", came_from_public=True)).public


async def test_a_name_with_one_private_address_is_private_after_a_redirect(names: Say) -> None:
    names("half.example", PUBLIC, "192.168.1.1")
    assert "private" in await refusal(policy(), "http://half.example/", came_from_public=True)


@pytest.mark.parametrize("address", ["64:ff9b::10.0.0.1", "2002:a00:1::1", "::ffff:10.0.0.1"])
async def test_a_private_address_inside_another_is_private(address: str) -> None:
    assert not (await policy().check(f"http://[{address}]/")).public


# -- the loop --


async def test_a_slow_name_server_stops_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    real = socket.getaddrinfo

    def slow(host: str, port: int, **more: Any) -> Any:
        if host == "slow.example":
            answer.wait(60)
            host = PUBLIC
        return real(host, port, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    judge = policy()
    waiting = asyncio.create_task(judge.check("http://slow.example/"))
    await judge.check(f"http://{PUBLIC}/")
    assert not waiting.done()
    answer.set()
    assert (await waiting).addresses == (PUBLIC,)


async def test_only_so_many_names_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()

    def slow(host: str, port: int, **more: Any) -> Any:
        answer.wait(60)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    judge = policy()
    waiting = [
        asyncio.create_task(judge.check(f"http://slow{number}.example/")) for number in range(40)
    ]
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert len(pending) >= 30
    for task in done:
        assert "too many names" in str(task.exception())
    answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, UpstreamError) for result in results)


async def test_a_look_up_that_gets_no_thread_takes_nobodys_place(
    names: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    names("h.example", "203.0.113.5")
    judge = FetchPolicy([], lambda: [])

    def no_more(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", no_more)
        for _ in range(fetch_policy._LOOK_UPS_AT_ONCE):
            with pytest.raises(UpstreamError, match="can't be looked up now"):
                await judge.check("http://h.example/")
    assert (await judge.check("http://h.example/")).addresses == ("203.0.113.5",)


async def test_the_operator_may_name_the_networks_that_are_fetched_from() -> None:
    networks = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "2001:db8::/32")))
    policy = FetchPolicy((), lambda: (), networks)
    assert (await policy.check("http://10.1.2.3/")).addresses == ("10.1.2.3",)
    for host in ("127.0.0.1", "93.184.216.34", "[2001:4860::1]", "169.254.1.1"):
        with pytest.raises(UpstreamError):
            await policy.check(f"http://{host}/")
