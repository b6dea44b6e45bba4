"""The ugly guides of `corpus/epg`, and items as the JSON beside them writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rawstream.epg import GuideChannel, Programme
from rawstream.epg_elements import ReadLimits
from rawstream.epg_reader import GuideItem, XmltvReader
from rawstream.errors import FormatError

CORPUS = Path(__file__).parent / "corpus" / "epg"
CASES = sorted(path.name for path in CORPUS.iterdir() if ".xml" in path.suffixes)


def expectation(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CORPUS / f"{name.split('.')[0]}.json").read_text())
    return found


def read(pieces: Iterable[bytes], **options: Any) -> tuple[list[GuideItem], XmltvReader]:
    reader = XmltvReader(**options)
    items = [item for piece in pieces for item in reader.feed(piece)]
    return items + reader.finish(), reader


def outcome(pieces: Iterable[bytes], *, batch_characters: int, **options: Any) -> dict[str, Any]:
    """What reading the pieces comes to. Programmes are by channel: which channel's comes first
    depends on what follows in the document, not only on the document so far.
    """
    limits = ReadLimits(batch_characters=batch_characters)
    try:
        items, reader = read(pieces, limits=limits, **options)
    except FormatError as error:
        return {"error": str(error)}
    report = reader.report
    return {
        "channels": [as_json(item) for item in items if isinstance(item, GuideChannel)],
        "programmes": sorted(
            (as_json(item) for item in items if isinstance(item, Programme)),
            key=lambda item: str(item["channel"]),
        ),
        "complete": report.complete,
        "packing": report.packing,
        "charset": report.charset,
        "left_out": report.left_out,
        "warnings": dict(sorted(report.warning_counts.items())),
    }


def as_json(item: GuideItem) -> dict[str, Any]:
    """The fields that say something, times readable, a text without a language as a string."""
    fields: dict[str, Any] = {}
    for name, value in asdict(item).items():
        if name in ("start", "stop"):
            fields[name] = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
        elif isinstance(value, tuple):
            plain = [list(part) if isinstance(part, tuple) else part for part in value]
            if plain:
                fields[name] = [p[0] if isinstance(p, list) and p[1:] == [""] else p for p in plain]
        elif value:
            fields[name] = value
    return fields
