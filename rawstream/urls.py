"""Where we are, as whoever asks sees us: the one function that every URL we emit is made by.

Owns: what of a request's head may say so. Must not know: what the URLs are for.

The order: a fixed `public_url`; what a trusted proxy says (`Forwarded`, RFC 7239, or
`X-Forwarded-*`); the Host header (RFC 9110 §7.2). Nobody else's word moves a URL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rawstream.config import Network

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
_AUTHORITY: Final = re.compile(r"([^:\[\]]+|\[[^\]]*\])(?::([0-9]{0,5}))?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_PAIR: Final = re.compile(r'\b(host|proto)=("[^"]*"|[^;,\s"]+)', re.IGNORECASE)


class Base(NamedTuple):
    """`host` without brackets and port; `prefix` is '' or begins with a slash."""

    scheme: str
    host: str
    port: int
    prefix: str = ""

    @property
    def url(self) -> str:
        """Everything before the path, without a slash at the end; the port if it must be said."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.prefix}"


def parse_public_url(text: str) -> Base | None:
    """A setting as a base; None for what is none."""
    try:
        parts = urlsplit(text.strip().rstrip("/"))
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.query or parts.username:
        return None
    if not _PREFIX.fullmatch(parts.path):
        return None
    return Base(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme], parts.path)


def base_url(
    headers: Mapping[str, str],
    peer: str,
    *,
    trusted: Sequence[Network],
    public: Base | None,
    port: int,
) -> Base:
    """What to put in front of a path for this request.

    `peer`: the address of the connection itself. `port`: where we listen, for a request without a
    usable host. A value that is no host, scheme, port or path counts as not said; a port that the
    host came with beats `X-Forwarded-Port`.
    """
    if public is not None:
        return public
    if not trusted or not _is_trusted(peer, trusted):
        return _plain_base(headers.get("host", ""), port)
    schemes, hosts = ["http"], [headers.get("host", "")]
    said = {name.lower(): value.strip('"') for name, value in _first_pairs(headers)}
    schemes = [said.get("proto", ""), _first(headers, "x-forwarded-proto"), *schemes]
    hosts = [said.get("host", ""), _first(headers, "x-forwarded-host"), *hosts]
    forwarded_port = _port(_first(headers, "x-forwarded-port"))
    prefix = _first(headers, "x-forwarded-prefix").rstrip("/")
    scheme = next(word.lower() for word in schemes if word.lower() in _DEFAULT_PORTS)
    if not _PREFIX.fullmatch(prefix):
        prefix = ""
    for text in hosts:
        found = _authority(text)
        if found is not None:
            host, own = found
            return Base(scheme, host, own or forwarded_port or _DEFAULT_PORTS[scheme], prefix)
    return Base(scheme, "127.0.0.1", forwarded_port or port, prefix)


@lru_cache(maxsize=1024)  # players ask under a few names
def _plain_base(host: str, port: int) -> Base:
    found = _authority(host)
    if found is None:
        return Base("http", "127.0.0.1", port)
    return Base("http", found[0], found[1] or _DEFAULT_PORTS["http"])


def _authority(text: str) -> tuple[str, int] | None:
    """Host and port, 0 where it names none; None for what is no host."""
    found = _AUTHORITY.fullmatch(text.strip())
    if found is None or not _HOST.fullmatch(found[1]):
        return None
    return found[1].strip("[]"), _port(found[2] or "")


def _port(text: str) -> int:
    """0 for what is none."""
    number = int(text) if _PORT.fullmatch(text) else 0
    return number if number < 65_536 else 0


def _is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in trusted)


def _first(headers: Mapping[str, str], name: str) -> str:
    """The client's side of a chain of proxies is on the left."""
    return headers.get(name, "").partition(",")[0].strip()


def _first_pairs(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return _PAIR.findall(_first(headers, "forwarded"))
