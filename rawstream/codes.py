"""What an operator is told, as a code and its values, so that a page can say it in its own words.

Owns: the table of sentences that have a code, and finding the code of a sentence. Must not know:
who says it, any other language.

A sentence is written where it is said, in English, for logs and for scripts that print it. Its code
stays when its words change: whoever changes the words changes them here too, and a test compares
this table with what is written elsewhere. What has no code (an engine's own words) is shown as it
is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Final, NamedTuple


class Told(NamedTuple):
    """`code`: '' where the sentence is not known. `values`: what stands in its holes; `at` is the
    place that was named before it.
    """

    code: str
    values: Mapping[str, str]


UNKNOWN: Final = Told("", {})

# of several that fit, the first counts; {s} is a plural's ending, which is no value
SENTENCES: Final[Mapping[str, str]] = {
    # who asks
    "login_refused": "wrong username or password",
    "login_throttled": "too many failed logins",
    "login_crowded": "too many logins at once",
    "login_shape": "send username and password, or a link's secret, as JSON",
    "link_spent": "this link is not good any more; log in with the password",
    "foreign_page": "this request comes from another site's page",
    "not_logged_in": "log in at /api/v1/session, or show a token (Authorization: Bearer …)",
    # how it is asked
    "not_there": "there is no such {what}",
    "changed_meanwhile": "it has changed meanwhile; read it again",
    "body_kind": "the body is to be JSON (Content-Type: application/json)",
    "body_broken": "the body is no JSON: {why}",
    "many_faults": "there are {count} faults in it",
    # what is wrong with a field, by its model
    "required": "Field required",
    "no_field": "no such field",
    "too_short": "String should have at least {least} character{s}",
    "too_long": "String should have at most {most} character{s}",
    "too_few": "List should have at least {least} item{s} after validation, not {found}",
    "too_many": "List should have at most {most} item{s} after validation, not {found}",
    "too_small": "Input should be greater than or equal to {least}",
    "too_large": "Input should be less than or equal to {most}",
    "not_above": "Input should be greater than {least}",
    "not_below": "Input should be less than {most}",
    "pattern": "String should match pattern '{pattern}'",
    "not_unicode": "Input should be a valid string, unable to parse raw data as a unicode string",
    "unreadable_number": "Unable to parse input string as an integer, exceeded maximum size",
    "fraction": "Input should be a valid integer, got a number with a fractional part",
    "not_finite": "Input should be a finite number",
    "not_whole": "Input should be a valid integer{rest}",
    "not_number": "Input should be a valid number{rest}",
    "not_text": "Input should be a valid string{rest}",
    "not_boolean": "Input should be a valid boolean{rest}",
    "not_list": "Input should be a valid list{rest}",
    "not_shaped": "Input should be a valid {type}",
    "choice": "Input should be {choices}",
    # accounts, tokens
    "name_taken": "'{name}' is taken",
    "name_reserved": "'{name}' is a word of our own URLs",
    "name_shape": "takes 1 to 64 of A-Z a-z 0-9 . _ @ -",
    "password_long": "takes at most {most} characters",
    "last_admin": "this is the only admin; make another one first",
    "over": "that is over",
    "tokens_full": "there are {most} tokens; take some back first",
    # the line-up
    "category_taken": "there is a category of that name",
    "category_there": "there is a category '{name}' already",
    "category_in_itself": "a category can't become a part of itself",
    "no_category": "there is no category {number}",
    "channel_taken": "the id is taken, or a category is unknown",
    "name_needed": "a channel has one",
    "name_empty": "takes a name",
    "logo_shape": "takes an address (http://…), or /logos/NAME of a file of ours",
    "header_shape": "a header is a name and one line of ASCII",
    "no_kind": "the value is no {kind}",
    "extension_shape": "'{extension}' is no ending like mp4",
    "live_no_file": "what is live has no file, series or number: say movie",
    "series_of_episode": "only an episode is of a series: let its kind be episode",
    "series_needed": "an episode is of a series: give its name",
    "source_shape": "takes a link, or kind and value",
    "bulk_where": "takes ids or a filter",
    "move_where": "takes before_id or after_id",
    "bulk_what": "takes change and renumber, or delete",
    "mapping_what": "takes a guide_id, or auto",
    "films_no_guide": "films are in no guide",
    # links of sources
    "link_long": "longer than {most} characters",
    "link_control": "control characters in it",
    "link_plugin": "a plugin:// URL in which no stream is named",
    "link_no_url": "not a URL",
    "link_no_play": "{scheme}: can't be played here",
    "link_scheme": "a URL of an unknown kind",
    "link_hex": "an AceStream link without 40 hexadecimal digits",
    "link_hex_of": "{name}= takes 40 hexadecimal digits",
    "link_torrent": "a transport file given by value",
    "link_no_content": "an engine's URL that names no content",
    "link_magnet": "a magnet link without xt=urn:btih: and an infohash",
    "link_url_of": "url= takes an address that begins with http:// or https://",
    "link_http": "not a usable http:// URL",
    "link_host": "a host name that can't be written in ASCII",
    # lists
    "list_place": "say url, upload_id or text",
    "preview_place": "say url, upload_id, text or list_id",
    "list_there": "there is a list of this address already",
    "list_busy": "it is being read; wait for its end",
    "preview_left": "another preview was asked for meanwhile",
    "nothing_to_undo": "there is nothing to take back",
    "list_url": "it takes an address like https://example.org/list.m3u",
    "interval_least": "at least {least}, or 0",
    "place_twice": "there is {other} already",
    "no_upload": "there is no such upload, or nothing in it",
    "upload_used": "a list is made of this one; begin another",
    "uploads_full": "there are {most} uploads that no list is made of",
    "upload_offset": "there are {size} bytes yet",
    "upload_large": "{limit} ({most}) is not taken",
    "copy_busy": "a copy is being taken already",
    # what came of a refresh
    "import_ended": "the import ended before its time ({why})",
    "import_no_process": "no process can be started for it: {why}",
    "guide_days": "it has no programme of these days",
    "guide_cut": "cut short after {kept} programmes; the last one stays",
    "guide_overtaken": "another import of it has begun meanwhile; that one counts",
    "guide_html": "an HTML page",
    "document_empty": "the document is empty",
    "guide_playlist": "a playlist, not a guide",
    "guide_json": "JSON, not XMLTV",
    "guide_root": "the root is <{root}>, not <tv>",
    "guide_ends": "the document ends before <tv>",
    "guide_no_xml": "not XML",
    "unpacks_large": "unpacks to more than {most} bytes",
    "packing_unknown": "{packing}, which is not read; use gzip or xz",
    "packed_often": "packed more than {most} times",
    # reaching others
    "answered": "answered {status}",
    "slow": "took too long",
    "redirects": "too many redirects",
    "document_long": "longer than {most} bytes",
    "packed_wrongly": "packed in a way that was not asked for",
    "certificate": "its certificate is not accepted: {why}",
    "no_tls": "no TLS connection can be made",
    "hung_up": "it hung up without an answer",
    "no_address": "not an http or https URL",
    "no_web_url": "only http:// and https:// URLs are fetched",
    "unusable_url": "not a usable URL",
    "to_nowhere": "redirected to nowhere",
    "no_name": "the name can't be resolved",
    "names_many": "too many names are being looked up",
    "names_now": "names can't be looked up now",
    "not_fetched_from": "this address is not fetched from",
    "not_in_networks": "this address is not in fetch_networks",
    "own_port": "our own port is not a source",
    "own_engine": "an engine is not a source",
    "redirect_private": "a redirect from a public to a private address is not followed",
    "no_answer": "no answer in time",
    "no_connection": "no connection in time",
    "answer_large": "the answer is too large",
    "refused": "connection refused",
    "refused_call": "connect call failed {where}",
    "reset": "connection reset by peer",
    "unreachable": "no route to host",
    "network_unreachable": "network is unreachable",
    "no_file": "no such file or directory",
    "no_permission": "permission denied",
    # why a channel lost its source
    "by_operator": "by the operator",
    "drained": "its engine is drained",
    "silent_gone": "silent, and its session is gone",
    "silent_loads": "silent for {seconds} s, though it loads",
    "silent": "silent for {seconds} s",
    "no_byte": "no byte within {seconds} s{rest}",
    "no_byte_ended": "ended before a byte came{rest}",
    "no_session": "no session within {seconds} s",
    "no_place": "brought no place to go on from",
    "no_source": "it has no source",
    "no_source_back": "no source came back in time",
    "no_stream": "what comes is no MPEG transport stream",
    "no_start": "nothing in it that a decoder could start with",
    "redirected": "redirected",
    "broke_off": "the transfer broke off",
    "session_unknown": "unknown playback session id",
    "not_loaded": "failed to load content",
    # engines, what is on air, settings
    "engine_port": "'{url}' has no usable port",
    "engine_scheme": "'{url}': an engine is reached over http://",
    "engine_url": "'{url}' is not an address like http://127.0.0.1:6878",
    "engine_there": "'{url}' is there already",
    "engines_full": "there are too many engines",
    "engines_none": "there is no engine to ask",
    "channel_no_source": "this channel has no source",
    "film_no_source": "this film has no source",
    "film_stops": "a film has a source for each viewer; it can only be stopped",
    "play_extension": "channels are played as .ts and .m3u8",
    "no_channel_before": "there is no such channel on the line-up",
    "setting_restart": "takes a restart to change",
    "public_url": "'{url}' is not an address like https://tv.example.org/tv",
    "public_path": "'{url}': the path takes letters, digits and . _ ~ -",
    "listeners_full": "too many listen already",
    "not_now": "not to be had now",
    # documents that are no playlist
    "found_hls": "an HLS playlist: the stream of one channel, not a list of channels",
    "found_html": "a web page",
    "found_xml": "an XML document",
    "found_json": "a JSON document",
    "found_binary": "binary data",
    "found_text": "text without a channel in it",
    "found_empty": "nothing in it",
    # warnings of playlists
    "m3u_list_ends": "the list ends before the URL of this #EXTINF",
    "m3u_no_url": "no URL follows this #EXTINF",
    "m3u_relative": "a relative URL, and the list has no address",
    "m3u_relative_broken": "a relative URL that leads nowhere",
    "m3u_line_long": "longer than {most} bytes, left out",
    "m3u_attributes": "too many attributes, or one that is too long",
    "m3u_guide_url": "a guide that is not given by an http:// URL",
    "m3u_option_empty": "an option without a value",
    "m3u_options": "too many options, or one that is too long",
    "m3u_exthttp": "#EXTHTTP takes an object of headers",
    "m3u_header": "a header that can't be sent",
    "m3u_neither": "neither a URL nor a directive",
    "m3u_unpack": "unpacking stopped before the end: {why}",
    # warnings of guides
    "epg_no_end": "the document has no end; what it held before is kept",
    "epg_charset": "not all of it is {declared}; read as {charset}",
    "epg_no_tv": "the document has no <tv> element",
    "epg_mended": "characters, references or tags not of XML were mended",
    "epg_undeclared": "{n} channels are not declared: {some}",
    "epg_overlap": "{n} programmes cut where the next one begins",
    "epg_repeat": "{n} programmes replaced by a later one of the same start",
    "epg_channel_no_id": "a channel without an id",
    "epg_no_channel": "a programme without a channel, at {at_time}",
    "epg_text_cut": "texts of more than {most} characters are cut",
    "epg_channels_many": "more than {most} channels; the others are left out",
    "epg_stop": "{channel}: stop {stop} not after start",
    "epg_no_time": "{channel}: {what_time} {time} is no time",
    "epg_zone": "time zones nobody knows are not counted, as in {time}",
}

_LONGEST: Final = 600  # characters
_PLACES: Final = 8  # before a sentence
_HOLE: Final = re.compile(r"\\\{(\w+)\\\}")
_PHASES: Final = frozenset(
    (
        "connect",
        "head",
        "start",
        "open",
        "first byte",
        "read",
        "stat",
        "stop",
        "search",
        "link",
        "guide",
        "channel list",
    )
)


def holes(code: str) -> list[str]:
    """The names of its values."""
    return [name for name in re.findall(r"{(\w+)}", SENTENCES[code]) if name not in ("s", "rest")]


@lru_cache(maxsize=256)  # what an engine says of itself is asked for every second
def told(text: str) -> Told:
    """The code of a sentence; of a text that is too long to be one there is none.

    One that begins with a place (`address: phase: reason`, `field: problem`) has the code of its
    end; the place is its value `at`.
    """
    places: list[str] = []
    rest = text.strip() if len(text) <= _LONGEST else ""
    while True:
        found = _exactly(rest)
        if found is not None:
            at = next((place for place in places if place not in _PHASES), "")
            return Told(found.code, {**found.values, "at": at} if at else found.values)
        place, colon, rest = rest.partition(": ")
        if not colon or len(places) >= _PLACES:
            return UNKNOWN
        places.append(place)


def _exactly(text: str) -> Told | None:
    for code, pattern in _patterns():
        found = pattern.fullmatch(text)
        if found is not None:
            return Told(code, found.groupdict())
    return None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple(_compiled())


def _compiled() -> Iterator[tuple[str, re.Pattern[str]]]:
    for code, sentence in SENTENCES.items():
        yield code, re.compile(_pattern(sentence), re.IGNORECASE | re.DOTALL)


def _pattern(sentence: str) -> str:
    """Each hole up to what stands behind it, where that comes first, and never another try: who
    writes a text decides how long the loop looks at it.
    """
    first, *rest = _HOLE.split(re.escape(sentence))
    parts = [_group(name) + words for name, words in zip(rest[::2], rest[1::2], strict=True)]
    return first + "".join([*(f"(?>{part})" for part in parts[:-1]), *parts[-1:]])


def _group(name: str) -> str:
    match name:
        case "s":
            return "s?"
        case "rest":
            return ".*?"
        case _:
            return f"(?P<{name}>.+?)"
