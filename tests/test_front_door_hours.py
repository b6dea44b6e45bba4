"""The guide at the right hour: a server and its clients in other time zones than ours.

Titles of the demo's programmes hold the hour at which they begin, in UTC.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from stage import PATIENCE_SECONDS
from test_front_door import get, run

CLIENTS = Path(__file__).with_name("xtream_clients.py")
ZONES = ("Europe/Rome", "America/St_Johns")


@asynccontextmanager
async def demo(zone: str) -> AsyncIterator[str]:
    """`rawstream demo` as a program of its own in a time zone; its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rawstream", "demo", "--port", "0"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "TZ": zone},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for line in process.stdout:
                if line.startswith(b"ready "):
                    break
        yield line.decode().split()[1]
    finally:
        process.terminate()
        await process.communicate()


def hour_of(title: str) -> int:
    found = re.search(r"([0-9]{2}):00 UTC", title)
    assert found is not None, title
    return int(found[1])


@pytest.mark.parametrize("zone", ZONES)
async def test_every_answer_has_the_right_hour(zone: str, tmp_path: Path) -> None:
    async with demo(zone) as url:
        login = f"{url}/player_api.php?username=demo&password=demo"
        server = json.loads((await get(login))[1])["server_info"]
        told = datetime.strptime(server["time_now"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert server["timezone"] == "UTC"
        assert int(told.timestamp()) == server["timestamp_now"]
        assert abs(server["timestamp_now"] - time.time()) < 600

        answer = await get(f"{login}&action=get_short_epg&stream_id=1")
        for row in json.loads(answer[1])["epg_listings"]:
            hour = hour_of(base64.b64decode(row["title"]).decode())
            begins = datetime.fromtimestamp(int(row["start_timestamp"]), UTC)
            assert begins.hour == hour
            assert row["start"] == begins.strftime("%Y-%m-%d %H:%M:%S")
            assert row["end"] == (begins + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")

        document = (await get(f"{url}/xmltv.php?username=demo&password=demo"))[1].decode()
        found = re.findall(
            r'<programme start="([0-9]{14}) \+0000" stop="([0-9]{14}) \+0000"[^>]*>'
            r"\s*<title[^>]*>([^<]*)</title>",
            document,
        )
        assert len(found) > 500
        assert all(int(start[8:10]) == hour_of(title) for start, _stop, title in found)

        status, out, err = await run(
            *(sys.executable, str(CLIENTS), "hours", url, "demo", "demo", str(tmp_path)),
            env={**os.environ, "TZ": zone},
        )
        assert status == 0, err
        now: dict[str, Any] = json.loads(out)
        offset = ZoneInfo(zone).utcoffset(datetime.fromtimestamp(now["start"], UTC))
        assert offset is not None
        expected = timedelta(hours=hour_of(now["title"])) + offset
        local = timedelta(hours=now["hour"], minutes=now["minute"])
        assert (expected - local) % timedelta(days=1) == timedelta()
