"""The stochastic caller: arguments as somebody who knows the state would choose them, and who they are."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from carg.world.computing import compute_formula
from carg.world.functions import DAY_S, Uncomputable
from carg.world.model import FieldSpec, Input, Operation
from carg.world.people import draw_email
from carg.world.setting import Setting
from carg.world.state import State
from carg.world.values import draw_number, draw_option, draw_value


def draw_credential(name: str, by_key: bool, rng: Random) -> str:
    """How calls name an actor: by login, or by the name of a key. Never a token."""
    login = draw_email(rng, name).partition("@")[0]
    return f"key-{login.replace('.', '-')}" if by_key else login


def draw_arguments(
    setting: Setting,
    state: State,
    operation: Operation,
    rng: Random,
    focus: Mapping[str, str],
    *,
    optional: float = 0.5,
) -> dict[str, Any] | None:
    """Canonical arguments for the operation, or None where there is no record to name.

    `focus` gives the record to be preferred per resource; `optional` is the chance of each optional input.
    """
    drawn: dict[str, Any] = {}
    for item in operation.inputs:
        if not item.required and rng.random() >= _chance(operation, item, optional):
            continue
        value = draw_argument(setting, state, operation, item, rng, focus, drawn)
        if value is None:
            if item.required:
                return None
            continue
        drawn[item.name] = value
    if operation.kind == "update" and len(drawn) < 2 and len(operation.inputs) > 1:
        item = rng.choice(operation.inputs[1:])
        value = draw_argument(setting, state, operation, item, rng, focus, drawn)
        if value is not None:
            drawn[item.name] = value
    if operation.kind == "aggregate" and drawn.get("metric", "count") != "count" and "field" not in drawn:
        drawn["metric"] = "count"
    return drawn


def _chance(operation: Operation, item: Input, optional: float) -> float:
    if item.role in ("equals", "least", "most", "contains", "has"):
        return 0.3
    if operation.kind == "update":
        return 0.25
    if item.name in ("offset", "order"):
        return 0.25
    return 1 - item.spec.optional if item.spec.optional and optional else optional


def draw_argument(
    setting: Setting,
    state: State,
    operation: Operation,
    item: Input,
    rng: Random,
    focus: Mapping[str, str],
    drawn: Mapping[str, Any],
) -> Any:
    """One canonical value."""
    spec = item.spec
    if item.role == "target" and spec.kind == "ref":
        return pick_target(setting, state, operation, spec.of or "", rng, focus)
    if item.role == "targets" and spec.item is not None:
        return _pick_several(setting, state, operation, spec, rng, focus)
    if operation.kind == "table":
        return _table_value(setting, operation, item, rng)
    if item.role in ("equals", "least", "most", "contains", "has") and operation.subject in state.tables:
        seen = _seen_value(state, operation.subject, item, rng)
        if seen is not None:
            return seen
    if item.name == "offset":
        return rng.choice((0, 10, 10, 20))
    if item.name.endswith("_to") and f"{item.name[:-3]}_from" in drawn:
        return _above(spec, drawn[f"{item.name[:-3]}_from"], rng)
    if item.name.startswith("target_") and operation.kind == "solve":
        return _solvable(setting, operation, rng, drawn)
    return draw_value(spec, rng, setting.world, state.now, _picker(state, rng, focus), drawn, null=False)


def _above(spec: FieldSpec, low: float, rng: Random) -> float:
    high = spec.high if spec.high is not None else low + 1
    value = draw_number(spec, rng, low, max(high, low))
    return value if value > low else high


def _solvable(setting: Setting, operation: Operation, rng: Random, drawn: Mapping[str, Any]) -> float:
    formula = setting.world.formulas[operation.subject]
    spec = next(spec for spec in formula.inputs if spec.name == operation.vary)
    inputs = {item.name: drawn.get(item.name, item.spec.default) for item in operation.inputs}
    inputs[spec.name] = draw_number(spec, rng, spec.low or 0, spec.high or 1)
    try:
        value = compute_formula(formula, setting.base, inputs)[formula.outputs[0].name]
    except Uncomputable:
        value = None
    return 1.0 if value is None else float(value)


def _table_value(setting: Setting, operation: Operation, item: Input, rng: Random) -> Any:
    """A key of the table, a value that some row of it has, or a word of one."""
    table = setting.world.tables[operation.subject]
    column = table.key if item.role == "target" else item.of
    value = rng.choice(table.rows)[[spec.name for spec in table.columns].index(column or "")]
    if item.role != "contains":
        return value
    return _word_of(value, rng) or str(value)[:20]


def _word_of(value: Any, rng: Random) -> str | None:
    words = [word for word in str(value).split() if len(word) > 2]
    return rng.choice(words)[:20] if words else None


def _picker(state: State, rng: Random, focus: Mapping[str, str]) -> Any:
    def pick(spec: FieldSpec) -> str | None:
        return pick_record(state, spec.of or "", rng, focus, skewed=spec.shape == "zipf")

    return pick


def pick_record(
    state: State, resource: str, rng: Random, focus: Mapping[str, str], *, skewed: bool = False
) -> str | None:
    """The id of a record, the one in focus more often than not."""
    table = state.tables.get(resource)
    if not table:
        return None
    if resource in focus and focus[resource] in table and rng.random() < 0.75:
        return focus[resource]
    ids = sorted(table)
    if skewed:
        return ids[int(len(ids) * rng.random() ** 2.2)]
    # The newest are what people work on.
    return ids[-1 - int(len(ids) * rng.random() ** 1.5)] if rng.random() < 0.5 else rng.choice(ids)


def pick_target(
    setting: Setting, state: State, operation: Operation, resource: str, rng: Random, focus: Mapping[str, str]
) -> str | None:
    """The record an operation is for: the one in focus, else one whose state allows it if there is one."""
    table = state.tables.get(resource)
    if not table:
        return None
    if resource in focus and focus[resource] in table:
        return focus[resource]
    life = setting.world.resources[resource].life
    if operation.moves_from and life is not None:
        able = sorted(key for key, record in table.items() if record[life] in operation.moves_from)
        if able:
            return rng.choice(able)
    return pick_record(state, resource, rng, focus)


def _pick_several(
    setting: Setting, state: State, operation: Operation, spec: FieldSpec, rng: Random, focus: Mapping[str, str]
) -> list[str] | None:
    assert spec.item is not None
    wanted = rng.randint(1, min(3, spec.length[1]))
    found: list[str] = []
    for _ in range(wanted):
        key = pick_target(setting, state, operation, spec.item.of or "", rng, {} if found else focus)
        if key is not None and key not in found:
            found.append(key)
    return found or None


def _seen_value(state: State, resource: str, item: Input, rng: Random) -> Any:
    """A value that some record has, so that filters find things."""
    table = state.tables[resource]
    if not table or item.of is None or rng.random() < 0.15:
        return None
    record = table[rng.choice(sorted(table))]
    value = record.get(item.of)
    if value is None:
        return None
    spec = item.spec
    if item.role == "contains":
        return _word_of(value, rng)
    if item.role == "has":
        return rng.choice(value) if value else None
    if item.role in ("least", "most") and isinstance(value, int | float):
        if spec.kind == "time":
            return value // DAY_S * DAY_S
        high = spec.high if spec.kind != "date" else None
        return value if high is None else min(max(value, spec.low or 0), high)
    return value if not spec.options or value in spec.options else draw_option(spec, rng)
