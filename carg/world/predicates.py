"""Error predicates over arguments that a model wrote: compiled in the closed language, believed only after a trial.

On sampled calls that the schema accepts a rule must hold sometimes and not always, and there must be an isolated
mutation: a call that it alone refuses, one argument away from an accepted one. A keyword of the schema must stand where
it is said to, and breaking it must give exactly that error. All else is never a label. What depends on records cannot
be tried here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import product
from random import Random
from typing import Any, Literal, NamedTuple

import orjson

from carg.errors import ExpressionError
from carg.fill import fill
from carg.records import ErrorSpec, Json
from carg.schemas import apply_defaults, faults, is_valid, types_of
from carg.world.expressions import compile_expression
from carg.world.types import BOOLEAN, DATE, INTEGER, NUMBER, TEXT, TIME, Scope, Type

N_TRIALS = 150
MOST_SHARE = 0.9
"""A rule that refuses more than nine calls of ten is a mistake of its writer."""
N_FILLED = 25
"""Calls that are drawn; the others mix two of these, which costs a tenth."""
N_MUTATED = 6
"""Refused calls that are mended, and accepted ones that lend a value: a sound rule is proved by the first few."""

Rule = Callable[[dict[str, Json]], bool]
Verdict = Literal["believed", "unproved", "refused", "untried"]

_FAULTS = {
    "required": "schema.missing",
    "type": "schema.type",
    "enum": "schema.enum",
    "const": "schema.enum",
    "pattern": "schema.format",
    "format": "schema.format",
}
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_FAULTS |= dict.fromkeys((*_BOUNDS, "minLength", "maxLength", "minItems", "maxItems"), "schema.range")
_TYPES = {"number": NUMBER, "integer": INTEGER, "boolean": BOOLEAN, "string": TEXT}
_FORMATS = {"date": DATE, "date-time": TIME}


class Trial(NamedTuple):
    """An error as it stands after its trial: `when` is None unless believed.

    `unproved` could not be shown (it never fires, or nearly always, or never alone); `refused` is none: outside the
    language, of another class, of a keyword that is not there, said twice; `untried` rests on records, or says nothing.
    """

    error: ErrorSpec
    verdict: Verdict


def rule_holds(source: str, parameters: dict[str, Json], arguments: Mapping[str, Json]) -> bool | None:
    """Whether the rule refuses these arguments (absent ones have their default); None where it cannot be compiled."""
    rule = _compile(source, orjson.dumps(parameters))
    return None if rule is None else rule(apply_defaults(parameters, dict(arguments)))


def try_errors(errors: Sequence[ErrorSpec], parameters: dict[str, Json], rng: Random) -> tuple[Trial, ...]:
    """Each error after its trial, in their order.

    Raises RecordError when the schema accepts no call that can be found.
    """
    rules = {at: rule for at, error in enumerate(errors) if (rule := _rule(error, parameters)) is not None}
    calls = _draw_calls(parameters, rng, N_TRIALS if rules else N_MUTATED)
    whole = [apply_defaults(parameters, call) for call in calls]
    held = {at: [rule(call) for call in whole] for at, rule in rules.items()}
    often = {at: rules[at] for at, found in held.items() if 0 < sum(found) <= MOST_SHARE * len(calls)}
    seen: set[str] = set()
    out = []
    for at, error in enumerate(errors):
        spelling = repr(sorted((error.when or {}).items()))
        if not error.when or error.when.keys() == {"state"}:
            verdict: Verdict = "untried"
        elif spelling in seen:
            verdict = "refused"
        elif at in rules:
            verdict = "believed" if at in often and _is_isolated(at, often, held, parameters, calls) else "unproved"
        else:
            verdict = _try_keyword(error, parameters, calls)
        seen.add(spelling)
        out.append(Trial(error if verdict == "believed" else replace(error, when=None), verdict))
    return tuple(out)


def _rule(error: ErrorSpec, parameters: dict[str, Json]) -> Rule | None:
    """What the rule of an error says of a call with its defaults; None where there is no rule to ask."""
    source = (error.when or {}).get("rule")
    if not isinstance(source, str) or not error.fault.startswith("rule."):
        return None
    return _compile(source, orjson.dumps(parameters))


def _is_isolated(
    at: int,
    rules: Mapping[int, Rule],
    held: Mapping[int, list[bool]],
    parameters: dict[str, Json],
    calls: Sequence[dict[str, Json]],
) -> bool:
    """Whether some call that this rule alone refuses, and one that all rules accept, differ in one argument."""
    holding = [{one for one in rules if held[one][number]} for number in range(len(calls))]
    alone = [call for call, found in zip(calls, holding, strict=True) if found == {at}][:N_MUTATED]
    accepted = [call for call, found in zip(calls, holding, strict=True) if not found][:N_MUTATED]

    def is_now(call: dict[str, Json], wanted: set[int]) -> bool:
        whole = apply_defaults(parameters, call)
        return {one for one, rule in rules.items() if rule(whole)} == wanted and is_valid(parameters, call)

    return any(
        is_now(changed, wanted)
        for ours, theirs, wanted in ((alone, accepted, set[int]()), (accepted, alone, {at}))
        for call, other in product(ours, theirs)
        for changed in _neighbours(call, other)
    )


def _neighbours(call: dict[str, Json], other: dict[str, Json]) -> Iterator[dict[str, Json]]:
    """The call with one argument as the other has it."""
    for name in sorted(call.keys() | other.keys()):
        if call.get(name, ...) != other.get(name, ...):
            rest = {key: value for key, value in call.items() if key != name}
            yield {**rest, name: other[name]} if name in other else rest


def _try_keyword(error: ErrorSpec, parameters: dict[str, Json], calls: Sequence[dict[str, Json]]) -> Verdict:
    """{"schema": keyword, "at": pointer}: it must stand there, be of the error's class, and be broken alone."""
    when = error.when or {}
    keyword, pointer = when.get("schema"), when.get("at")
    if not isinstance(keyword, str) or not isinstance(pointer, str) or _FAULTS.get(keyword) != error.fault:
        return "refused"
    *parents, name = pointer.strip("/").split("/")
    node: Any = parameters
    for step in parents:
        node = _properties(node).get(step)
    own = _properties(node).get(name)
    if not isinstance(own, dict) or not (name in node.get("required", ()) if keyword == "required" else keyword in own):
        return "refused"
    wanted = [(error.fault, ".".join((*parents, name)))]
    for call in calls:
        for broken in _broken(call, (*parents, name), keyword, own):
            if [(fault.fault, fault.field) for fault in faults(parameters, broken)] == wanted:
                return "believed"
    return "unproved"


def _broken(
    call: dict[str, Json], path: tuple[str, ...], keyword: str, node: dict[str, Json]
) -> Iterator[dict[str, Json]]:
    """The call with the argument at the path left out, or of values that break the keyword."""
    for value in [...] if keyword == "required" else _breaking(keyword, node, _at(call, path)):
        changed = deepcopy(call)
        inner = _at(changed, path[:-1])
        if not isinstance(inner, dict):
            return
        if value is ...:
            inner.pop(path[-1], None)
        else:
            inner[path[-1]] = value
        yield changed


def _breaking(keyword: str, node: dict[str, Json], value: Json) -> list[Json]:
    bound = node[keyword]
    if keyword in ("maxLength", "minLength", "maxItems", "minItems") and isinstance(bound, int):
        size = bound + 1 if keyword.startswith("max") else max(0, bound - 1)
        items = value if isinstance(value, list) else []
        return ["x" * size] if keyword.endswith("Length") else [(items * (size + 1))[:size]]
    if keyword in _BOUNDS and isinstance(bound, int | float):
        return [bound - 1, bound, bound + 1, bound * 1.5, bound * 2]
    if keyword == "type":
        return ["soon", 1.5, True, None, ["a"], {"a": 1}]
    return ["", "soon", "not so", "99-99", -1]


def _at(value: Json, path: Sequence[str]) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _properties(node: Any) -> dict[str, Json]:
    found = node.get("properties") if isinstance(node, dict) else None
    return {name: node for name, node in found.items() if isinstance(node, dict)} if isinstance(found, dict) else {}


def _draw_calls(parameters: dict[str, Json], rng: Random, n_calls: int) -> list[dict[str, Json]]:
    calls: list[dict[str, Json]] = []
    for number in range(n_calls):
        if number < N_FILLED:
            call: dict[str, Json] = dict(fill(parameters, rng, boundary=number % 3 == 0))
        else:
            one, other = rng.choice(calls[:N_FILLED]), rng.choice(calls[:N_FILLED])
            call = {name: value for name, value in {**one, **other}.items() if name in one or rng.random() < 0.5}
            call |= {name: one[name] for name in one if rng.random() < 0.5}
            call = call if is_valid(parameters, call) else one
        calls.append(_entangle(call, parameters, rng))
    return calls


def _entangle(call: Json, parameters: dict[str, Json], rng: Random) -> dict[str, Json]:
    """The call, at times with two arguments of one kind equal, close or swapped: rules between them get a chance."""
    arguments: dict[str, Json] = dict(call)
    nodes = _properties(parameters)
    kinds = {name: (types_of(nodes[name]), nodes[name].get("format")) for name in sorted(arguments) if name in nodes}
    pairs = [(one, other) for one in kinds for other in kinds if one != other and kinds[one] == kinds[other]]
    if not pairs or rng.random() < 0.4:
        return arguments
    one, other = rng.choice(pairs)
    way = rng.choice(("equal", "swapped", "close", "close"))
    changed = {**arguments, other: arguments[one] if way != "close" else _close_to(arguments[one], rng)}
    if way == "swapped":
        changed[one] = arguments[other]
    return changed if is_valid(parameters, changed) else arguments


def _close_to(value: Json, rng: Random) -> Json:
    """A number or date somewhat above or below; any other value as it is."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value) + timedelta(days=rng.choice((-1, 1, 2, 7, 20)))
        except (ValueError, OverflowError):
            return value
        return moment.isoformat()[: len(value)] if len(value) == 10 else moment.isoformat()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return value + rng.choice((-2, -1, 1, 2, 5))


@lru_cache(maxsize=4096)
def _compile(source: str, schema: bytes) -> Rule | None:
    parameters = orjson.loads(schema)
    nodes = _properties(parameters)
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
        try:
            return bool(rule.run(_no_cell, _no_table, values))
        except (ArithmeticError, ValueError, TypeError):
            return False  # A number or date that does not exist refuses nothing.

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
