"""Values made up for a JSON schema: mostly what it asks for, sometimes anything else."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

HEX = "a" * 40
IDS = (2, 3, 2_147_483_647)
TEXTS = ("", "x", "Ünï ✓", "<img src=x>", "a\x00b", "%", "' OR 1=1 --", " ", "x" * 5000, HEX)
ANYTHING = (None, True, -1, (1 << 63) - 1, 1.5, "text", [], {}, [[]], {"x": 1})


class Inventor:
    """Makes values up by a seed. `document`: what references lead into."""

    def __init__(self, document: Mapping[str, Any], seed: int) -> None:
        self._document = document
        self._dice = random.Random(seed)
        self._fullness = self._dice.choice((0.1, 0.4, 0.9))  # how much that need not be said is

    def value(self, schema: Mapping[str, Any], *, wild: float = 0.1) -> Any:
        """`wild`: how often a part is not as the schema asks."""
        if self._dice.random() < wild:
            return self._dice.choice(ANYTHING)
        if "examples" in schema and self._dice.random() < 0.3:
            return self._dice.choice(schema["examples"])
        if "$ref" in schema:
            found: Any = self._document
            for name in schema["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            return self.value(found, wild=wild)
        for name in ("anyOf", "oneOf", "allOf"):
            if name in schema:
                return self.value(self._dice.choice(schema[name]), wild=wild)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._dice.choice(schema["enum"])
        return self._of_type(schema, wild)

    def _of_type(self, schema: Mapping[str, Any], wild: float) -> Any:
        match schema.get("type"):
            case "object":
                return self._object(schema, wild)
            case "array":
                count = self._dice.randrange(3)
                return [self.value(schema.get("items", {}), wild=wild) for _ in range(count)]
            case "integer" | "number":
                low = schema.get("minimum", -5)
                wanted = [low, schema.get("maximum", low + 9), *(one for one in IDS if one >= low)]
                return self._dice.choice(wanted)
            case "boolean":
                return self._dice.random() < 0.5
            case "string":
                return self._dice.choice(TEXTS)
            case "null":
                return None
        return self._dice.choice(ANYTHING)

    def _object(self, schema: Mapping[str, Any], wild: float) -> dict[str, Any]:
        required = schema.get("required", ())
        found = {
            name: self.value(part, wild=wild)
            for name, part in schema.get("properties", {}).items()
            if name in required or self._dice.random() < self._fullness
        }
        if self._dice.random() < wild:
            found[self._dice.choice(TEXTS)] = self._dice.choice(ANYTHING)
        return found
