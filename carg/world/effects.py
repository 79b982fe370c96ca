"""What a model says a tool does to the records of its service, put on trial by doing it.

Sampled calls are answered by the stand-in over an empty shadow store: a creation must leave a record, a deletion take
one away, a reading or a change tell of the record that the call named, a search of those it lists.
"""

from __future__ import annotations

from random import Random
from typing import Any, Literal, NamedTuple

from carg.fill import fill
from carg.records import Definition, Json, Op
from carg.schemas import types_of
from carg.world.shadow import Shadow, subject_of
from carg.world.stand_in import make_body

N_TRIALS = 6


class EffectTrial(NamedTuple):
    """`unproved`: nothing was seen to happen, so nothing rests on it; `refused`: it contradicts itself, as said."""

    verdict: Literal["believed", "unproved", "refused"]
    words: str = ""


def try_effect(definition: Definition, rng: Random) -> EffectTrial:
    """What becomes of the claim. Raises RecordError when a schema accepts nothing that can be found."""
    if words := _contradiction(definition):
        return EffectTrial("refused", words)
    if definition.effect == "compute":
        return EffectTrial("unproved" if definition.resource else "believed")
    for _ in range(N_TRIALS):
        arguments: dict[str, Json] = fill(definition.parameters, rng)
        shadow, subject = Shadow(), subject_of(definition, arguments)
        body = make_body(definition, arguments, shadow, rng)
        if _happened(definition, subject, shadow.take(definition, arguments, body)):
            return EffectTrial("believed")
    return EffectTrial("unproved")


def _happened(definition: Definition, subject: str | None, ops: tuple[Op, ...]) -> bool:
    if definition.effect in ("create", "search"):
        return any(op.record is not None for op in ops)
    return subject is not None and any(
        op.id == subject and (op.record is None) == (definition.effect == "delete") for op in ops
    )


def _contradiction(definition: Definition) -> str:
    """Why ids and records cannot stand where they are said to; "" where they can."""
    parameters, returns = definition.parameters, definition.returns or {}
    argument, result, records = definition.id_argument, definition.id_result, definition.records_result
    if argument is not None and types_of(_node(parameters, argument)) in (("object",), ("boolean",)):
        return f"id_argument: {argument!r} is no id but an object or a boolean"
    if result is not None and types_of(_node(returns, result)) in (("object",), ("array",), ("boolean",)):
        return f"id_result: {result!r} is no id but an object, a list or a boolean"
    if records is not None and "array" not in types_of(_node(returns, records)):
        return f"records_result: {records!r} is not a list"
    if records and result is not None and not result.startswith(f"{records}."):
        return f"id_result: {result!r} does not lie in the records of {records!r}"
    if definition.effect == "compute" and (argument or result or records):
        return "effect: compute names no record, yet an id or records are named"
    if definition.effect == "delete" and records is not None:
        return "effect: delete takes one record away, yet it lists records"
    return ""


def _node(schema: dict[str, Json], path: str) -> dict[str, Json]:
    """The schema at a dotted path, through lists; {} where there is none."""
    node: Any = schema
    for step in path.split(".") if path else ():
        while isinstance(node, dict) and "items" in node and "properties" not in node:
            node = node["items"]
        node = (node.get("properties") or {}).get(step) if isinstance(node, dict) else None
    return node if isinstance(node, dict) else {}
