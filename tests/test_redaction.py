"""What may not be read in a log, in every shape that it comes in."""

from __future__ import annotations

import base64
import io
import logging
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawstream.redaction import RedactingFilter, redacted, redacted_value

# what no template holds, so that it is found where it was left
MARK = "Zq9Xk"
safe = st.text(alphabet="abcdefgXYZ0189._~-!$*+", max_size=12).map(lambda text: MARK + text)
wild = st.text(max_size=12).map(lambda text: MARK + text)

SHAPES = (
    "GET /live/{user}/{secret}/42.ts HTTP/1.1",
    "/live/{secret}/42",
    "/movie/{user}/{secret}/7.mkv",
    "/series/{user}/{secret}/7.mp4 was cut",
    "/timeshift/{user}/{secret}/60/2024-01-02:20-00/7.ts",
    "/playlist/{user}/{secret}",
    "/playlist/{user}/{secret}/m3u_plus",
    "/epg/{user}/{secret}/gz",
    "/player_api/{user}/{secret}/get_live_streams",
    "/{user}/{secret}/42",
    "'/{user}/{secret}/42.ts'",
    "/hls/3f/{secret}.ts",
    "http://panel.example:8080/{user}/{secret}/42: refused",
    "https://tv.example/prefix/{user}/{secret}/42.m3u8",
    "http://{user}:{secret}@panel.example/list.m3u",
    "http://{secret}@panel.example/list.m3u",
    "http://panel.example/get.php?username={user}&password={secret}&type=m3u",
    "/player_api.php?password={secret}&username={user}",
    "/get.php?token={secret}",
    "https://hooks.example/x?api_key={secret}",
    "next=http%3A%2F%2Fx%2Fget.php%3Fpassword%3D{secret}",
    "password: {secret}",
    "password='{secret}'",
    '{{"username": "{user}", "password": "{secret}"}}',
    "{{'token': '{secret}'}}",
    "Authorization: Bearer {secret}",
    'authorization=Digest username="{user}", response="{secret}"',
    "'authorization': 'Basic {secret}'",
    "Bearer {secret}",
    "Cookie: a=b; rawstream_session={secret}",
    "Set-Cookie: rawstream_session={secret}; HttpOnly",
    "rtsp://{secret}@host/x",
    "(/movie/{secret}/{secret}/7.mkv)",
    "/xmltv.php?token={secret} HTTP/1.1",
    "x_api_key=1, api_key={secret}, b",
    "?username={secret}",
)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25)
@given(user=safe, secret=safe)
def test_a_secret_is_left_out_in_every_shape(shape: str, user: str, secret: str) -> None:
    text = shape.format(user=user.replace(MARK, "ana"), secret=secret)
    assert MARK not in redacted(f"before {text} after")
    assert MARK not in redacted(text)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=25)
@given(secret=wild)
def test_a_secret_of_any_characters_is_left_out_where_it_is_escaped(
    shape: str, secret: str
) -> None:
    text = shape.format(user="ana", secret=quote(secret.encode("utf-8", "replace"), safe=""))
    assert MARK not in redacted(text)


@given(secret=safe, user=safe)
def test_basic_credentials_are_left_out_wherever_they_stand(secret: str, user: str) -> None:
    coded = base64.b64encode(f"{user}:{secret}".encode()).decode()
    assert coded.rstrip("=") not in redacted(f"sent Basic {coded} to it")


@given(st.one_of(st.text(), st.sampled_from(SHAPES)))
def test_what_was_redacted_stays_as_it_is(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


@given(secret=wild)
def test_values_are_redacted_by_their_name_and_by_what_they_say(secret: str) -> None:
    value = {
        "password": secret,
        "Authorization": {"deep": secret},
        "sources": [f"http://ana:{quote(secret.encode('utf-8', 'replace'), safe='')}@x/"],
        "access_token": [secret],
        "viewers": 3,
        "name": None,
        "error": ValueError("token=abc"),
    }
    shown = redacted_value(value)
    assert MARK not in str(shown)
    assert (shown["viewers"], shown["name"], shown["error"]) == (3, None, "token=***")


@pytest.mark.parametrize(
    "text",
    [
        "engine http://127.0.0.1:6878 is down: connection refused",
        "channel infohash:0123456789abcdef0123456789abcdef01234567: the source ended (eof)",
        "rawstream 0.5 answers at http://127.0.0.1:58055",
        "play http://127.0.0.1:58055/ace/getstream?id=CONTENT_ID",
        "refresh of 'Sports' read 1/2/3 lists in 1.5 s",
        "/api/v1/channels/42 was changed",
        "basic authentication is not passed on",
        "data/rawstream.db is 12/31/2024 old",
        "the password of ana was changed; 3 tokens are left",
        "the source http://tv.example/a/stream.m3u8 ended",
        "list 3: 40 entries: 1 added, 2 changed",
        "10.0.0.9:4711 left after 3/4/5 minutes",
        "channel 12 at http://h/films/new.ts",
        "keyframe: every 2 s",
    ],
)
def test_what_operators_need_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ana:pw@panel:80/list.m3u?a=1", "http://***@panel:80/list.m3u?a=1"),
        ("http://ana:p@w@panel/list.m3u", "http://***@panel/list.m3u"),
        ("/live/ana/pw/42.ts?x", "/live/***/42.ts?x"),
        ("http://panel/ana/pw/42", "http://panel/***/42"),
        ("http://tv:58055/setup#abcde_fghij-klmno~pqrst", "http://tv:58055/setup#***"),
        ("#EXTINF:-1,A name that is long", "#EXTINF:-1,A name that is long"),
        ("?username=ana&password=pw&type=m3u", "?username=***&password=***&type=m3u"),
        ('{"password": "p w", "a": 1}', '{"password": "***", "a": 1}'),
    ],
)
def test_what_is_beside_a_secret_stays(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize("piece", ["token", "/a", "//", "a-", "password ", "'", "Basic a", "://a/"])
def test_a_long_text_takes_no_longer_than_its_length_says(piece: str) -> None:
    """The suite's timeout fails what takes the square of its length."""
    redacted(piece * 20_000)


def logged(write: object) -> str:
    """What a handler with the filter writes."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(RedactingFilter())
    log = logging.Logger("test")
    log.addHandler(handler)
    write(log)  # type: ignore[operator]
    return out.getvalue()


def test_the_filter_redacts_messages_with_their_arguments() -> None:
    text = logged(lambda log: log.error("asked %s for %r", "http://a:pw1@x/", {"token": "pw2"}))
    assert text == "asked http://***@x/ for {'token': '***'}\n"


def test_the_filter_redacts_tracebacks_and_stacks() -> None:
    def write(log: logging.Logger) -> None:
        try:
            raise ValueError("http://ana:pw1@x/ password=pw2")
        except ValueError:
            log.exception("failed", stack_info=True)

    text = logged(write)
    assert "Traceback" in text and "Stack" in text
    assert "pw1@" not in text.split("ValueError: ")[-1] and "password=***" in text


def test_a_mistake_in_a_format_is_written_and_stops_nobody() -> None:
    text = logged(lambda log: log.error("%d of %d", "token=abc"))  # noqa: PLE1206 - it is the mistake
    assert "%d of %d" in text and "abc" not in text
