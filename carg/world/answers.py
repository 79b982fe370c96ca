"""The JSON Schema of a whole answer under a convention: envelope around `returns`, or an error, to decode under."""

from __future__ import annotations

from collections.abc import Mapping

from carg.records import Convention, Definition, Json
from carg.world.wording import FAILURE, PAYLOAD, SHAPES, SUCCESS

MOST_WORDS = 240
"""Longest message of an error, in characters."""


def answer_schema(convention: Convention, definition: Definition) -> dict[str, Json] | None:
    """What an answer of the tool can be, or None where it is no JSON value: other media, a status line, text errors."""
    factors = convention.factors
    if factors["media"] != "json" or factors["status_line"] == "shown" or definition.returns is None:
        return None
    if factors["error_shape"] == "plain_text":
        return None
    envelope = factors["envelope"]
    if envelope == "structured":
        failed = _object({"content": _texts(), "isError": {"const": True}})
        return {"anyOf": [_object({"structuredContent": definition.returns, "isError": {"const": False}}), failed]}
    if envelope == "mcp_content":
        return _object({"content": _texts(), "isError": {"type": "boolean"}})
    good = definition.returns
    if envelope in PAYLOAD:
        good = _object({**_constants(SUCCESS[envelope]), PAYLOAD[envelope]: definition.returns})
    failed = {key: _shape(inner) for key, inner in SHAPES[factors["error_shape"]].items()}
    return {"anyOf": [good, _object({**_constants(FAILURE.get(envelope, {})), **failed})]}


def _constants(flags: Mapping[str, Json]) -> dict[str, Json]:
    return {key: {"const": value} for key, value in flags.items()}


def _object(properties: dict[str, Json]) -> dict[str, Json]:
    # Where a convention leaves nulls out, an error that stands at no field has none.
    required = [name for name in properties if name != "field"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _text(most: int) -> dict[str, Json]:
    return {"type": "string", "maxLength": most}


def _texts() -> dict[str, Json]:
    item = _object({"type": {"const": "text"}, "text": _text(4000)})
    return {"type": "array", "items": item, "minItems": 1, "maxItems": 1}


_PARTS: dict[str, dict[str, Json]] = {
    "code": _text(80),
    "message": _text(MOST_WORDS),
    "field": {"type": ["string", "null"], "maxLength": 80},
    "type": _text(80),
    "title": _text(80),
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
}


def _shape(shape: Json) -> dict[str, Json]:
    """The schema of an error's shape, or of a part of it."""
    if isinstance(shape, str):
        return _PARTS[shape]
    if isinstance(shape, list):
        return {"type": "array", "items": _shape(shape[0]), "minItems": 1, "maxItems": 1}
    return _object({key: _shape(inner) for key, inner in shape.items()})
