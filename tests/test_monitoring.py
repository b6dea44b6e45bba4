"""The board and the alert rules of `deploy/`, against a scrape of the running program."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from film_stage import film_content
from players import find_program
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from promql import read_yaml, taken_apart
from stage import PATIENCE_SECONDS, quick_contents, stage, until

from rawstream.records import ListSource

DEPLOY = Path(__file__).parent.parent / "deploy"
BOARD = json.loads((DEPLOY / "grafana" / "rawstream.json").read_text())
RULES = read_yaml((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"][0]["rules"]
MONITORING = (DEPLOY.parent / "docs" / "monitoring.md").read_text()

# what Prometheus itself adds
SCRAPED = {"up": {"job", "instance"}}
TARGET = {"job", "instance"}

Samples = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def seen() -> Samples:
    """Filled by the one scrape."""
    return {}


@pytest.fixture(scope="module")
def scrape() -> list[bytes]:
    """The same as it came."""
    return []


@pytest.fixture
async def samples(seen: Samples, scrape: list[bytes], tmp_path: Path) -> AsyncIterator[Samples]:
    """Every sample's labels by its name, from a program in which everything has happened once."""
    if not seen:
        film = film_content(repeats=40)
        async with stage(tmp_path, [*quick_contents(), film]) as shown:
            await shown.worker.store.lineup.add_list(
                ListSource(0, "playlist", str(tmp_path / "none.m3u"))
            )
            shown.worker.refresher.wake()
            player = await shown.play(shown.catalogues[0][0])
            # he stops in the middle of the film, so that it is on air
            reader, writer = await asyncio.open_connection("127.0.0.1", shown.port, limit=4096)
            target = f"/ace/getstream?id={film.content_id}"
            writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert b"200" in await reader.readline()
            writer.transport.pause_reading()
            await until(lambda: player.data, "a stream")
            await until(lambda: shown.worker.refresher.results, "a refresh that failed")
            await until(
                lambda: any(one.peers is not None for one in shown.snapshot.channels),
                "what the engine says",
            )
            assert (await shown.ask("/secret/user/9999.ts")).status >= 400
            assert (await shown.ask("/nowhere/at/all")).status == 404
            answers = [
                await shown.ask("/metrics", headers=(("Accept", accept),))
                for accept in ("text/plain", "application/openmetrics-text")
            ]
            writer.transport.abort()
        scrape.append(answers[0].body)
        plain, open_metrics = (answer.body.decode() for answer in answers)
        assert "secret" not in plain and "nowhere" not in plain
        for family in parse_plain(plain):
            for sample in family.samples:
                seen.setdefault(sample.name, []).append(sample.labels)
        names = {
            sample.name for family in parse_openmetrics(open_metrics) for sample in family.samples
        }
        assert names == seen.keys(), "both formats tell the same"
    yield seen


def expressions() -> Iterator[tuple[str, str]]:
    """All of them, with where they stand."""
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in BOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


async def test_every_expression_names_what_a_scrape_holds(samples: Samples) -> None:
    for where, text in expressions():
        expression = taken_apart(text)
        known: set[str] = set(TARGET)
        for name, matchers, _ranged in expression.selectors:
            if name in SCRAPED:
                continue
            assert name in samples, f"{where}: there is no {name}"
            labels = {label for sample in samples[name] for label in sample}
            known |= labels
            for label, sign, value in matchers:
                assert label in labels | TARGET, f"{where}: {name} has no {label}"
                if label == "state":  # each of them must be one that there is
                    states = {sample["state"] for sample in samples[name]}
                    assert set(value.split("|")) <= states, f"{where}: {label}{sign}{value}"
        assert expression.grouped <= known, f"{where}: groups by {expression.grouped - known}"


async def test_every_variable_of_the_board_has_values(samples: Samples) -> None:
    variables = {one["name"]: one for one in BOARD["templating"]["list"]}
    for name, variable in variables.items():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert found is not None
            assert found[2] == name
            labels = {label for sample in samples[found[1]] for label in sample}
            assert name in labels | TARGET
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD["panels"])))
    assert used - {"__rate_interval"} == variables.keys()


async def test_what_viewers_and_requests_did_is_counted(samples: Samples) -> None:
    routes = {sample["route"] for sample in samples["rawstream_http_responses_total"]}
    assert {"/ace/getstream", "none"} <= routes
    assert {"kind": "playlist", "result": "failed"} in samples["rawstream_imports_total"]
    rungs = {sample["rung"] for sample in samples["rawstream_ladder_steps_total"]}
    assert rungs == {"same url", "session", "engine", "source", "pause"}


async def promtool(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    """Its exit status and all that it says."""
    process = await asyncio.create_subprocess_exec(
        *(find_program("promtool"), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(given), PATIENCE_SECONDS)
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.player
async def test_prometheus_own_linter_has_nothing_to_say_of_a_scrape(
    samples: Samples, scrape: list[bytes]
) -> None:
    assert {"rawstream_films", "rawstream_engine_state", "rawstream_channel_viewers"} <= set(
        samples
    )
    assert b"rawstream_films 1.0" in scrape[0] and b"rawstream_channels 1.0" in scrape[0]
    assert await promtool("check", "metrics", given=scrape[0]) == (0, "")


@pytest.mark.player
async def test_the_rules_are_what_prometheus_reads() -> None:
    status, said = await promtool("check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"))
    assert (status, f"SUCCESS: {len(RULES)} rules found" in said) == (0, True), said


@pytest.mark.player
async def test_each_alert_fires_when_it_should_and_else_not() -> None:
    """The cases stand beside the rules, for whoever changes these."""
    status, said = await promtool("test", "rules", str(DEPLOY / "prometheus" / "alerts_test.yml"))
    assert status == 0, said


def test_the_board_is_whole() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    places: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & places, f"{panel['title']} lies on another panel"
        places |= cells
        if panel["type"] != "row":
            assert panel["title"] and panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = (DEPLOY / "prometheus" / "alerts_test.yml").read_text()
    found = re.findall(r"alertname: (\w+)\n +exp_alerts:( \[\])?\n", cases)
    assert set(found) == {(rule["alert"], empty) for rule in RULES for empty in ("", " []")}


# of the units that Grafana knows, those of the board
UNITS = {"none", "short", "s", "bytes", "Bps", "bps", "ops", "reqps", "percentunit"}
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}


def test_the_board_can_be_imported_anywhere() -> None:
    """Grafana gives it its own number, and its reader the choice of the data source."""
    assert BOARD.get("id") is None and re.fullmatch(r"[A-Za-z0-9_-]{1,40}", BOARD["uid"])
    assert {"title", "schemaVersion", "time", "templating", "annotations"} <= set(BOARD)
    assert "__inputs" not in BOARD, "a board that is provisioned has nobody to ask"
    variables = BOARD["templating"]["list"]
    assert (variables[0]["name"], variables[0]["type"]) == ("datasource", "datasource")
    assert all(one["datasource"] == PROMETHEUS for one in variables[1:])
    for panel in BOARD["panels"]:
        if panel["type"] == "row":
            assert panel["panels"] == [] and panel["collapsed"] is False
            continue
        sources = [panel["datasource"], *(one["datasource"] for one in panel["targets"])]
        assert sources == [PROMETHEUS] * len(sources), panel["title"]


async def test_every_panel_says_what_its_lines_are(samples: Samples) -> None:
    for panel in BOARD["panels"]:
        if panel["type"] == "row":
            continue
        title = panel["title"]
        assert panel["fieldConfig"]["defaults"].get("unit", "none") in UNITS, title
        legends = [target["legendFormat"] for target in panel["targets"]]
        assert len(set(legends)) == len(legends), f"{title}: two lines of one name"
        if panel["type"] in ("timeseries", "state-timeline"):
            assert all(legends), title
        for target in panel["targets"]:
            expression = taken_apart(target["expr"])
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            if target["expr"].startswith(("sum", "max", "min", "topk", "histogram")):
                assert named == expression.grouped - {"le"}, title
            else:  # of several servers each has a line of its own
                assert named <= TARGET or target.get("format") == "table", title


async def test_every_state_of_a_channel_has_its_name_and_its_number_on_the_board(
    samples: Samples,
) -> None:
    panel = next(one for one in BOARD["panels"] if one["type"] == "state-timeline")
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    named = {one["text"]: int(number) for number, one in options.items()}
    states = {sample["state"] for sample in samples["rawstream_channel_state"]}
    assert named.keys() == states
    expression = panel["targets"][0]["expr"]
    counted = re.findall(r'state="(\w+)"}\) \* (\d)', expression)
    assert {state: int(number) for state, number in counted} == {
        state: number for state, number in named.items() if number
    }


def test_every_rule_is_complete_and_explained() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert f"`{rule['alert']}`" in MONITORING, f"{rule['alert']} is not explained"
    explained = set(re.findall(r"^\| `(Rawstream\w+)`", MONITORING, re.M))
    assert explained == set(names)


@pytest.mark.parametrize(
    "text",
    [
        "sum(rawstream_viewers",
        "rawstream_viewers)",
        "rate(rawstream_viewers[5m])",
        'rawstream_x{a="b}',
        "rawstream_x{a=b}",
        "[5m]",
        "sum rawstream_viewers",
        "1 > 0",
        "rawstream_x ; rawstream_y",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        taken_apart(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c",
        "a: [1]",
        "a:\nb: 1",
        "a: 'b",
        "a: 1\n   b: 2",
        "a: 1\na: 2",
        "- a: 1\n b: 2",
        "a: x y",
    ],
)
def test_what_is_not_that_part_of_yaml_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_yaml(text)


def test_the_readers_read() -> None:
    value: Any = read_yaml("a:\n  - b: 'it''s # x'\n    c: 1m\n  - b: 2\n# no\nd: e\n")
    assert value == {"a": [{"b": "it's # x", "c": "1m"}, {"b": "2"}], "d": "e"}
    found = taken_apart('sum by (le) (rate(x_total{a=~"b|c",d="e"}[5m])) / y > 0.5')
    assert [one.name for one in found.selectors] == ["x_total", "y"]
    assert found.selectors[0].matchers == (("a", "=~", "b|c"), ("d", "=", "e"))
    assert found.grouped == {"le"}
