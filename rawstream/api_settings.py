"""Settings, for operators: what each is, where that comes from, and what may change while we run.

Owns: how settings are shown, which of them a request may name. Must not know: what is done with
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field
from pydantic.fields import FieldInfo

from rawstream.config import Config, Limits
from rawstream.fetch import host_of
from rawstream.live_settings import LIVE, LiveSettings, value_of
from rawstream.rest import Call, Model, Operation

Value = bool | int | float | str | list[str | int]
Origin = Literal["here", "flag", "variable", "file", "default"]


class SettingView(Model):
    """A setting. `name`: as in the configuration file, dotted in a group. `live`: it may be changed
    here, the others take a restart. `configured`: what it is when it is not set here. `choices`:
    all it may be, empty where that is not a few.
    """

    name: str
    value: Value
    origin: Origin
    live: bool
    configured: Value
    default: Value
    text: str
    choices: list[str | int]
    minimum: float | None
    maximum: float | None


class Settings(Model):
    """All there are to see: those that may change first."""

    items: list[SettingView]


class SettingsChange(Model):
    """What is not named stays; null takes back what was set here."""

    public_url: str | None = Field(default=None, max_length=500)
    adult_hidden: bool | None = None
    kodi_properties: bool | None = None
    login_failure_status: Literal[200, 401] | None = None
    limit_policy: Literal["take over", "refuse"] | None = None
    hls_target_seconds: float | None = Field(default=None, ge=1, le=15)
    log_level: Literal["debug", "info", "warning", "error"] | None = None
    bandwidth_bits_per_second: int | None = Field(default=None, ge=0, le=1 << 44)
    viewers: int | None = Field(default=None, ge=1, le=1 << 30)
    login_failures: int | None = Field(default=None, ge=1, le=1 << 30)


_IN_GROUP: Final = {name.rpartition(".")[2]: name for name in LIVE}
_CHOICES: Final[dict[str, list[str | int]]] = {
    "login_failure_status": [200, 401],
    "limit_policy": ["take over", "refuse"],
    "log_level": ["debug", "info", "warning", "error"],
}
_GROUPS: Final = frozenset(("timeouts", "limits"))


class SettingsOperations:
    """The handlers."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings

    def table(self) -> list[Operation]:
        tag, path = "settings", "/settings"
        return [
            Operation(
                *("GET", path, self.read, "All settings, and where they come from", tag),
                answer=Settings,
                tagged=True,
            ),
            Operation(
                *("PATCH", path, self.change, "Change settings without a restart", tag),
                body=SettingsChange,
                answer=Settings,
                current=self.read,
                tagged=True,
                description="In force at once, in other processes within two seconds. Null takes"
                " back what was set here.",
            ),
        ]

    async def read(self, _call: Call) -> Settings:
        names = [name for name in Config.model_fields if name not in LIVE and name not in _GROUPS]
        return Settings(items=[self._view(name) for name in (*LIVE, *names)])

    async def change(self, call: Call) -> Settings:
        wanted: SettingsChange = call.body
        given = {_IN_GROUP[name]: getattr(wanted, name) for name in wanted.model_fields_set}
        await self._settings.change(given)
        return await self.read(call)

    def _view(self, name: str) -> SettingView:
        settings = self._settings
        group, _, inner = name.rpartition(".")
        known = (Limits if group else Config).model_fields[inner]
        return SettingView(
            name=name,
            value=_shown(name, value_of(settings.config, name)),
            origin=settings.origin_of(name),
            live=name in LIVE,
            configured=_shown(name, value_of(settings.configured, name)),
            default=_plain(known.default),
            text=LIVE.get(name, ""),
            choices=_CHOICES.get(name, []),
            minimum=_bound(known, "ge"),
            maximum=_bound(known, "le"),
        )


def _shown(name: str, value: Any) -> Value:
    """What an operator's page may hold: whoever has a webhook's address may post to it."""
    return [host_of(url) for url in value] if name == "webhooks" else _plain(value)


def _plain(value: Any) -> Value:
    if isinstance(value, tuple):
        return [one if isinstance(one, int) else str(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    return value  # type: ignore[no-any-return]


def _bound(known: FieldInfo, name: str) -> float | None:
    found = [getattr(one, name) for one in known.metadata if hasattr(one, name)]
    return float(found[0]) if found else None
