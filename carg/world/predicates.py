"""Error predicates over arguments that a model wrote: compiled in the closed language, believed only after a trial.

On sampled calls that the schema accepts each rule must hold sometimes and not always, and once hold alone, else it is
unproved (`when` None) and never becomes a label. What depends on records cannot be tried here, so it is unproved too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache
from random import Random
from typing import Any

import orjson

from carg.errors import ExpressionError
from carg.fill import fill
from carg.records import ErrorSpec, Json
from carg.schemas import apply_defaults, is_valid, types_of
from carg.world.expressions import compile_expression
from carg.world.types import BOOLEAN, DATE, INTEGER, NUMBER, TEXT, TIME, Scope, Type

N_TRIALS = 150
MOST_SHARE = 0.9
"""A rule that refuses more than nine calls of ten is a mistake of its writer."""

_FAULTS = {
    "required": "schema.missing",
    "additionalProperties": "schema.unknown",
    "type": "schema.type",
    "enum": "schema.enum",
    "pattern": "schema.format",
    "format": "schema.format",
}
_TYPES = {"number": NUMBER, "integer": INTEGER, "boolean": BOOLEAN, "string": TEXT}
_FORMATS = {"date": DATE, "date-time": TIME}


def rule_holds(source: str, parameters: dict[str, Json], arguments: Mapping[str, Json]) -> bool | None:
    """Whether the rule refuses these arguments (absent ones have their default); None where it cannot be compiled."""
    rule = _compile(source, orjson.dumps(parameters))
    return None if rule is None else rule(apply_defaults(parameters, dict(arguments)))


def prove_errors(errors: Sequence[ErrorSpec], parameters: dict[str, Json], rng: Random) -> tuple[ErrorSpec, ...]:
    """The same errors; `when` is kept where it was proved and None elsewhere.

    Raises RecordError when the schema accepts no call that can be found.
    """
    n_trials = N_TRIALS if any(error.when and "rule" in error.when for error in errors) else 1
    calls = [_entangle(fill(parameters, rng, boundary=trial % 3 == 0), parameters, rng) for trial in range(n_trials)]
    verdicts = [_verdicts(error, parameters, calls) for error in errors]
    believed = [at for at, held in enumerate(verdicts) if held and 0 < sum(held) <= MOST_SHARE * N_TRIALS]
    proved = set()
    for at in believed:
        others = [verdicts[other] for other in believed if other != at]
        if any(held and not any(other[call] for other in others) for call, held in enumerate(verdicts[at])):
            proved.add(at)
    seen: set[bytes] = set()
    out = []
    for at, error in enumerate(errors):
        spelling = orjson.dumps(error.when, option=orjson.OPT_SORT_KEYS)
        sound = (at in proved or _is_schema_rule(error, parameters)) and spelling not in seen
        seen.add(spelling)
        out.append(error if sound else replace(error, when=None))
    return tuple(out)


def _verdicts(error: ErrorSpec, parameters: dict[str, Json], calls: list[dict[str, Json]]) -> list[bool]:
    """What the rule of an error says of each call; [] where there is no rule to ask."""
    source = (error.when or {}).get("rule")
    if not isinstance(source, str) or not error.fault.startswith("rule."):
        return []
    verdicts = [rule_holds(source, parameters, call) for call in calls]
    return [] if None in verdicts else [bool(verdict) for verdict in verdicts]


def _is_schema_rule(error: ErrorSpec, parameters: dict[str, Json]) -> bool:
    """{"schema": keyword, "at": pointer} where that keyword stands there and belongs to the class of the error."""
    when = error.when or {}
    keyword, pointer = when.get("schema"), when.get("at")
    if not isinstance(keyword, str) or not isinstance(pointer, str):
        return False
    if _FAULTS.get(keyword, "schema.range") != error.fault:
        return False
    node: Any = parameters
    *parents, name = pointer.strip("/").split("/")
    for step in parents:
        node = (node.get("properties") or {}).get(step, {})
    if keyword == "required":
        return name in node.get("required", ())
    return keyword in (node.get("properties") or {}).get(name, {})


def _entangle(call: Json, parameters: dict[str, Json], rng: Random) -> dict[str, Json]:
    """The call, at times with two arguments of one kind made equal or swapped: rules between them get a chance."""
    arguments: dict[str, Json] = dict(call)
    nodes: dict[str, Any] = parameters.get("properties") or {}
    kinds = {name: (types_of(nodes[name]), nodes[name].get("format")) for name in sorted(arguments) if name in nodes}
    pairs = [(one, other) for one in kinds for other in kinds if one != other and kinds[one] == kinds[other]]
    if not pairs or rng.random() < 0.6:
        return arguments
    one, other = rng.choice(pairs)
    changed = {**arguments, other: arguments[one]}
    if rng.random() < 0.5:
        changed[one] = arguments[other]
    return changed if is_valid(parameters, changed) else arguments


@lru_cache(maxsize=4096)
def _compile(source: str, schema: bytes) -> Callable[[dict[str, Json]], bool] | None:
    parameters = orjson.loads(schema)
    nodes: dict[str, Any] = parameters.get("properties") or {}
    required = parameters.get("required") or ()
    kinds = {name: _type(node, optional=name not in required) for name, node in nodes.items()}
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    try:
        rule = compile_expression(source, Scope(known))
    except ExpressionError:
        return None
    if rule.type.kind != "boolean":
        return None

    def holds(arguments: dict[str, Json]) -> bool:
        values = {name: _value(known[name], arguments.get(name)) for name in known}
        return bool(rule.run(_no_cell, _no_table, values))

    return holds


def _type(node: dict[str, Json], *, optional: bool) -> Type | None:
    """The type that the expression language has for a parameter; None for objects and mixtures."""
    named = [kind for kind in types_of(node) if kind != "null"]
    nullable = "null" in types_of(node) or (optional and "default" not in node)
    options = node.get("enum")
    if isinstance(options, list) and options and all(isinstance(option, str) for option in options):
        return Type("text", options=tuple(options), nullable=nullable)
    if named == ["array"]:
        item = _type(node.get("items") or {}, optional=False)
        return Type("list", item=item, nullable=nullable) if item else None
    if len(named) != 1 or named[0] not in _TYPES:
        return None
    kind = _FORMATS.get(node.get("format", ""), _TYPES[named[0]]) if named[0] == "string" else _TYPES[named[0]]
    return kind.or_null(nullable)


def _value(kind: Type, value: Json) -> Json:
    """A value as expressions take it: dates in days and times in seconds since 1970."""
    if not isinstance(value, str) or kind.kind not in ("date", "time"):
        return value
    try:
        if kind.kind == "date":
            return (date.fromisoformat(value) - date(1970, 1, 1)).days
        moment = datetime.fromisoformat(value)
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except ValueError:
        return None


def _no_cell(_resource: str, _id: Any, _field: str) -> Json:
    return None


def _no_table(_resource: str) -> list[str]:
    return []
