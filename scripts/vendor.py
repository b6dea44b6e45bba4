"""Make `rawstream/static/vendor` again: the libraries of the dashboard, out of their npm packages.

Owns: which file of which package, at which version, and the changes that a page without a build
step needs. Must not know: what the pages do with them. Needs npm, which knows its own registry.
`vendor.json` says what is there; `tests/test_vendor.py` holds the files to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent.parent / "rawstream" / "static" / "vendor"
_MAP = re.compile(rb"\n?(?://[#@] sourceMappingURL=\S+|/\*[#@] sourceMappingURL=\S+ ?\*/)\s*$")


class Library(NamedTuple):
    """`file`: within its package. `licences`: files there that say what it is under. `edits`: texts
    and what stands in their place; browsers know no bare module names.
    """

    package: str
    version: str
    file: str
    made: str
    licence: str
    licences: tuple[str, ...] = ("LICENSE",)
    edits: tuple[tuple[bytes, bytes], ...] = ()


LIBRARIES = (
    Library("preact", "11.2.0", "dist/preact.mjs", "preact.js", "MIT"),
    Library(
        *("preact", "11.2.0", "hooks/dist/hooks.mjs", "preact-hooks.js", "MIT"),
        edits=((b'from"preact"', b'from"./preact.js"'),),
    ),
    Library("htm", "3.1.1", "dist/htm.mjs", "htm.js", "Apache-2.0"),
    Library("uplot", "1.6.32", "dist/uPlot.iife.min.js", "uplot.js", "MIT"),
    Library("uplot", "1.6.32", "dist/uPlot.min.css", "uplot.css", "MIT"),
    Library(
        *("mpegts.js", "1.8.2", "dist/mpegts.js", "mpegts.js", "Apache-2.0"),
        licences=("LICENSE", "dist/mpegts.js.LICENSE.txt"),
    ),
    Library("hls.js", "1.7.4", "dist/hls.light.min.mjs", "hls.light.js", "Apache-2.0"),
    Library(
        *("@picocss/pico", "2.1.1", "css/pico.min.css", "pico.css", "MIT"),
        licences=("LICENSE.md",),
    ),
    Library("uqr", "0.1.3", "dist/index.mjs", "uqr.js", "MIT"),
)


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        rows = [_make(library, Path(scratch)) for library in LIBRARIES]
    kept = {row["file"] for row in rows} | {row["licence_file"] for row in rows} | {"vendor.json"}
    for path in FOLDER.iterdir():
        if path.name not in kept:
            path.unlink()
    (FOLDER / "vendor.json").write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _make(library: Library, scratch: Path) -> dict[str, Any]:
    package = _packed(f"{library.package}@{library.version}", scratch)
    content = _MAP.sub(b"\n", _member(package, library.file))
    for text, instead in library.edits:
        assert content.count(text) == 1, f"{library.file}: {text!r}"
        content = content.replace(text, instead)
    (FOLDER / library.made).write_bytes(content)
    licence = "\n\n".join(_member(package, name).decode() for name in library.licences)
    named = f"LICENSE-{library.package.rpartition('/')[2]}.txt"
    (FOLDER / named).write_text(licence)
    return {
        "name": library.package,
        "version": library.version,
        "file": library.made,
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": library.licence,
        "licence_file": named,
        "from": library.file,
        "edits": [[old.decode(), new.decode()] for old, new in library.edits],
    }


def _packed(wanted: str, scratch: Path) -> Path:
    told = subprocess.run(
        ["npm", "pack", "--silent", "--ignore-scripts", wanted],
        cwd=scratch,
        check=True,
        capture_output=True,
        text=True,
    )
    return scratch / told.stdout.split()[-1]


def _member(package: Path, name: str) -> bytes:
    with tarfile.open(package) as archive:
        file = archive.extractfile(f"package/{name}")
        assert file is not None, name
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
