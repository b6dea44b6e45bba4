"""Real players for the tests: found on the PATH, run as an ordinary user.

At a desk a missing player skips the test. Under `CI=true` it fails, because there `.ci/run` was to
install it: a green run must mean that the players were really asked.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from typing import NoReturn

import pytest

ORDINARY_USER = "nobody"
_SYSTEM_PROGRAMS = "/usr/sbin:/sbin"  # not on the PATH of an ordinary user: nginx


def find_program(name: str) -> str:
    """The path of a program; skips the calling test when it is missing, fails it under CI=true."""
    path = shutil.which(name) or shutil.which(name, path=_SYSTEM_PROGRAMS)
    return path if path is not None else missing(name)


def missing(what: str) -> NoReturn:
    """Skip the calling test for want of something; under CI=true fail it."""
    if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
        pytest.fail(f"{what} is not installed, and CI demands it")
    pytest.skip(f"{what} is not installed")


def player_command(name: str, *arguments: str) -> Sequence[str]:
    """The argument vector that runs a player as an ordinary user.

    VLC refuses to run as root, and no test should show that something works only for root: as root
    the program is started through runuser with a home it may write to.
    """
    path = find_program(name)
    if os.geteuid() != 0:
        return [path, *arguments]
    pwd.getpwnam(ORDINARY_USER)  # a machine without the user fails here, by name
    runuser = find_program("runuser")
    env = find_program("env")
    home = ["HOME=/tmp", "XDG_RUNTIME_DIR=/tmp", "XDG_CONFIG_HOME=/tmp/.config"]
    return [runuser, "-u", ORDINARY_USER, "--", env, *home, path, *arguments]
