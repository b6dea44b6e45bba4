"""Tokens: what is said comes back, and nothing else is believed."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawstream.hls_tokens import Claims, HlsTokens

NOW = 1_767_225_600.0
NUMBERS = st.integers(0, 2**32 - 1)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_token_says_what_it_was_made_with(account: int, channel: int, watcher: int) -> None:
    tokens = HlsTokens(60)
    token = tokens.issue("run", watcher, NOW, account_id=account, channel_id=channel)
    claims = tokens.read("run", token, NOW)
    assert claims is not None
    assert claims[:3] == (account, channel, watcher)
    assert isinstance(claims, Claims)


def test_it_stays_the_same_for_a_while_and_is_good_for_at_least_so_long() -> None:
    tokens = HlsTokens(60)
    start = NOW // 60 * 60
    made = {tokens.issue("run", 1, start + second) for second in range(60)}
    assert len(made) == 1
    (token,) = made
    assert tokens.read("run", token, start + 119.9) is not None
    assert tokens.read("run", token, start + 120) is None
    assert tokens.issue("run", 1, start + 60) != token


def test_it_is_good_for_one_packager_of_one_process_only() -> None:
    tokens = HlsTokens(60)
    token = tokens.issue("run", 1, NOW, account_id=5)
    assert tokens.read("other", token, NOW) is None
    assert HlsTokens(60).read("run", token, NOW) is None


@pytest.mark.parametrize("place", range(40))
def test_a_changed_one_is_refused_wherever_it_was_changed(place: int) -> None:
    tokens = HlsTokens(60)
    token = tokens.issue("run", 1, NOW, account_id=5)
    other = "A" if token[place] != "A" else "B"
    assert tokens.read("run", token[:place] + other + token[place + 1 :], NOW) is None


@given(st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda b: b.hex())))
def test_whatever_else_is_sent_is_refused(text: str) -> None:
    assert HlsTokens(60).read("run", text, NOW) is None


def test_a_token_holds_no_secret_in_clear() -> None:
    token = HlsTokens(60).issue("run", 1, NOW, account_id=5, channel_id=9)
    assert len(base64.urlsafe_b64decode(token)) == 30
