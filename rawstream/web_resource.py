"""What lies at a URL that a list or a viewer named, and how it may be asked for.

Owns: the URL with the headers that a list gives for it, and GET of it: each hop is judged by the
addresses it resolves to, and connected to one of these. Must not know: what the bytes are, viewers,
what is tried when it fails.

The URL and its headers may hold secrets: only `label` is ever shown.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urljoin, urlsplit

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import shown_url
from rawstream.errors import UpstreamError
from rawstream.fetch_policy import FetchPolicy
from rawstream.http1_client import Headers
from rawstream.http_client import BodyStream, Receiver, open_stream

_SECRET_HEADERS = frozenset(("authorization", "cookie"))


class WebResource:
    """A resource (RFC 9110 §3.1) of somebody else, and the rules under which it is asked for."""

    __slots__ = ("headers", "label", "limits", "policy", "timeouts", "url")

    def __init__(
        self,
        url: str,
        policy: FetchPolicy,
        timeouts: Timeouts,
        limits: Limits,
        headers: Headers = (),
    ) -> None:
        self.url = url
        self.label = shown_url(url)
        self.headers = headers
        self.policy = policy
        self.timeouts = timeouts
        self.limits = limits

    async def open(
        self, receiver: Receiver, more: Headers = (), accepted: Collection[int] = ()
    ) -> BodyStream:
        """The answer's body, after as many redirects as may be. `more`: headers of this request,
        for every hop. `accepted`: see `open_stream`. Raises UpstreamError; see `shown`.
        """
        url, public = self.url, False
        for _hop in range(self.limits.redirects + 1):
            allowed = await self.policy.check(url, came_from_public=public)
            public = public or allowed.public
            headers = (*self._headers_for(url), *more)
            found = await self._hop(url, allowed.addresses, receiver, headers, accepted)
            if isinstance(found, BodyStream):
                return found
            url = found
        raise UpstreamError("open", self.label, "too many redirects")

    def shown(self, error: UpstreamError) -> UpstreamError:
        """An error without the origin's own words, which may quote the URL."""
        if error.status is None:
            return error
        reason = f"answered {error.status}"
        return UpstreamError(error.phase, self.label, reason, status=error.status)

    def _headers_for(self, url: str) -> Headers:
        """What a list gives goes along, as players do; not its secrets to another origin."""
        own, there = urlsplit(self.url), urlsplit(url)
        if (own.scheme, own.netloc) == (there.scheme, there.netloc):
            return self.headers
        return [header for header in self.headers if header[0].lower() not in _SECRET_HEADERS]

    async def _hop(
        self,
        url: str,
        addresses: tuple[str, ...],
        receiver: Receiver,
        headers: Headers,
        accepted: Collection[int],
    ) -> BodyStream | str:
        """One request, to the first of the addresses that accepts; the body, or where it leads."""
        for number, address in enumerate(addresses, 1):
            target: list[str] = []

            def note(current: str, location: str, found: list[str] = target) -> str:
                try:
                    found.append(urljoin(current, location))
                except ValueError:
                    found.append("")  # nowhere: the policy says so
                raise UpstreamError("open", self.label, "redirected")

            try:
                return await open_stream(
                    url,
                    receiver,
                    headers=headers,
                    accepted=accepted,
                    connect_seconds=self.timeouts.source_connect_seconds,
                    head_seconds=self.timeouts.source_head_seconds,
                    limits=self.limits,
                    redirect=note,
                    connect_to=address,
                )
            except UpstreamError as error:
                if target:
                    return target[0]
                if error.phase != "connect" or number == len(addresses):
                    raise
        raise AssertionError("a judged host has an address")
