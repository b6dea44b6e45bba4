"""Who may be connected to for a URL that a viewer or a list has named (design §6).

Owns: the judgement of addresses. Must not know: HTTP, what a channel is, why somebody asks.

Loopback and private addresses are allowed: they are a household's own sources. What is not: places
that only a program on this machine or in this cloud should reach, the engines, and ourselves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rawstream.config import Network
from rawstream.errors import UpstreamError

_LOOK_UPS_AT_ONCE = 32
_looking_up = 0  # look-ups under way, of all loops
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# What clouds answer on with the machine's own credentials; the usual one is link-local anyway.
_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254")))
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")  # reaches this host (RFC 1122 §3.2.1.3)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052 §2.1
_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291 §2.5.5.1, but for :: and ::1


class Allowed(NamedTuple):
    """A judged host: every address it resolves to, in the order to try them. `public`: whether all
    of them are.
    """

    addresses: tuple[str, ...]
    public: bool


class FetchPolicy:
    """Which addresses a viewer's or a list's URL may make us connect to.

    Never link-local, metadata, unspecified, multicast or reserved ones, never our own ports, never
    the engines; after a public address a redirect never leads to a private one. `own_ports()`:
    those we listen on, on any address of this machine. `networks`: only from these, where there
    are any.
    """

    def __init__(
        self,
        engine_urls: Iterable[str],
        own_ports: Callable[[], Collection[int]],
        networks: Sequence[Network] = (),
    ) -> None:
        self._networks = networks
        self._own_ports = own_ports
        self.engines_are(engine_urls)

    def engines_are(self, urls: Iterable[str]) -> None:
        """From now on these."""
        self._engines = [(parts.hostname, parts.port) for parts in map(urlsplit, urls)]

    async def check(self, url: str, *, came_from_public: bool = False) -> Allowed:
        """Resolve a URL's host, off the loop, and judge each address. What is returned is what must
        be connected to: a second look-up of the name may say something else.

        Raises UpstreamError (connect); nothing of the URL but host and port is in it.
        """
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if not host or parts.scheme not in ("http", "https"):
            raise UpstreamError("connect", "source", "not an http or https URL")
        port = port or (443 if parts.scheme == "https" else 80)
        label = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        found = await _resolve(host, port)
        if not found:
            raise UpstreamError("connect", label, "the name can't be resolved")
        engines = await self._engine_addresses(port)
        for address in found:
            for ip in _readings(address):
                problem = self._problem(ip, port, engines)
                if problem is None and came_from_public and not ip.is_global:
                    problem = "a redirect from a public to a private address is not followed"
                if problem is not None:
                    raise UpstreamError("connect", label, problem)
        public = all(ip.is_global for address in found for ip in _readings(address))
        return Allowed(tuple(map(str, found)), public)

    def _problem(self, ip: _Address, port: int, engines: Collection[_Address]) -> str | None:
        if (
            ip.is_link_local
            or ip.is_multicast
            or ip.is_unspecified
            or ip in _METADATA
            or (ip.version == 4 and (ip.is_reserved or ip in _THIS_NETWORK))
        ):
            return "this address is not fetched from"
        if self._networks and not any(ip in network for network in self._networks):
            return "this address is not in fetch_networks"
        ours = port in self._own_ports()
        if not ours and not engines:
            return None
        local = _is_this_machine(ip)
        if ours and local:
            return "our own port is not a source"
        if ip in engines or (local and any(map(_is_this_machine, engines))):
            return "an engine is not a source"
        return None

    async def _engine_addresses(self, port: int) -> set[_Address]:
        """Addresses of the engines that listen on this port, for names and addresses alike."""
        hosts = {host for host, engine_port in self._engines if host and engine_port == port}
        found = await asyncio.gather(*(_resolve(host, port) for host in hosts))
        return {ip for addresses in found for address in addresses for ip in _readings(address)}


async def _resolve(host: str, port: int) -> list[_Address]:
    """The addresses of a name or an address, in the system's order; none if there is none.

    A look-up can't be cancelled and may last a minute. So it has a thread of its own, which nobody
    waits for at the end, and not one of the few that the loop looks up engines' names with.
    """
    global _looking_up
    try:
        return [ipaddress.ip_address(host.partition("%")[0])]
    except ValueError:
        pass
    if _looking_up >= _LOOK_UPS_AT_ONCE:
        raise UpstreamError("connect", "source", "too many names are being looked up")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def settle(found: list[Any]) -> None:
        global _looking_up
        _looking_up -= 1
        if not answer.done():
            answer.set_result(found)

    def look_up() -> None:
        try:
            found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            found = []
        try:
            loop.call_soon_threadsafe(settle, found)
        except RuntimeError:
            pass  # the loop has ended meanwhile

    try:
        threading.Thread(target=look_up, name=f"look up {host[:40]}", daemon=True).start()
    except RuntimeError as error:  # the machine gives us no more of them
        raise UpstreamError("connect", "source", "names can't be looked up now") from error
    _looking_up += 1
    found = await answer
    texts = dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found)
    return [ipaddress.ip_address(text) for text in texts]


def _readings(address: _Address) -> Iterator[_Address]:
    """The address, and the IPv4 one it stands for where a gateway or the kernel would unpack it."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            yield address.ipv4_mapped
            return
        if address.sixtofour is not None:
            yield address.sixtofour
        elif address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            yield ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    yield address


def _is_this_machine(ip: _Address) -> bool:
    """Whether packets to it stay here: only an address of ours can be bound."""
    if ip.is_loopback:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True
