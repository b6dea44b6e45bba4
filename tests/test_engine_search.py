"""The index, asked of simulated engines and of engines that say odd things."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_engine import CONTENT_ID, INFOHASH, RawEngine, refusing, said

from rawstream.config import Limits, Timeouts
from rawstream.engine_client import Engine, EngineState
from rawstream.engine_search import EngineSearch, Found, Hit, read_found
from rawstream.errors import EngineError, UpstreamError
from rawstream.simulator import EngineSimulator, bundled_contents

QUICK = Timeouts.for_tests(engine_search_seconds=5.0, engine_resolve_seconds=5.0)
DENIED = said({"result": None, "error": "access denied"})


def search_of(*urls: str) -> tuple[EngineSearch, list[Engine]]:
    engines = [Engine(url, 4, timeouts=QUICK, limits=Limits()) for url in urls]
    return EngineSearch(lambda: engines, QUICK), engines


def results(*names: str) -> bytes:
    groups = [
        {"name": name, "items": [{"infohash": f"{place:040x}", "name": name, "status": 2}]}
        for place, name in enumerate(names)
    ]
    return said({"result": {"total": len(names), "results": groups}, "error": None})


@pytest.fixture
async def engine() -> AsyncIterator[RawEngine]:
    async with RawEngine() as made:
        yield made


async def test_what_an_engine_finds_is_read_page_by_page() -> None:
    contents = bundled_contents()
    async with EngineSimulator(contents, latency=0) as simulator:
        search, _ = search_of(simulator.url)
        everything = await search.search("")
        assert everything.total == len(contents)
        assert {hit.infohash for hit in everything.hits} == {one.infohash for one in contents}
        first = everything.hits[0]
        assert (first.available, first.availability, first.languages) == (True, 1.0, ("eng",))
        pages = [await search.search("", page=page, page_size=1) for page in range(2)]
        assert [page.hits for page in pages] == [everything.hits[:1], everything.hits[1:2]]
        named = await search.search(contents[0].name.upper())
        assert contents[0].infohash in {hit.infohash for hit in named.hits}
        assert (await search.search("no such thing")) == Found((), 0)
        assert (await search.search("", category="no such one")).hits == ()


async def test_a_build_that_wants_a_token_is_given_one() -> None:
    contents = bundled_contents()
    async with EngineSimulator(contents, latency=0, search_needs_token=True) as simulator:
        search, _ = search_of(simulator.url)
        assert (await search.search("")).total == len(contents)


async def test_a_token_is_asked_for_once_and_again_when_it_is_good_no_more(
    engine: RawEngine,
) -> None:
    good = ["first"]

    def search_answer(target: str) -> bytes:
        return results("One") if f"token={good[-1]}" in target else DENIED

    engine.answers["/search"] = search_answer
    engine.answers["/server/api"] = lambda _target: said({"result": {"token": good[-1]}})
    search, _ = search_of(engine.url)
    for _ in range(2):
        assert (await search.search("")).total == 1
    assert len(engine.asked("/server/api")) == 1
    good.append("second")
    assert (await search.search("")).total == 1
    assert len(engine.asked("/server/api")) == 2


async def test_an_engine_that_gives_no_token_says_what_it_said(engine: RawEngine) -> None:
    engine.answers["/search"] = DENIED
    engine.answers["/server/api"] = DENIED
    engine.answers["/webui/api/service"] = said({"result": {"token": "a b&c"}, "error": None})
    search, _ = search_of(engine.url)
    with pytest.raises(EngineError, match="access denied"):
        await search.search("")
    assert len(engine.asked("/webui/api/service")) == 1, "some builds have it there"


async def test_the_next_engine_is_asked_and_the_healthy_one_first(engine: RawEngine) -> None:
    engine.answers["/search"] = results("One")
    with refusing() as nobody:
        search, engines = search_of(nobody, engine.url)
        assert (await search.search("")).total == 1
        assert engines[0].state is EngineState.DOWN
        engines[1].state = EngineState.UP
        assert (await search.search("")).total == 1
        only, _ = search_of(nobody)
        with pytest.raises(UpstreamError, match="connect"):
            await only.search("")
    none, _ = search_of()
    with pytest.raises(UpstreamError, match="no engine"):
        await none.search("")


async def test_the_question_is_escaped(engine: RawEngine) -> None:
    engine.answers["/search"] = results()
    search, _ = search_of(engine.url)
    await search.search("a&token=x b/ü\ud800", category="c#d", page=3, page_size=7)
    assert engine.asked("/search") == [
        {"query": "a&token=x b/ü?", "category": "c#d", "page": "3", "page_size": "7"}
    ]


async def test_a_content_id_is_asked_of_one_engine_after_the_other(engine: RawEngine) -> None:
    engine.answers["/server/api"] = said({"result": {"content_id": CONTENT_ID.upper()}})
    async with RawEngine() as other:
        other.answers["/server/api"] = said({"error": {"message": "unknown", "code": 0}})
        search, _ = search_of(other.url, engine.url)
        assert await search.content_id(INFOHASH) == CONTENT_ID
        assert other.asked("/server/api")[0]["infohash"] == INFOHASH
        engine.answers["/server/api"] = said({"result": {"content_id": "../../etc"}})
        assert await search.content_id(INFOHASH) is None


# -- what is read --


def hits(*items: Any) -> Sequence[Hit]:
    return read_found({"total": 1, "results": [{"name": "G", "items": list(items)}]}).hits


def test_a_hit_has_what_the_engine_said_of_it() -> None:
    (hit,) = hits(
        {
            "infohash": INFOHASH.upper(),
            "name": " A\n <b>name ",
            "status": 2,
            "availability": 3,
            "availability_updated_at": 1_760_000_000.5,
            "languages": ["eng", 5, ""],
            "countries": "gb",
            "categories": ["sport"],
            "icons": [{"url": "javascript:x"}, {"url": "http://h/a.png"}],
        }
    )
    assert hit == Hit(
        *(INFOHASH, "A <b>name", ("sport",), ("eng",), (), True, 1.0),
        *(1_760_000_000, "http://h/a.png"),
    )


def test_a_content_is_there_once_and_odd_ones_not_at_all() -> None:
    item = {"infohash": INFOHASH}
    assert [(hit.infohash, hit.name) for hit in hits(item, item, {"infohash": "x"}, None, 5)] == [
        (INFOHASH, "G")
    ]
    ungrouped = read_found({"results": [{"infohash": INFOHASH, "name": "N"}], "total": True})
    assert ([hit.name for hit in ungrouped.hits], ungrouped.total) == (["N"], 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(INFOHASH),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["results", "items", "infohash", "name", "icons", "url", "total"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_an_engine_says_is_read(value: Any) -> None:
    found = read_found(value)
    assert found.total >= 0
    assert all(len(hit.infohash) == 40 and hit.name.isprintable() for hit in found.hits)
