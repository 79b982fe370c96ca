"""Formulas: examples computed, dimensions, one solution where one is sought, finite values where the rules pass."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from random import Random
from typing import Any

from carg.domain_check.findings import Findings
from carg.world.caller import draw_argument
from carg.world.computing import compute_formula, no_cells
from carg.world.executing import execute
from carg.world.functions import Uncomputable
from carg.world.model import FieldSpec, Formula, Input, World
from carg.world.outcome import Actor
from carg.world.setting import Setting
from carg.world.state import State

DRAWS = 200
DRAWS_MOST = 1000
PASS_LEAST = 0.2
LARGEST = 1e15
"""Numbers beyond are neither exact nor read as people write them."""
MONOTONE_DRAWS = 12
MONOTONE_POINTS = 33


def check_formulas(found: Findings, world: World) -> None:
    """All checks of each formula, with the usual knobs."""
    from carg.domain_check.dimensions import check_dimensions

    setting = Setting(world, {}, id_style="integer", salt="check")
    for formula in world.formulas.values():
        _check_example(found, setting, formula)
        _check_values(found, setting, formula)
        for name in formula.solves:
            _check_monotone(found, setting, formula, name)
    check_dimensions(found, world, setting.base)


def _check_example(found: Findings, setting: Setting, formula: Formula) -> None:
    entry = f"formulas.{formula.name}.example"
    inputs = example_inputs(formula)
    for spec in formula.inputs:
        if (wrong := _wrong_input(spec, inputs[spec.name])) is not None:
            found.fault(entry, wrong)
    try:
        values = with_lets(formula, setting.base, inputs)
        for rule in formula.rules:
            if not rule.that.run(no_cells, no_cells, values):
                found.fault(
                    entry, f"breaks the formula's own rule {rule.code} (`{rule.that.source}`) with the usual knobs"
                )
        outputs = compute_formula(formula, setting.base, inputs)
    except (Uncomputable, TypeError, KeyError) as fault:
        found.fault(entry, f"cannot be computed: {type(fault).__name__}: {fault}")
        return
    for output in formula.outputs:
        stated, computed = formula.example.get(output.name), outputs[output.name]
        if not _is_same(stated, computed, output.decimals):
            found.fault(
                entry, f"{output.name}: {stated} is stated, {computed} is computed from `{output.value.source}`"
            )


def example_inputs(formula: Formula) -> dict[str, Any]:
    """The inputs of the worked example, defaults filled in."""
    return {spec.name: formula.example.get(spec.name, spec.default) for spec in formula.inputs}


def _wrong_input(spec: FieldSpec, value: Any) -> str | None:
    if value is None:
        return None
    if spec.kind in ("integer", "number"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{spec.name}: {value!r} is no number"
        if not (spec.low or 0) <= value <= (spec.high if spec.high is not None else math.inf):
            return f"{spec.name}: {value} is outside the input's own range {spec.low:g} to {spec.high:g}"
        if spec.kind == "integer" and value != int(value):
            return f"{spec.name}: {value} is not whole"
    if spec.options and value not in spec.options:
        return f"{spec.name}: {value!r} is none of {', '.join(spec.options)}"
    return None


def _is_same(stated: Any, computed: Any, decimals: int | None) -> bool:
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in (stated, computed))
    if not numbers:
        return bool(stated == computed)
    rounded = round(float(stated), decimals) if decimals is not None else float(stated)
    return math.isclose(rounded, float(computed), rel_tol=1e-12, abs_tol=1e-12)


def with_lets(formula: Formula, base: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """All names of the formula's rules and outputs; lets that have no value are left out."""
    values = {**base, **inputs}
    for name, expression in formula.lets:
        try:
            values[name] = expression.run(no_cells, no_cells, values)
        except (Uncomputable, KeyError):
            values.pop(name, None)
    return values


# Values -------------------------------------------------------------------------------------------------------------


def _check_values(found: Findings, setting: Setting, formula: Formula) -> None:
    entry, rng = f"formulas.{formula.name}", Random(f"values/{formula.name}")
    operation = setting.world.operations[formula.name]
    state = State({name: {} for name in setting.world.resources}, 0)
    passed, draws, seen = 0, 0, {output.name: set[str]() for output in formula.outputs}
    while passed < DRAWS and draws < DRAWS_MOST:
        draws += 1
        inputs = _draw_inputs(setting, operation.inputs, rng, state)
        try:
            outcome = execute(setting, state, operation, inputs, Actor("", ""))
        except Exception as fault:  # whatever an author's expressions bring about is told, not raised
            found.fault(
                entry, f"crashed on {_short(inputs)}: {type(fault).__name__}: {fault}; guard inputs that can be null"
            )
            return
        if outcome.refusal is None:
            passed += 1
            for name, value in outcome.body.items():
                seen[name].add(repr(value))
                if isinstance(value, float) and not abs(value) < LARGEST:
                    found.fault(entry, f"{name} is {value:g} for {_short(inputs)}: narrow the inputs or add a rule")
                    return
        elif outcome.refusal.code == "not_computable":
            reason = outcome.refusal.detail.get("reason")
            found.fault(entry, f"cannot be computed for {_short(inputs)} ({reason}): narrow the inputs or add a rule")
            return
    if passed < PASS_LEAST * draws:
        found.warn(
            entry, f"its rules refuse {1 - passed / draws:.0%} of random inputs; narrow the inputs, or loosen the rules"
        )
    for name, values in seen.items():
        if len(values) == 1 and passed > 50:
            found.warn(
                entry,
                f"{name} was {next(iter(values))} for all of {passed} random inputs: more decimals, other ranges?",
            )


def _draw_inputs(setting: Setting, inputs: tuple[Input, ...], rng: Random, state: State) -> dict[str, Any]:
    operation = setting.world.operations
    drawn: dict[str, Any] = {}
    for item in inputs:
        if item.required or rng.random() < 0.6:
            drawn[item.name] = draw_argument(setting, state, next(iter(operation.values())), item, rng, {}, drawn)
    return drawn


def _short(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {str(value)[:40]}" for key, value in values.items())


# One solution -------------------------------------------------------------------------------------------------------


def _check_monotone(found: Findings, setting: Setting, formula: Formula, name: str) -> None:
    entry, rng = f"formulas.{formula.name}.solve", Random(f"monotone/{formula.name}/{name}")
    spec = next(spec for spec in formula.inputs if spec.name == name)
    low, high = spec.low or 0.0, spec.high or 1.0
    points = [low + (high - low) * step / (MONOTONE_POINTS - 1) for step in range(MONOTONE_POINTS)]
    operation, state = setting.world.operations[formula.name], State({}, 0)
    ends = 0
    for _ in range(MONOTONE_DRAWS):
        others = _draw_inputs(setting, tuple(i for i in operation.inputs if i.name != name), rng, state)
        others = {i.name: others.get(i.name, i.spec.default) for i in operation.inputs}
        values = [_first_output(formula, setting.base, {**others, name: point}) for point in points]
        if values[0] is None or values[-1] is None:
            continue
        ends += 1
        known = [value for value in values if value is not None]
        size = max(1e-12, max(abs(value) for value in known))
        steps = [(b - a) / size for a, b in pairwise(known)]
        if any(step > 1e-9 for step in steps) and any(step < -1e-9 for step in steps):
            others.pop(name)
            found.fault(
                entry,
                f"{formula.outputs[0].name} both rises and falls with {name} between {low:g} and {high:g} "
                f"(others: {_short(others)}): several solutions; take it out of solve or narrow its range",
            )
            return
    if ends < MONOTONE_DRAWS / 3:
        found.warn(
            entry,
            f"at the ends of its range, {low:g} and {high:g}, {name} gives a {formula.outputs[0].name} for {ends} of "
            f"{MONOTONE_DRAWS} random other inputs only, so find_{name}_for_{formula.name} is mostly refused",
        )


def _first_output(formula: Formula, base: Mapping[str, Any], inputs: Mapping[str, Any]) -> float | None:
    try:
        value = formula.outputs[0].value.run(no_cells, no_cells, with_lets(formula, base, inputs))
    except (Uncomputable, KeyError, TypeError):
        return None
    return None if value is None else float(value)
