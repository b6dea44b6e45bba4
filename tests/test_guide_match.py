"""Which guide belongs to which channel, and which does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.epg import GuideChannel, LocalText
from rawstream.guide_match import FUZZY_FLOOR, GuideIndex, parse_name


def guide(*channels: tuple[str, ...]) -> GuideIndex:
    """Channels as (id, name, name...)."""
    return GuideIndex(
        GuideChannel(channel_id, tuple(map(LocalText, names))) for channel_id, *names in channels
    )


def test_the_id_comes_before_any_name() -> None:
    index = guide(("x", "One"), ("one.it", "Two"), ("ONE.it", "Three"))
    found = index.match("one.it", ["One"])
    assert found is not None
    assert (found.guide_id, found.rule, found.score) == ("one.it", "id", 100)


def test_an_id_in_other_letters_or_with_blanks_is_found_and_said_so() -> None:
    found = guide(("Rai1.it", "x")).match(" RAI1.IT ", [])
    assert found is not None
    assert (found.guide_id, found.rule, found.score) == ("Rai1.it", "id ignoring case", 99)


def test_all_display_names_count_and_all_names_of_ours() -> None:
    index = guide(("1", "Erste", "Das Erste", "ARD"), ("2", "ZDF"))
    for names in (["ard"], ["unknown", "Das  Erste"]):
        found = index.match("nothing", names)
        assert found is not None
        assert (found.guide_id, found.rule, found.score) == ("1", "name", 97)


def test_an_id_field_that_holds_a_name_is_read_as_one() -> None:
    found = guide(("c1", "Sky Uno")).match("sky uno", [])
    assert found is not None and found.rule == "name"


def test_the_number_among_the_names_of_a_channel_is_no_name() -> None:
    index = guide(("five", "5", "Channel Five"), ("digits", "24"))
    assert index.match("", ["5"]) is None
    found = index.match("", ["24"])  # it has no other
    assert found is not None and found.guide_id == "digits"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Rai 1 HD", "RAI 1"),
        ("IT: Rai 1 FHD", "Rai1"),
        ("|IT| Rai 1 ᴴᴰ", "Rai 1"),
        ("[IT] Rai 1 (1080p) [Backup]", "Rai 1"),
        ("IT | Rai 1", "Rai 1"),
        ("IT - Rai 1 H.265", "Rai 1 HEVC"),
        ("4K: Eurosport 1 UHD", "Eurosport 1"),
        ("Rai 01", "Rai 1"),
        ("Rai Uno", "Rai 1"),
        ("BBC One", "BBC 1"),
        ("La 7", "LA7 HD"),
        ("Télé Loisirs", "Tele Loisirs"),
        ("SkySport Uno", "Sky Sport Uno"),
        ("Canal+ Sport", "Canal Plus Sport"),
        ("Dave+1", "Dave +1"),
        ("Film4 +1", "Film 4 +1"),
        ("ITV 2 (+1)", "ITV2+1"),
        ("Discovery", "Discovery Channel"),
        ("Sky News AU", "Sky News"),
        ("Россия 1", "РОССИЯ-1"),
        ("Sport (2)", "Sport 2"),
        ("HD", "HD"),
    ],
)
def test_names_that_differ_in_dress_match(ours: str, theirs: str) -> None:
    found = guide(("other", "Other"), ("it", theirs)).match("", [ours])
    assert found is not None
    assert found.guide_id == "it"
    assert found.rule == ("name" if ours == theirs else "normalised name")
    assert (found.ours, found.theirs) == (ours, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Discovery Chanel", "Discovery Channel"),
        ("National Geografic", "National Geographic"),
        ("Nickelodean", "Nickelodeon"),
        ("Sky Cinema Collecton 2", "Sky Cinema Collection Due"),
        ("Main Event Sky Sports", "Sky Sports Main Event"),
        ("Eurosports 1", "Eurosport 1"),
    ],
)
def test_a_misspelt_or_moved_word_is_forgiven_with_less_score(ours: str, theirs: str) -> None:
    found = guide(("other", "Other"), ("it", theirs)).match("", [ours])
    assert found is not None
    assert (found.guide_id, found.rule) == ("it", "fuzzy name")
    assert FUZZY_FLOOR <= found.score < 92


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Sport 1", "Sport 2"),
        ("Sky Sport 1", "Sky Sport"),
        ("Sky Sport 24", "Sky Sport 4"),
        ("Dave", "Dave +1"),
        ("Dave +1", "Dave +2"),
        ("Eurosport 1", "Eurosport 1 +1"),
        ("BBC One", "BBC Two"),
        ("Sky Cinema Uno", "Sky Cinema Due"),
        ("Sky Sport Max", "Sky Sport Mix"),
        ("Sky Crime", "Sky Prime"),
        ("Sport TV 1", "Sport 1"),
        ("Canal+", "Canal"),
        ("Discovery", "Discovery+"),
        ("Sky Sports F1", "Sky Sports 1"),
        ("Fox Sports", "Fox News"),
        ("Nickelodeon", "Nick Jr"),
        ("Cartoon Network", "Cartoonito"),
        ("UK: Discovery", "IT: Discovery"),
        ("News", "News TV"),
        ("Sport", "Sports"),
        ("TV", "HD"),
        ("", "x"),
    ],
)
def test_names_of_different_channels_never_match(ours: str, theirs: str) -> None:
    assert guide(("it", theirs)).match("", [ours]) is None


def test_a_country_decides_between_equals_and_another_country_is_never_taken() -> None:
    index = guide(("Discovery.uk", "Discovery"), ("Discovery.it", "Discovery"), ("d", "Discovery"))
    for name, guide_id in (("IT: Discovery", "Discovery.it"), ("DE: Discovery", "d")):
        found = index.match("", [name])
        assert found is not None
        assert (found.guide_id, found.others) == (guide_id, 0)
    found = index.match("DiscoveryChannel.uk", ["Discovery"])
    assert found is not None and found.guide_id == "Discovery.uk"
    assert guide(("Discovery.uk", "Discovery")).match("", ["IT: Discovery"]) is None


def test_an_ambiguous_match_is_the_first_and_costs_score() -> None:
    index = guide(("a", "Sport"), ("b", "SPORT"), ("c", "Sport HD"))
    found = index.match("", ["sport"])
    assert found is not None
    assert (found.guide_id, found.score, found.others) == ("a", 92, 1)


@pytest.mark.parametrize("guide_id", ["SkySportUno.it", "sky-sport-uno.it", "Sky.Sport.Uno.it@HD"])
def test_an_id_that_spells_a_name_stands_in_for_one(guide_id: str) -> None:
    found = guide((guide_id,)).match("", ["Sky Sport Uno"])
    assert found is not None and found.rule == "normalised name"
    found = guide(("x", "Sky Sport Uno")).match(guide_id, [])
    assert found is not None and found.guide_id == "x"


def test_an_id_that_spells_nothing_is_no_name() -> None:
    index = guide(("I10.28456.example.org", "x"), ("123", "y"))
    assert index.match("", ["I10 28456 example"]) is None
    assert index.match("456", []) is None


def test_channels_of_a_guide_given_twice_count_once() -> None:
    index = guide(("a", "Sport"), ("a", "Sport"))
    found = index.match("", ["Sport"])
    assert found is not None and found.others == 0


def test_what_a_name_says_is_parted_from_its_dress() -> None:
    name = parse_name("|UK| ITV 2 +1 FHD (backup)")
    assert name == (("itv", "2"), ("2",), "+1", "uk")
    assert parse_name("4K").words == ("4k",)
    assert parse_name("").words == ()


@given(st.lists(st.text(max_size=12), max_size=5), st.text(max_size=12))
def test_any_name_can_be_asked_for_and_finds_itself(names: list[str], other: str) -> None:
    index = guide(*((f"id{at}", name) for at, name in enumerate(names)))
    index.match(other, [other])
    for name in names:
        if name.strip() and not name.isdecimal():
            found = index.match("", [name])
            assert found is not None


@given(st.integers(0, 99), st.integers(0, 99))
def test_two_numbers_of_one_brand_match_only_when_equal(ours: int, theirs: int) -> None:
    found = guide(("x", f"Eurosport {theirs} HD")).match("", [f"IT: Eurosport {ours}"])
    assert (found is not None) == (ours == theirs)


def test_who_decides_is_shown_what_is_alike_the_likeliest_first() -> None:
    index = guide(
        ("a", "Sky Sport Calcio"), ("SkySportUno.it",), ("c", "Cooking"), ("d", "Sky Uno")
    )
    found = index.candidates("", ["IT: Sky Calcio Sport HD"], 3)
    assert found[0][0] == "a" and "c" not in dict(found)
    assert [key for key, _ in index.candidates("skysportuno", [], 1)] == ["SkySportUno.it"]
    sure = index.match("", ["Sky Uno"])
    assert sure is not None
    assert index.candidates("", ["Sky Uno"], 1) == [(sure.guide_id, sure.score)]
    assert guide().candidates("x", ["y"], 5) == []
