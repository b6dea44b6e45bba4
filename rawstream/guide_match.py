"""Which channel of a guide belongs to which of ours: by id, by name, by what is left of a name.

Owns: what of a name says which channel it is and what is only dress, and when two names are close
enough. Must not know: what an operator decided by hand (that wins, and is the caller's affair),
where channels and guides are kept.

A wrong guide is worse than none. So names that differ in a number, a time shift or a country never
match, and fuzzy matching forgives a misspelt word, never another word.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, Literal, NamedTuple

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

from rawstream.epg import GuideChannel

Rule = Literal["id", "id ignoring case", "name", "normalised name", "fuzzy name"]

FUZZY_FLOOR: Final = 88
_AMBIGUOUS: Final = 5  # points taken off when several channels of the guide fit as well
_CANDIDATES: Final = 8  # close names looked at word by word
_LIKENESS_FLOOR: Final = 55  # of what is only shown to somebody who decides


@dataclass(frozen=True, slots=True)
class Match:
    """`guide_id` is a `GuideChannel.id`; `ours` and `theirs` are the texts that were found alike.

    `score` is 100 for the same id and falls with every liberty taken. `others`: how many more
    channels of the guide fit as well; the chosen one comes first in it.
    """

    guide_id: str
    rule: Rule
    score: int
    ours: str
    theirs: str
    others: int = 0


# -- what names are made of --

_DRESS: Final = frozenset(
    (
        *(
            "hd",
            "fhd",
            "uhd",
            "qhd",
            "sd",
            "hq",
            "lq",
            "2k",
            "4k",
            "8k",
            "fullhd",
            "ultrahd",
            "raw",
        ),
        *("hevc", "avc", "h264", "h265", "x264", "x265", "hdr", "hdr10", "sdr", "1080", "720"),
        *("2160p", "1080p", "1080i", "720p", "576p", "576i", "540p", "480p", "360p"),
        *("60fps", "50fps", "30fps", "25fps", "vip", "backup", "acestream", "iptv"),
    )
)
# words that come and go in the name of one channel, if another word says which one it is
_WEAK: Final = frozenset(("tv", "channel", "network", "the", "and"))
_COMMON: Final = frozenset(
    (
        *("plus", "extra", "max", "news", "sport", "sports", "kids", "junior", "movies", "movie"),
        *("film", "films", "cinema", "music", "radio", "info", "life", "world", "international"),
    )
)
_NUMBER_WORDS: Final = {
    word: number
    for number, words in {
        "1": ("one", "uno", "una", "un", "eins"),
        "2": ("two", "due", "dos", "deux", "zwei", "ii"),
        "3": ("three", "tre", "tres", "trois", "drei", "iii"),
        "4": ("four", "quattro", "cuatro", "quatre", "vier", "iv"),
        "5": ("five", "cinque", "cinco", "cinq", "funf"),
        "6": ("six", "sei", "seis", "sechs"),
    }.items()
    for word in words
}
# countries as lists and guide ids write them: ISO 3166 in two letters, and what else is in use
_COUNTRIES: Final = {
    spelling: country
    for country, others in {
        "al": ("alb",),
        "ar": ("arg",),
        "at": ("aut",),
        "au": ("aus",),
        "ba": ("bih",),
        "be": ("bel",),
        "bg": ("bul",),
        "br": ("bra",),
        "ca": ("can",),
        "ch": ("sui", "che"),
        "cl": (),
        "co": (),
        "cz": ("cze",),
        "de": ("ger", "deu"),
        "dk": ("den", "dnk"),
        "ee": ("est",),
        "es": ("esp", "spa"),
        "fi": ("fin",),
        "fr": ("fra",),
        "gr": ("gre",),
        "hr": ("hrv", "cro"),
        "hu": ("hun",),
        "ie": ("irl",),
        "il": ("isr",),
        "in": ("ind",),
        "it": ("ita",),
        "jp": ("jpn",),
        "kr": ("kor",),
        "kz": ("kaz",),
        "lt": ("ltu",),
        "lv": ("lva",),
        "mk": ("mkd",),
        "mt": ("mlt",),
        "mx": ("mex",),
        "nl": ("nld", "ned"),
        "no": ("nor",),
        "nz": ("nzl",),
        "pe": ("per",),
        "pl": ("pol",),
        "pt": ("por", "prt"),
        "ro": ("rou",),
        "rs": ("srb",),
        "ru": ("rus",),
        "se": ("swe",),
        "si": ("slo", "svn"),
        "sk": ("svk",),
        "tr": ("tur",),
        "ua": ("ukr",),
        "uk": ("gb", "eng", "gbr"),
        "us": ("usa",),
        "uy": ("uru",),
        "za": ("rsa",),
    }.items()
    for spelling in (country, *others)
}

# 'IT: ', '|IT| ', '[IT] ', 'IT | ', 'IT - '
_PREFIX: Final = re.compile(
    r"\s*(?:[\[(|]\s*(?P<boxed>[A-Za-z]{2,3})\s*[\])|]\s*[:|-]?"
    r"|(?P<colon>[A-Za-z]{2,3})\s*[:|]"
    r"|(?P<dash>[A-Z]{2,3})\s+[-\u2013])\s*(?=\S)"
)
_TRAILING_COUNTRY: Final = re.compile(r"(?<=\w)\s+([A-Z]{2})\s*$")
_BRACKETS: Final = re.compile(r"[\[(]([^\[\]()]*)[\])]")
# behind a letter only as '+1', since Canal+ has channels with numbers
_SHIFT: Final = re.compile(
    r"(?:(?<=[\s\d(\[])\+\s?|(?<=[^\W\d])\+(?=1\b))(\d{1,2})\b(?:\s*h(?:ours?|rs?)?\b)?", re.I
)
_CODEC: Final = re.compile(r"\b[hx]\.26[45]\b", re.I)  # a dot would make two words of it
_TOKEN: Final = re.compile(r"[^\W_]+")
_LETTERS_OR_DIGITS: Final = re.compile(r"\d+|\D+")
_ID_COUNTRY: Final = re.compile(r"\.([A-Za-z]{2})(?:@\w*)?$")
_ID_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Name(NamedTuple):
    """What a name says. `words` in their order, dress and country removed, numbers apart from
    letters; `numbers` sorted, with number words; `shift` is '+1' and the like.
    """

    words: tuple[str, ...]
    numbers: tuple[str, ...]
    shift: str
    country: str


@lru_cache(maxsize=1024)
def parse_name(text: str) -> Name:
    """Part what says which channel it is from what doesn't; nothing but dress is kept."""
    decomposed = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    text, country = _without_country(text)
    shift = ""
    if found := _SHIFT.search(text):
        shift = f"+{int(found[1])}"
        text = text[: found.start()] + " " + text[found.end() :]
    text = _CODEC.sub(" ", _BRACKETS.sub(_kept_of_brackets, text))
    words: list[str] = []
    dress: list[str] = []
    for token in _TOKEN.findall(text.replace("+", " plus ").casefold()):
        if token in _DRESS:
            dress.append(token)
        else:
            words.extend(
                part.lstrip("0") or "0" if part[0].isdecimal() else part
                for part in _LETTERS_OR_DIGITS.findall(token)
            )
    words = words or dress
    numbers = (_NUMBER_WORDS.get(word, word) for word in words)
    return Name(
        words=tuple(words),
        numbers=tuple(sorted(number for number in numbers if number.isdecimal())),
        shift=shift,
        country=country,
    )


def _without_country(text: str) -> tuple[str, str]:
    country = ""
    while found := _PREFIX.match(text):
        spelling = (found["boxed"] or found["colon"] or found["dash"]).casefold()
        if spelling not in _COUNTRIES and spelling not in _DRESS:
            break
        country = country or _COUNTRIES.get(spelling, "")
        text = text[found.end() :]
    trailing = _TRAILING_COUNTRY.search(text)
    if trailing and trailing[1].casefold() in _COUNTRIES and not text.isupper():
        country = country or _COUNTRIES[trailing[1].casefold()]
        text = text[: trailing.start()]
    return text, country


def _kept_of_brackets(found: re.Match[str]) -> str:
    content = found[1].strip()
    return f" {content} " if content.isdecimal() else " "


def _name_in_id(guide_id: str) -> tuple[str, str]:
    """The name that ids like 'SkySportUno.it' or 'rai-1.it@HD' hold, and their country; '' if they
    hold none.
    """
    found = _ID_COUNTRY.search(guide_id)
    country = _COUNTRIES.get(found[1].casefold(), "") if found else ""
    if found is None or not country:
        return "", ""
    return _ID_HUMP.sub(" ", guide_id[: found.start()]).replace(".", " "), country


def _forms(name: Name) -> Iterator[tuple[int, str]]:
    """A name as strings that are the same for the same channel, with the score of a match by each:
    as it is, with numbers for number words, without words that come and go.
    """
    yield 95, "".join(name.words) + name.shift
    numbered = [_NUMBER_WORDS.get(word, word) for word in name.words]
    yield 94, "".join(numbered) + name.shift
    if any(_tells(word) for word in numbered):
        yield 92, "".join(word for word in numbered if word not in _WEAK) + name.shift


def _tells(word: str) -> bool:
    """Whether a word alone can say whose channel it is."""
    return word not in _WEAK and word not in _COMMON and len(word) > 2 and not word.isdecimal()


def _fuzzy_words(name: Name) -> tuple[str, ...]:
    """The words that two names of one channel have in common, but for their spelling."""
    words = (_NUMBER_WORDS.get(word, word) for word in name.words)
    return tuple(sorted(word for word in words if not word.isdecimal()))


def _same_but_misspelt(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Every word has its like on the other side: the same, or one with the same first letter and
    a slip in six letters or two in nine. Words that come and go need none if others tell.
    """
    left = list(theirs)
    unmatched = []
    for word in ours:
        if word in left:
            left.remove(word)
        else:
            unmatched.append(word)
    for word in unmatched:
        like = next((other for other in left if _misspelt(word, other)), None)
        if like is not None:
            left.remove(like)
        elif word not in _WEAK:
            return False
    return all(word in _WEAK for word in left) and any(map(_tells, ours))


def _misspelt(word: str, other: str) -> bool:
    longer = max(len(word), len(other))
    allowed = 2 if longer >= 9 else 1 if longer >= 6 else 0
    return word[0] == other[0] and OSA.distance(word, other, score_cutoff=allowed) <= allowed


# -- the index --


class _Entry(NamedTuple):
    """One name of one channel of the guide."""

    position: int
    text: str
    country: str


class GuideIndex:
    """The channels of one or several guides, made ready once to be looked up many times."""

    def __init__(self, channels: Iterable[GuideChannel]) -> None:
        self._ids: list[str] = []
        self._by_id: dict[str, int] = {}
        self._by_folded_id: dict[str, list[_Entry]] = defaultdict(list)
        self._by_name: dict[str, list[_Entry]] = defaultdict(list)
        self._by_form: dict[str, list[_Entry]] = defaultdict(list)
        # per numbers and shift: texts to be compared, and whose they are
        self._fuzzy: dict[tuple[tuple[str, ...], str], tuple[list[str], list[_Entry]]] = {}
        for channel in channels:
            self._add(channel)

    def _add(self, channel: GuideChannel) -> None:
        if channel.id in self._by_id:
            return
        position = len(self._ids)
        self._ids.append(channel.id)
        self._by_id[channel.id] = position
        in_id, country = _name_in_id(channel.id)
        self._by_folded_id[_folded(channel.id)].append(_Entry(position, channel.id, country))
        texts = dict.fromkeys(name.text for name in channel.names)
        # grabbers list the number of a channel among its names, and '5' is the name of too many
        names = [text for text in texts if not text.isdecimal()] or list(texts)
        for text in names:
            name = parse_name(text)
            entry = _Entry(position, text, country or name.country)
            self._by_name[_folded(text)].append(entry)
            for _, form in _forms(name):
                self._by_form[form].append(entry)
            self._add_fuzzy(name, entry)
        if in_id:
            name, entry = parse_name(in_id), _Entry(position, channel.id, country)
            for _, form in _forms(name):
                self._by_form[form].append(entry)
            if not names:
                self._add_fuzzy(name, entry)

    def _add_fuzzy(self, name: Name, entry: _Entry) -> None:
        texts, entries = self._fuzzy.setdefault((name.numbers, name.shift), ([], []))
        texts.append(" ".join(_fuzzy_words(name)))
        entries.append(entry)

    def match(self, guide_id: str, names: Sequence[str]) -> Match | None:
        """The channel of the guide that a channel with this id and these names has; None if it has
        none that is sure enough. `guide_id` may be '' or unknown to the guide; better names first.
        """
        guide_id = guide_id.strip()
        if guide_id in self._by_id:
            return Match(guide_id, "id", 100, guide_id, guide_id)
        in_id, country = _name_in_id(guide_id)
        texts = [name for name in names if name.strip()]
        # what is in the id field of a list is a name as often as an id
        asked = [(text, parse_name(text)) for text in texts]
        if guide_id:
            asked.append((guide_id, parse_name(in_id or guide_id)))
        country = country or next((name.country for _, name in asked if name.country), "")
        if guide_id:
            same = self._by_folded_id.get(_folded(guide_id), ())
            if found := self._chosen(same, country, "id ignoring case", 99, guide_id):
                return found
        for text, _ in asked:
            same = self._by_name.get(_folded(text), ())
            if found := self._chosen(same, country, "name", 97, text):
                return found
        return self._by_normalised_name(asked, country) or self._by_fuzzy_name(asked, country)

    def candidates(self, guide_id: str, names: Sequence[str], limit: int) -> list[tuple[str, int]]:
        """Channels that somebody might choose for this one, the likeliest first: ids, and how alike
        a name of theirs is, 0 to 100. `match`'s own is among them.
        """
        sure = self.match(guide_id, names)
        first = sure.guide_id if sure is not None else None
        found = {sure.guide_id: sure.score} if sure is not None else {}
        texts, positions = self._likenesses
        for name in dict.fromkeys(filter(None, (*names, guide_id))):
            alike = process.extract(
                _likeness(name),
                texts,
                scorer=fuzz.ratio,
                score_cutoff=_LIKENESS_FLOOR,
                limit=limit,
            )
            for _text, ratio, at in alike:
                channel = self._ids[positions[at]]
                if channel != first:
                    found[channel] = max(found.get(channel, 0), min(int(ratio), 99))
        ranked = sorted(found.items(), key=lambda one: (one[0] != first, -one[1], one[0]))
        return ranked[:limit]

    @cached_property
    def _likenesses(self) -> tuple[list[str], list[int]]:
        """The names of all channels, and the positions of these."""
        entries = [
            entry
            for found in (*self._by_name.values(), *self._by_folded_id.values())
            for entry in found
        ]
        return [_likeness(one.text) for one in entries], [one.position for one in entries]

    def _by_normalised_name(self, asked: Sequence[tuple[str, Name]], country: str) -> Match | None:
        for text, name in asked:
            for score, form in _forms(name):
                same = self._by_form.get(form, ())
                if found := self._chosen(same, country, "normalised name", score, text):
                    return found
        return None

    def _by_fuzzy_name(self, asked: Sequence[tuple[str, Name]], country: str) -> Match | None:
        best: Match | None = None
        for text, name in asked:
            words = _fuzzy_words(name)
            texts, entries = self._fuzzy.get((name.numbers, name.shift), ((), ()))
            if not texts or not any(map(_tells, words)):
                continue
            close = process.extract(
                " ".join(words),
                texts,
                scorer=fuzz.ratio,
                score_cutoff=FUZZY_FLOOR,
                limit=_CANDIDATES,
            )
            for theirs, ratio, at in close:
                if not _same_but_misspelt(words, theirs.split()):
                    continue
                score = min(int(ratio), 91)  # below what needs no guess
                found = self._chosen([entries[at]], country, "fuzzy name", score, text)
                if found is not None and (best is None or found.score > best.score):
                    best = found
        return best

    def _chosen(
        self, entries: Sequence[_Entry], country: str, rule: Rule, score: int, ours: str
    ) -> Match | None:
        """The first entry that may be it; one of the same country before one of none."""
        fitting = [entry for entry in entries if country in ("", entry.country)]
        if not fitting:
            fitting = [entry for entry in entries if not entry.country]
        if not fitting:
            return None
        others = len({entry.position for entry in fitting}) - 1
        first = min(fitting)
        if others:
            score -= _AMBIGUOUS
        return Match(self._ids[first.position], rule, score, ours, first.text, others)


def _likeness(text: str) -> str:
    """What is compared when names need not be the same: the words, whatever their order."""
    in_id, _ = _name_in_id(text)
    return " ".join(sorted(parse_name(in_id or text).words))


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
