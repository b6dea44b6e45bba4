"""The dashboard's files: who gets which, with which headers; what they may not hold."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from operators import Desk

import rawstream
from rawstream.http1 import Request, Response
from rawstream.operators import COOKIE
from rawstream.pages import POLICY, PageEndpoints, read_site

STATIC = Path(rawstream.__file__).parent / "static"
OURS = sorted(path for path in STATIC.glob("*.js"))
NOBODY: Any = None


@pytest.fixture
def pages(desk: Desk) -> PageEndpoints:
    return PageEndpoints(desk.operators, read_site())


def ask(path: str, **headers: str) -> Request:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("GET", path, {"host": "tv", **given}, peer=("127.0.0.1", 9))


def header(answer: Response, name: str) -> str:
    return dict(answer.headers).get(name, "")


async def test_the_dashboard_is_for_who_has_logged_in(pages: PageEndpoints, desk: Desk) -> None:
    answer = pages.home(ask("/"), NOBODY)
    assert (answer.status, header(answer, "Location")) == (302, "login")
    assert header(answer, "Cache-Control") == "no-store"
    answer = pages.home(ask("/", cookie=f"{COOKIE}={desk.secret}"), NOBODY)
    assert (answer.status, answer.content_type) == (200, "text/html; charset=utf-8")
    assert b"app.js" in answer.body and b"{stamp}" not in answer.body
    assert b"door.js" in pages.door(ask("/login"), NOBODY).body


async def test_every_answer_bounds_what_a_browser_may_do(pages: PageEndpoints) -> None:
    stamp = read_site().stamp
    answers = [
        pages.door(ask("/setup"), NOBODY),
        pages.icon(ask("/favicon.svg"), NOBODY),
        pages.static(ask("/static/app.js"), NOBODY),
        pages.static(ask(f"/static/{stamp}/vendor/pico.css"), NOBODY),
        pages.static(ask("/static/nothing.js"), NOBODY),
    ]
    assert [one.status for one in answers] == [200, 200, 200, 200, 404]
    for answer in answers:
        assert header(answer, "Content-Security-Policy") == POLICY
        assert header(answer, "X-Content-Type-Options") == "nosniff"
        assert header(answer, "Referrer-Policy") == "no-referrer"
    assert "unsafe" not in POLICY and "default-src 'none'" in POLICY


async def test_what_stands_below_the_stamp_is_kept_for_good(pages: PageEndpoints) -> None:
    stamp = read_site().stamp
    for path, for_good in (
        (f"/static/{stamp}/app.js", True),
        (f"/static/{stamp}/vendor/htm.js", True),
        ("/static/app.js", False),
        ("/static/vendor/htm.js", False),
    ):
        answer = pages.static(ask(path), NOBODY)
        assert ("immutable" in header(answer, "Cache-Control")) is for_good, path
        tag = header(answer, "ETag")
        again = pages.static(ask(path, if_none_match=tag), NOBODY)
        assert (again.status, again.body, header(again, "ETag")) == (304, b"", tag)
    for path in (f"/static/{'0' * 16}/app.js", "/static/vendor", "/static/../pages.py"):
        assert pages.static(ask(path), NOBODY).status == 404


@pytest.mark.parametrize(
    ("said", "packs"),
    [
        ("gzip, br", True),
        ("br;q=1, GZIP;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("", False),
    ],
)
async def test_files_are_packed_for_who_takes_that(
    pages: PageEndpoints, said: str, packs: bool
) -> None:
    plain = pages.static(ask("/static/ui.js"), NOBODY)
    answer = pages.static(ask("/static/ui.js", accept_encoding=said), NOBODY)
    assert (header(answer, "Content-Encoding") == "gzip") is packs
    assert (gzip.decompress(answer.body) if packs else answer.body) == plain.body
    assert header(answer, "Vary") == "Accept-Encoding"
    assert (header(answer, "ETag") != header(plain, "ETag")) is packs


def test_a_first_look_moves_less_than_300_kilobytes() -> None:
    files = read_site().files
    played = ("vendor/mpegts.js", "vendor/hls.light.js")  # fetched when something is played
    sent = [file.packed or file.content for name, file in files.items() if name not in played]
    assert sum(map(len, sent)) < 300_000
    first = "".join(path.read_text() for path in OURS if path.name != "player.js")
    assert "mpegts.js" not in first and "hls.light.js" not in first


# -- what the scripts say --


def dictionary(language: str) -> dict[str, str]:
    text = (STATIC / f"{language}.js").read_text()
    rows = re.findall(r'^  (?:"([^"]+)"|(\w+)): "((?:[^"\\]|\\.)*)",$', text, re.MULTILINE)
    found = {quoted or bare: sentence for quoted, bare, sentence in rows}
    assert len(found) == len(re.findall(r'^  \S.*: "', text, re.MULTILINE)), "a key twice"
    return found


def test_both_languages_say_the_same_things() -> None:
    english, italian = dictionary("en"), dictionary("it")
    assert english.keys() == italian.keys()
    holes = re.compile(r"\{\w+\}")
    for key, sentence in english.items():
        assert sentence and italian[key], key
        assert set(holes.findall(sentence)) == set(holes.findall(italian[key])), key


def test_every_sentence_that_a_page_says_is_in_the_dictionary() -> None:
    english = dictionary("en")
    text = "".join(path.read_text() for path in OURS if path.name not in ("en.js", "it.js"))
    said = set(re.findall(r'\bt\("([^"]+)"', text))
    assert len(said) > 200
    assert said <= english.keys(), said - english.keys()
    assert not re.search(r"\bt\((?!\"|key\b)", text), "a key that is made up on the way"
    kinds = set(re.findall(r'\bword\("([^"]+)"', text))
    unused = {
        key
        for key in english.keys() - said
        if key.removesuffix(".one") not in said
        and not any(key.startswith(f"{kind}.") for kind in kinds)
    }
    assert unused == set()


def test_no_script_makes_markup_or_code_out_of_text() -> None:
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        r"|dangerouslySetInnerHTML|srcdoc|javascript:|setInterval"
    )
    for path in OURS:
        assert not forbidden.search(path.read_text()), path.name
    for path in STATIC.glob("*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", text), path.name
        assert not re.search(r'(?:src|href)="(?:https?:|/)', text), (
            "an address that is not relative"
        )


def test_scripts_import_what_is_there() -> None:
    for path in OURS:
        text = path.read_text()
        for name in re.findall(r'(?:from|import\()\s*"\./([^"]+)"', text):
            assert (STATIC / name).is_file(), f"{path.name}: {name}"


@pytest.mark.skipif(shutil.which("node") is None, reason="node was not found")
def test_scripts_have_no_syntax_error_and_import_only_what_is_exported() -> None:
    exports = {
        path.name: set(
            re.findall(
                r"export (?:default )?(?:async )?(?:function|const|class) (\w+)", path.read_text()
            )
        )
        | {
            name.split()[-1]
            for group in re.findall(r"export \{([^}]*)\}", path.read_text())
            for name in group.replace("\n", " ").split(",")
            if name.strip()
        }
        for path in OURS
    }
    for path in OURS:
        checked = subprocess.run(
            ["node", "--input-type=module", "--check"],
            input=path.read_bytes(),
            capture_output=True,
            check=False,
        )
        assert checked.returncode == 0, (path.name, checked.stderr.decode())
        pattern = r'import (?:\w+, )?\{([^}]*)\} from "\./([\w.]+)"'
        for names, source in re.findall(pattern, path.read_text()):
            wanted = {name.strip().split()[0] for name in names.split(",") if name.strip()}
            assert wanted <= exports[source], (path.name, source, wanted - exports[source])
            body = path.read_text().replace(f"{{{names}}}", "", 1)
            for name in wanted:
                assert re.search(rf"\b{name}\b", body), f"{path.name}: {name} is not used"
