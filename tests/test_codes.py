"""Codes of sentences: what is said elsewhere has one, and both languages know each of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from stage import stage
from test_pages import dictionary

import rawstream
from rawstream import m3u
from rawstream.codes import SENTENCES, UNKNOWN, holes, told
from rawstream.rest import Operation

HERE = Path(rawstream.__file__).parent
# modules whose refusals an operator's page shows
SAY = (
    *sorted(path.stem for path in HERE.glob("api_*.py")),
    *(
        "accounts",
        "acelink",
        "engine_roster",
        "fetch",
        "fetch_policy",
        "guide_import",
        "lineup_edit",
    ),
    *("live_settings", "operators", "rest", "store_accounts", "store_edits", "store_lineup"),
    *("supply", "unpack", "uploads"),
)
RAISED = {
    **{"ConfigError": 1, "Failed": 1, "FormatError": 1, "NotThere": 0, "ValueError": 0},
    **{"ViewerError": 1, "UpstreamError": 2, "UpstreamTimeout": 2, "_warn": 1, "_drop": 1},
    **{"_unusable": 1, "problem": 1},
}
SPOKEN_TO_NOBODY = {"id_: it is a number"}


def literal(node: ast.expr) -> str:
    """What a literal says, with X in its holes; '' for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            literal(part) if isinstance(part, ast.Constant) else "X" for part in node.values
        )
    return ""


def said_in(*modules: str) -> Iterator[tuple[str, str, str]]:
    """Module, what is called, sentence."""
    for module in modules:
        for node in ast.walk(ast.parse((HERE / f"{module}.py").read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in RAISED and len(node.args) > RAISED[name]:
                text = literal(node.args[RAISED[name]])
                if text:
                    yield module, name, text


def test_whatever_is_refused_has_a_code() -> None:
    found = list(said_in(*SAY))
    assert len(found) > 90
    unknown = [
        (module, text)
        for module, name, text in found
        if told(f"there is no such {text}" if name == "NotThere" else text) is UNKNOWN
    ]
    assert unknown == []


def test_whatever_is_wrong_with_a_list_has_a_code() -> None:
    found = [text for _module, _name, text in said_in("m3u")] + list(m3u._FOUND.values())
    assert len(found) > 15
    assert [text for text in found if told(text) is UNKNOWN] == []


def test_pages_have_words_for_every_code_in_both_languages() -> None:
    for language in ("en", "it"):
        known = dictionary(language)
        for code in SENTENCES:
            sentence = known[f"code.{code}"]
            unknown = {part.split("}")[0] for part in sentence.split("{")[1:]} - {
                *holes(code),
                "at",
            }
            assert not unknown, (language, code, unknown)
        kept = {key.removeprefix("code.") for key in known if key.startswith("code.")}
        assert kept == {*SENTENCES}, "a code that is not said any more"


def test_pages_have_words_for_whatever_is_not_there() -> None:
    said = {text for _module, name, text in said_in(*SAY) if name == "NotThere" and "X" not in text}
    assert len(said) > 10
    for language in ("en", "it"):
        known = dictionary(language)
        assert [what for what in said if f"what.{what}" not in known] == []


@pytest.mark.parametrize(
    ("text", "code", "values"),
    [
        ("username: 'ana' is taken", "name_taken", {"name": "ana", "at": "username"}),
        ("10.0.0.9:80: head: answered 404", "answered", {"status": "404", "at": "10.0.0.9:80"}),
        ("[::1]:80: connect: connection refused", "refused", {"at": "[::1]:80"}),
        ("guide: not XML", "guide_no_xml", {}),
        ("String should have at least 1 character", "too_short", {"least": "1"}),
        ("String should have at least 8 characters", "too_short", {"least": "8"}),
        ("Input should be 'movie' or 'live'", "choice", {"choices": "'movie' or 'live'"}),
        ("the engine: said: something", "", {}),
        ("", "", {}),
    ],
)
def test_a_sentence_is_known_by_its_words(text: str, code: str, values: dict[str, str]) -> None:
    assert told(text) == (code, values)


@given(st.text(), st.text())
def test_no_text_is_too_odd(start: str, end: str) -> None:
    assert told(f"{start}: {end}").code in {"", *SENTENCES}
    assert told("a: " * 5000) is UNKNOWN


@pytest.mark.parametrize("piece", [": ", "a: ", "x: a is no ", "x: stop y ", "a, ", "' is ", "s "])
def test_a_text_that_is_nearly_a_sentence_takes_no_longer_than_others(piece: str) -> None:
    """The suite's timeout fails what takes a power of its length."""
    for end in range(100):
        assert told(f"{piece * 300}"[: 590 - end] + str(end)) is UNKNOWN


ODD: tuple[Any, ...] = (
    *(None, -1, 0, 10**12, 10**30, 1.5, float("inf"), True, "", "x", "x" * 30_000, "\n", "1.5"),
    *([], [1], ["x"] * 20_000, {}, {"x": 1}),
)


def models(operations: list[Operation]) -> list[type[BaseModel]]:
    found = {one for operation in operations for one in (operation.query, operation.body) if one}
    return sorted(found, key=lambda one: one.__name__)


def test_what_models_say_has_a_code(operations: list[Operation]) -> None:
    said: set[str] = set()
    for model in models(operations):
        for name, odd in product((*model.model_fields, "nobody_knows_it"), ODD):
            try:
                model.model_validate({name: odd})
            except ValidationError as error:
                said |= {one["msg"].removeprefix("Value error, ") for one in error.errors()}
    said.discard("Extra inputs are not permitted")  # told in our own words
    assert len(said) > 25
    assert sorted(text for text in said if told(text) is UNKNOWN) == []


@pytest.fixture
async def operations(tmp_path: Path) -> list[Operation]:
    async with stage(tmp_path, []) as one:
        found = one.worker._operators().api.resources
        return [operation for resource in found for operation in resource.operations.values()]
