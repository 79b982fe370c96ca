"""Checks of one tool, or of one definition drawn from it: schemas, errors, words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache

from carg.checks.check import check
from carg.records import FAULT_ORDER, Definition, Json, Tool
from carg.referee import spell
from carg.schemas import is_valid, schema_complaints, walk

_NAME = re.compile(r"[A-Za-z_][\w./-]{0,99}\Z")


@check()
def sound_schemas(tool: Tool | Definition) -> str | None:
    """Parameters and returns are sound JSON Schemas, and the parameters are an object."""
    return next(_complain(tool, bounded=False), None)


@check(recorded=False)
def bounded_schemas(tool: Tool | Definition) -> str | None:
    """Strings and arrays are bounded and objects closed, so that decoding under the schema ends."""
    if next(_complain(tool, bounded=False), None):
        return None
    return next(_complain(tool, bounded=True), None)


def _complain(tool: Tool | Definition, *, bounded: bool) -> Iterator[str]:
    for name, schema, is_input in (("parameters", tool.parameters, True), ("returns", tool.returns, False)):
        if schema is not None:
            yield from (f"{name}: {complaint}" for complaint in _judge(spell(schema), bounded, is_input))


@lru_cache(512)
def _judge(spelling: bytes, bounded: bool, is_input: bool) -> tuple[str, ...]:
    # Two checks ask for the same, and the siblings of a definition differ in their parameters only.
    return tuple(schema_complaints(json.loads(spelling), bounded=bounded, parameters=is_input))


@check(recorded=False)
def documented_errors(tool: Tool | Definition) -> str | None:
    """Each documented error stands once, with a known class, a status from 400 to 599 and words."""
    seen = set()
    for error in tool.errors:
        if (error.code, error.fault, error.field) in seen:
            return f"error {error.code!r} stands twice for {error.fault}"
        seen.add((error.code, error.fault, error.field))
        if error.fault not in FAULT_ORDER:
            return f"error {error.code!r}: unknown class {error.fault!r}"
        if not 400 <= error.status <= 599:
            return f"error {error.code!r}: status {error.status}"
        if not error.code or not error.message.strip():
            return f"error {error.code!r} has no words"
    return None


@check(recorded=False)
def described(tool: Tool | Definition) -> str | None:
    """The tool has a usable name, and it and each of its parameters are described."""
    if not _NAME.match(tool.name):
        return f"the name {tool.name!r} cannot be called"
    if len(tool.description.strip()) < 10:
        return "no description"
    for name, schema in tool.parameters.get("properties", {}).items():
        if not (schema.get("description") or schema.get("title") or schema.get("properties")):
            return f"parameter {name!r} is not described"
    return None


@check()
def examples_validate(tool: Tool | Definition) -> str | None:
    """Defaults and examples in a schema are values that the schema allows."""
    for root in (tool.parameters, tool.returns or {}):
        for path, schema in walk(root):
            given = [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else ())]
            if given and "$ref" not in schema and (wrong := [item for item in given if not is_valid(schema, item)]):
                return f"{path}: {wrong[0]!r} is not allowed by its own schema"
    return None


@check(recorded=False)
def paths_exist(tool: Tool | Definition) -> str | None:
    """The places named for ids and records are in the schemas."""
    places = (
        ("id_argument", tool.parameters, tool.id_argument),
        ("id_result", tool.returns, tool.id_result),
        ("records_result", tool.returns, tool.records_result),
    )
    for name, schema, path in places:
        if path is not None and schema is not None and not _has_path(schema, path):
            return f"{name}: no {path!r} in the schema"
    return None


def _has_path(schema: dict[str, Json], path: str) -> bool:
    for step in path.split(".") if path else ():
        while "items" in schema and "properties" not in schema:
            schema = schema["items"]
        if step not in schema.get("properties", {}):
            return False
        schema = schema["properties"][step]
    return True
