"""Answers of the simulated engine: right, refused, or spoilt by a fault.

Owns: what each kind of fault makes of an answer (engine reference §8.2), the forms of a refusal.
Must not know: when a fault strikes, sessions, media.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rawstream.simulator_contents import LOAD_FAILED, MOD_DETECTED, PREMIUM, Fault
from rawstream.simulator_http import HTML_TYPE, JSON_TYPE, SimConnection, SimRequest
from rawstream.simulator_sessions import Json

NO_RESOURCE = "Internal Server Error, couldn't find resource"
HTML_500 = b"<html><body><h1>500 Internal Server Error</h1></body></html>"


class Answers:
    """Those of one engine. `authority`: its host and port, for who names none."""

    def __init__(self, authority: Callable[[], str]) -> None:
        self._authority = authority

    async def spoil(
        self, connection: SimConnection, request: SimRequest, fault: Fault, answer: Json | None
    ) -> None:
        """Answer as the fault has it, instead of `answer`."""
        right: Json = answer if answer is not None else {"response": "ok", "error": None}
        match fault.kind:
            case "status":
                connection.respond(fault.status, fault.text.encode())
            case "html_500":
                connection.respond(500, HTML_500, HTML_TYPE)
            case "empty_500":
                connection.respond(500)
            case "half_body":
                connection.half_body(json.dumps(right).encode(), JSON_TYPE)
            case "malformed":
                connection.malformed()
            case "reset":
                connection.reset()
            case "close":
                connection.close()
            case "hang":
                await connection.closed.wait()
            case "error":
                extra: Json = {}
                if fault.option:
                    extra["extra_data"] = {"reason": "missing_option", "option": fault.option}
                words = fault.text or LOAD_FAILED
                self.refuse(connection, request, words, extra)
            case "odd_types":
                connection.respond(200, json.dumps(_odd(right)).encode(), JSON_TYPE)
            case "string_response":
                text = json.dumps({"response": json.dumps(right.get("response")), "error": None})
                connection.respond(200, text.encode(), JSON_TYPE)
            case "empty_response":
                connection.respond(200, b'{"response": {}, "error": null}', JSON_TYPE)
            case "huge":
                padded = {**right, "padding": "x" * 2_000_000}
                connection.respond(200, json.dumps(padded).encode(), JSON_TYPE)
            case "foreign_redirect":
                connection.redirect(fault.text)
            case "redirect_loop":
                connection.redirect(self.absolute(request, request.target))

    def json(self, connection: SimConnection, body: Json) -> None:
        connection.respond(200, json.dumps(body).encode(), JSON_TYPE)

    def refuse(
        self, connection: SimConnection, request: SimRequest, words: str, extra: Json | None = None
    ) -> None:
        """An error in the form the request asked for (§1.4)."""
        start = request.segments[-1] in ("getstream", "manifest.m3u8")
        if not start or request.query.get("format") == "json":
            self.json(connection, {"response": None, "error": words, **(extra or {})})
        elif words in (PREMIUM, MOD_DETECTED):
            connection.respond(200, words.encode())
        else:
            connection.respond(500, NO_RESOURCE.encode())

    def absolute(self, request: SimRequest, path: str) -> str:
        """The engine echoes the Host header, even where that leads nowhere (§1.3)."""
        return f"http://{request.headers.get('host', self._authority())}{path}"


def _odd(value: Any) -> Any:
    """The same values in the types that builds in the field have been seen to use (§8.2)."""
    if isinstance(value, dict):
        return {**{key: _odd(each) for key, each in value.items()}, "x_unknown": [None]}
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return float(value) if value in (0, 1) else str(value)
    return value
