"""Channel lists in M3U as players read them.

Owns: the form in which we write a list (Xtream reference §6.2). Must not know: which channels
exist, who reads; what stands in foreign lists is `m3u`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal
from urllib.parse import quote

from rawstream.extinf import (
    NAME_LIMIT,
    is_key,
    without_controls,
    writable,
    written,
    written_attributes,
)

_WRITTEN_FIRST: Final = ("tvg-id", "tvg-name", "tvg-logo", "tvg-chno")
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]")


class M3uWriter:
    """A channel list as players read it (§6.2), in pieces of text to be joined.

    `plus`: with attributes (`m3u_plus`); without, only names and URLs. `name_commas`: keep commas
    in names; naive players cut a name at its last one, so that they become blanks.

    Values have no escapes in this format: `"` becomes `'`, line breaks and other control characters
    a blank. `M3uReader` reads back what is left, and so it does `&amp;` written as `&amp;amp;`.
    """

    __slots__ = ("_name_commas", "_newline", "_plus")

    def __init__(
        self, *, plus: bool = True, name_commas: bool = False, newline: Literal["\n", "\r\n"] = "\n"
    ) -> None:
        self._plus = plus
        self._name_commas = name_commas
        self._newline = newline

    def header(
        self, guide_urls: Sequence[str] = (), attributes: Mapping[str, str] | None = None
    ) -> str:
        """The first line. Guides are named twice, since some players know only one of the names."""
        line = "#EXTM3U"
        if self._plus and guide_urls:
            guides = written(writable(",".join(guide_urls)))
            line += f' url-tvg="{guides}" x-tvg-url="{guides}"'
        if self._plus and attributes:
            line += written_attributes(attributes)
        return line + self._newline

    def head(
        self,
        name: str,
        attributes: Mapping[str, str] | None = None,
        *,
        groups: Sequence[str] = (),
        seconds: int = -1,
        vlc_options: Mapping[str, str] | None = None,
        kodi_properties: Mapping[str, str] | None = None,
    ) -> str:
        """All lines of an entry above its URL, which depends on who asks while these don't.

        `attributes` are written in their order, those of players' habit first, `group-title` last,
        empty ones as well. Options stand before #EXTINF, where no player minds them. `seconds`: how
        long it is, -1 for what is live or of unknown length.

        Raises ValueError for a key that is no attribute's name.
        """
        lines: list[str] = []
        if self._plus:
            for directive, options in (("#EXTVLCOPT", vlc_options), ("#KODIPROP", kodi_properties)):
                for key, value in (options or {}).items():
                    if not is_key(key):
                        raise ValueError(f"no option has the name {key!r}")
                    lines.append(f"{directive}:{key}={without_controls(value).strip()}")
        pairs = ""
        if self._plus:
            given = dict(attributes or {})
            ordered: dict[str, str] = {
                key: given.pop(key) for key in _WRITTEN_FIRST if key in given
            }
            group = given.pop("group-title", "")
            group = (
                ";".join(filter(None, (writable(g).replace(";", " ").strip() for g in groups)))
                or group
            )
            ordered |= given
            if group:
                ordered["group-title"] = group
            pairs = written_attributes(ordered)
        shown = writable(name)
        if not self._name_commas:
            shown = " ".join(shown.replace(",", " ").split())
        lines.append(f"#EXTINF:{seconds}{pairs},{written(shown[:NAME_LIMIT].strip())}")
        return self._newline.join(lines) + self._newline

    def location(self, url: str) -> str:
        """The line of a URL; blanks and control characters are percent-encoded."""
        return _UNFIT.sub(lambda found: quote(found[0], errors="replace"), url) + self._newline
