"""Certificates that nobody vouches for, made for one test each."""

from __future__ import annotations

import subprocess
from pathlib import Path


def self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for `host`, a name or an IPv4 address, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    kind = "IP" if host.replace(".", "").isdigit() else "DNS"
    subprocess.run(
        (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
            f"-subj /CN={host} -addext subjectAltName={kind}:{host} -keyout {key} "
            f"-out {certificate}"
        ).split(),
        check=True,
        capture_output=True,
    )
    return certificate, key
