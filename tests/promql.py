"""PromQL taken apart, and the rules file read: as much of both as `deploy/` uses, and no more.

What these readers do not know they refuse, so nothing goes by them unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"\s*(?:(?P<duration>\[(?:\d+[smhd]|\$__rate_interval)\])"
    r"|(?P<labels>\{[^{}]*\})"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<name>[a-zA-Z_:][\w:]*)"
    r"|(?P<sign>==|!=|>=|<=|[-+*/<>(),]))"
)
_MATCHER = re.compile(r'\s*(\w+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_FUNCTIONS = {"rate", "increase", "histogram_quantile"}
_AGGREGATIONS = {"sum", "max", "min", "count", "avg", "topk"}
_BEHIND = {"by", "without", "on", "ignoring"}


class Selector(NamedTuple):
    """A metric as an expression names it. `grouped`: labels that the expression groups by."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    ranged: bool


class Expression(NamedTuple):
    selectors: list[Selector]
    grouped: set[str]


def taken_apart(text: str) -> Expression:
    """All that an expression names. Raises ValueError for what is no expression we know."""
    tokens = list(_tokens(text))
    depth = 0
    selectors: list[Selector] = []
    grouped: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, value = tokens[at]
        after = tokens[at + 1] if at + 1 < len(tokens) else ("", "")
        if value in "()" and kind == "sign":
            depth += 1 if value == "(" else -1
            if depth < 0:
                raise ValueError(f"a bracket too many: {text}")
        elif kind == "name" and value in _BEHIND:
            end = tokens.index(("sign", ")"), at)
            grouped |= {word for sort, word in tokens[at:end] if sort == "name"} - _BEHIND
            at = end
        elif kind == "name" and value in _FUNCTIONS:
            if after != ("sign", "("):
                raise ValueError(f"{value} without its brackets: {text}")
        elif kind == "name" and value in _AGGREGATIONS:
            if after[1] not in ("(", "by", "without"):
                raise ValueError(f"{value} of nothing: {text}")
        elif kind == "name":
            matchers: tuple[tuple[str, str, str], ...] = ()
            if after[0] == "labels":
                matchers = _matchers(after[1])
                at += 1
                after = tokens[at + 1] if at + 1 < len(tokens) else ("", "")
            ranged = after[0] == "duration"
            at += ranged
            selectors.append(Selector(value, matchers, ranged))
        elif kind in ("labels", "duration"):
            raise ValueError(f"{value} behind nothing: {text}")
        at += 1
    if depth or not selectors:
        raise ValueError(f"not whole: {text}")
    for selector in selectors:
        counted = selector.name.endswith(("_total", "_bucket", "_count", "_sum"))
        if selector.ranged and not counted:
            raise ValueError(f"{selector.name} does not only grow: {text}")
    return Expression(selectors, grouped)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"unknown at {at}: {text}")
        assert found.lastgroup is not None
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _matchers(text: str) -> tuple[tuple[str, str, str], ...]:
    inner, at, found = text[1:-1], 0, []
    while at < len(inner):
        match = _MATCHER.match(inner, at)
        if match is None:
            raise ValueError(f"no matchers: {text}")
        found.append((match[1], match[2], match[3]))
        at = match.end()
    return tuple(found)


# -- the rules file --


def read_yaml(text: str) -> Any:
    """The part of YAML that the rules are written in: maps, lists of maps, plain words, and single
    quotes. Raises ValueError for anything else.
    """
    lines = []
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            lines.append((len(line) - len(line.lstrip(" ")), line.strip()))
    value, rest = _block(lines, 0)
    if rest:
        raise ValueError(f"out of line: {rest[0][1]}")
    return value


_Lines = list[tuple[int, str]]


def _block(lines: _Lines, indent: int) -> tuple[Any, _Lines]:
    if lines and lines[0][1].startswith("- "):
        items = []
        while lines and lines[0][0] == indent and lines[0][1].startswith("- "):
            item: _Lines = [(indent + 2, lines[0][1][2:]), *lines[1:]]
            value, lines = _block(item, indent + 2)
            items.append(value)
        return items, lines
    found: dict[str, Any] = {}
    while lines and lines[0][0] == indent and not lines[0][1].startswith("- "):
        key, colon, said = lines[0][1].partition(":")
        if not colon or not re.fullmatch(r"\w+", key) or key in found:
            raise ValueError(f"no new key: {lines[0][1]}")
        lines = lines[1:]
        if said:
            found[key] = _scalar(said.removeprefix(" "))
        else:
            if not lines or lines[0][0] <= indent:
                raise ValueError(f"nothing in {key}")
            found[key], lines = _block(lines, lines[0][0])
    if not found:
        raise ValueError("nothing where something should be")
    return found, lines


def _scalar(text: str) -> str:
    if text.startswith("'"):
        inner = text[1:-1]
        if len(text) < 2 or text[-1] != "'" or "'" in inner.replace("''", ""):
            raise ValueError(f"a quote too many: {text}")
        return inner.replace("''", "'")
    if not re.fullmatch(r"[\w.]+", text):
        raise ValueError(f"needs quotes: {text}")
    return text
