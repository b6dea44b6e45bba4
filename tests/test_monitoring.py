"""The board and the alert rules of `deploy/`, against a scrape of the running program."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from promql import read_yaml, taken_apart
from stage import quick_contents, stage, until

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


@pytest.fixture
async def samples(seen: Samples, tmp_path: Path) -> AsyncIterator[Samples]:
    """Every sample's labels by its name, from a program in which everything has happened once."""
    if not seen:
        async with stage(tmp_path, quick_contents()) as shown:
            await shown.worker.store.lineup.add_list(
                ListSource(0, "playlist", str(tmp_path / "none.m3u"))
            )
            shown.worker.refresher.wake()
            player = await shown.play(shown.catalogues[0][0])
            await until(lambda: player.data, "a stream")
            await until(lambda: shown.worker.refresher.results, "a refresh that failed")
            await until(
                lambda: (found := shown.channel()) is not None and found.peers is not None,
                "what the engine says",
            )
            assert (await shown.ask("/secret/user/9999.ts")).status >= 400
            assert (await shown.ask("/nowhere/at/all")).status == 404
            answers = [
                await shown.ask("/metrics", headers=(("Accept", accept),))
                for accept in ("text/plain", "application/openmetrics-text")
            ]
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
