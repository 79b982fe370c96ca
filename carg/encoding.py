"""Records as lines of JSON, and back: orjson writes dataclasses as they stand; their hints say how to build them."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar

import orjson

from carg.errors import RecordError
from carg.records import Json

Record = TypeVar("Record")


def to_json(record: object) -> bytes:
    """A record as one line of JSON, without the newline; keys in the order of the fields."""
    return orjson.dumps(record)


def from_json(kind: type[Record], text: bytes | str) -> Record:
    """The record that `to_json` wrote. Raises RecordError when the text is not such a record."""
    try:
        return build(kind, orjson.loads(text))
    except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError, ValueError) as fault:
        raise RecordError(f"not a {kind.__name__}: {fault}", "the file may be torn or of another version") from fault


def build(kind: type[Record], value: Mapping[str, Json]) -> Record:
    """A record of `kind` from plain JSON; unknown keys are refused, missing ones take their default."""
    plan = _plan(typing.cast(type, kind))
    if not value.keys() <= plan.keys():
        raise ValueError(f"unknown field {sorted(value.keys() - plan.keys())[0]!r}")
    return kind(**{name: item if (make := plan[name]) is None else make(item) for name, item in value.items()})


@lru_cache
def _plan(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: _builder(hints[item.name]) for item in fields(kind)}


def _builder(hint: Any) -> Any:
    """What makes a value of the hinted type from plain JSON; None where it is one already."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType) and type(None) in args:
        inner = _builder(next(item for item in args if item is not type(None)))
        return inner and (lambda value: None if value is None else inner(value))
    if origin is tuple:
        inner = _builder(args[0])
        return tuple if inner is None else (lambda value: tuple([inner(item) for item in value]))
    return (lambda value: build(hint, value)) if isinstance(hint, type) and is_dataclass(hint) else None
