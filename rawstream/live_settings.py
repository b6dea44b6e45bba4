"""Settings that may change while the server runs: what an operator set over the configuration.

Owns: which settings these are, what is kept of them, the configuration that comes of it. Must not
know: who sets them, which objects live by them.

What is set here wins over flags, variables and file: it was said last, by somebody who saw them.
Taken back, what they say is in force again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationError

from rawstream.config import Config, Limits, Origin
from rawstream.errors import ConfigError
from rawstream.store import Store

logger = logging.getLogger(__name__)

SETTING: Final = "live settings"
# what each says, for people; the names are those of `Config`
LIVE: Final[Mapping[str, str]] = {
    "public_url": "what players are told as our address; empty: what they asked for",
    "adult_hidden": "adult categories are hidden from every account",
    "kodi_properties": "lists have #KODIPROP lines, which spare Kodi its probes",
    "login_failure_status": "what a wrong login answers: 200 with auth 0, as panels do, or 401",
    "limit_policy": "at an account's limit: its oldest stream ends, or the new one is refused",
    "hls_target_seconds": "how long an HLS segment should be; for channels started from now on",
    "log_level": "how much is logged",
    "limits.bandwidth_bits_per_second": "what all viewers together are sent; 0: any",
    "limits.viewers": "viewers with an account, all together",
    "limits.login_failures": "failed logins per address and name until they have to wait",
}


class LiveSettings:
    """Those of one process. `apply(before, now)` is called with each new configuration."""

    def __init__(
        self, store: Store, config: Config, apply: Callable[[Config, Config], None]
    ) -> None:
        self._store = store
        self._apply = apply
        self.configured = config  # by flags, variables and file
        self.config = config  # in force
        self.set_here: dict[str, Any] = {}
        self._text = ""  # as it is kept
        self._changing = asyncio.Lock()  # who sets something else meanwhile undoes nothing

    async def load(self) -> None:
        """What is kept, put in force. Raises StateError."""
        text = await self._store.get_setting(SETTING) or ""
        if text == self._text:
            return
        config, good = self.configured, {}
        for name, value in _kept(text).items():
            try:
                config = with_setting(config, name, value)
                good[name] = value
            except ConfigError as error:  # by a version that took it
                logger.warning("a setting that was kept is not used: %s", error)
        self._put_in_force(config, good, text)

    async def change(self, given: Mapping[str, Any]) -> None:
        """Set some, in this and all other processes; None takes one back. Raises ConfigError, then
        none is set; StateError.
        """
        async with self._changing:
            await self.load()  # another process may have set others just now
            config, wanted = self.configured, {**self.set_here, **given}
            wanted = {name: value for name, value in wanted.items() if value is not None}
            for name, value in wanted.items():
                config = with_setting(config, name, value)
                wanted[name] = value_of(config, name)
            text = json.dumps(wanted)
            await self._store.set_setting(SETTING, text)
            self._put_in_force(config, wanted, text)

    def _put_in_force(self, config: Config, set_here: dict[str, Any], text: str) -> None:
        before, self.config, self.set_here = self.config, config, set_here
        self._text = text
        if config != before:
            self._apply(before, config)

    def origin_of(self, name: str) -> Origin | Literal["here"]:
        """Where a setting's value comes from."""
        return "here" if name in self.set_here else self.configured.origin(name)


def _kept(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return {name: found[name] for name in LIVE if name in found} if isinstance(found, dict) else {}


def value_of(config: Config, name: str) -> Any:
    """Of a setting by its dotted name."""
    value: Any = config
    for part in name.split("."):
        value = getattr(value, part)
    return value


def with_setting(config: Config, name: str, value: Any) -> Config:
    """The configuration with another value of one setting. Raises ConfigError."""
    if name not in LIVE:
        raise ConfigError(name, "takes a restart to change")
    group, _, inner = name.rpartition(".")
    # one alone: what the others are was checked when they were set
    checked: BaseModel
    try:
        checked = Limits(**{inner: value}) if group else Config(**{inner: value})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(name, problem) from error
    good = getattr(checked, inner)
    if not group:
        return config.model_copy(update={inner: good})
    return config.model_copy(update={group: config.limits.model_copy(update={inner: good})})
