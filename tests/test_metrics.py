"""The exposition, read back by Prometheus' own parsers."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from snapshots import INFOHASH, ShownHub, ShownServer, channel, engine, get, viewer

from rawstream import __version__
from rawstream.connection import Exchange
from rawstream.metrics import MetricsEndpoint

EXCHANGE: Exchange = cast(Any, object())
OPENMETRICS = "application/openmetrics-text"


def scrape(hub: ShownHub, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape, by name and labels."""
    endpoint = MetricsEndpoint(
        cast(Any, hub), cast(Any, ShownServer()), started_at=10.0, clock=lambda: 52.5
    )
    answer = endpoint.metrics(get("/metrics", {"accept": accept}), EXCHANGE)
    assert answer.status == 200
    assert answer.content_type.startswith(OPENMETRICS) == (OPENMETRICS in accept)
    parse = parse_openmetrics if OPENMETRICS in accept else parse_plain
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in parse(answer.body.decode()):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"{key} twice: Prometheus refuses the whole scrape"
            samples[key] = sample.value
    return samples


def one(samples: Any, name: str, **labels: str) -> Any:
    return samples.get((name, frozenset(labels.items())))


@pytest.mark.parametrize("accept", ["", "text/plain", f"{OPENMETRICS};version=1.0.0;q=0.9"])
def test_a_scrape_holds_hub_server_channels_and_engines(accept: str) -> None:
    samples = scrape(ShownHub((channel(held=2),), (engine(),)), accept)
    assert one(samples, "rawstream_info", version=__version__) == 1
    assert one(samples, "rawstream_uptime_seconds") == 42.5
    assert one(samples, "rawstream_viewers") == 1
    assert one(samples, "rawstream_sent_bytes_total") == 412_000_000
    assert one(samples, "rawstream_connections_shed_total") == 2
    assert one(samples, "rawstream_channel_held_viewers", channel=INFOHASH) == 2
    assert one(samples, "rawstream_channel_state", channel=INFOHASH, state="live") == 1
    assert one(samples, "rawstream_channel_state", channel=INFOHASH, state="failed") == 0
    assert one(samples, "rawstream_channel_most_behind_seconds", channel=INFOHASH) == 2.25
    assert one(samples, "rawstream_channel_bytes_per_second", channel=INFOHASH) == 637_500
    download = one(samples, "rawstream_channel_download_bytes_per_second", channel=INFOHASH)
    assert download == 640_000
    assert one(samples, "rawstream_engine_starts_total", engine="http://10.0.0.5:6878") == 12


def test_what_the_engine_did_not_say_is_left_out() -> None:
    samples = scrape(ShownHub((channel(peers=None, viewers=()),)))
    assert one(samples, "rawstream_channel_peers", channel=INFOHASH) is None
    assert one(samples, "rawstream_channel_most_behind_seconds", channel=INFOHASH) is None


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_joins_are_a_histogram_and_steps_and_answers_counters(accept: str) -> None:
    hub = ShownHub((channel(),))
    for seconds in (0.2, 0.2, 7.0, 90.0):
        hub.tally.joins["ts"].note(seconds)
    hub.tally.steps["same url"] += 3
    samples = scrape(hub, accept)
    assert one(samples, "rawstream_join_seconds_bucket", kind="ts", le="0.25") == 2
    assert one(samples, "rawstream_join_seconds_bucket", kind="ts", le="8.0") == 3
    assert one(samples, "rawstream_join_seconds_bucket", kind="ts", le="+Inf") == 4
    assert one(samples, "rawstream_join_seconds_count", kind="ts") == 4
    assert one(samples, "rawstream_join_seconds_sum", kind="ts") == pytest.approx(97.4)
    assert one(samples, "rawstream_join_seconds_count", kind="hls") == 0
    assert one(samples, "rawstream_ladder_steps_total", rung="same url") == 3
    route = "/live/{user}/{password}/{id}"
    assert one(samples, "rawstream_http_responses_total", route=route, status="2xx") == 5
    assert one(samples, "rawstream_http_responses_total", route="none", status="4xx") == 1


def test_an_engine_is_told_with_its_health_and_what_it_says_of_its_sessions() -> None:
    url = "http://10.0.0.5:6878"
    engines = (engine(barren=3, aside=True), engine(url="http://10.0.0.6:6878", version=None))
    channels = (channel(key="a"), channel(key="b", peers=None), channel(key="c", engine=None))
    samples = scrape(ShownHub(channels, engines))
    assert one(samples, "rawstream_engine_peers", engine=url) == 23
    assert one(samples, "rawstream_engine_download_bytes_per_second", engine=url) == 1_280_000
    assert one(samples, "rawstream_engine_peers", engine="http://10.0.0.6:6878") is None
    assert one(samples, "rawstream_engine_barren_starts", engine=url) == 3
    assert one(samples, "rawstream_engine_aside", engine=url) == 1
    assert one(samples, "rawstream_engine_info", engine=url, version="3.2.3") == 1


def test_viewers_get_no_label_of_their_own() -> None:
    few = scrape(ShownHub((channel(),)))
    many = scrape(ShownHub((channel(viewers=tuple(viewer(id=i) for i in range(500))),)))
    assert {name for name, _ in few} == {name for name, _ in many}
    assert len(few) == len(many)


def test_every_name_is_ours_and_carries_its_unit_or_counts_things() -> None:
    for name, _labels in scrape(ShownHub((channel(),), (engine(),))):
        assert name.startswith(("rawstream_", "process_")), name


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_odd_keys_become_labels_that_parse_and_stay_apart(accept: str) -> None:
    keys = [
        "twice",
        "twice",
        'http://h/"q"\\',
        "http://h/\n",
        "http://h/\r",
        "k" * 300 + "1",
        "k" * 300 + "2",
        "",
    ]
    samples = scrape(ShownHub(tuple(channel(key=key) for key in keys)), accept)
    labels = {dict(labels)["channel"] for name, labels in samples if name.endswith("_peers")}
    assert len(labels) == len(keys)
    assert max(map(len, labels)) < 140


@pytest.mark.parametrize("accept", [f"{OPENMETRICS};version=x", "\x80", f"{OPENMETRICS};;,,"])
def test_an_odd_accept_header_gets_an_answer(accept: str) -> None:
    assert scrape(ShownHub(), accept)
