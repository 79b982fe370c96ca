"""What formula tools do: compute, sweep over one input, or solve for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carg.world.functions import SOLVE_STEPS, Uncomputable
from carg.world.model import Formula
from carg.world.outcome import Refusal, Refused
from carg.world.run import Run


def compute_formula(formula: Formula, base: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs of a formula, each rounded as it is shown before the next uses it. Raises Uncomputable."""
    return _outputs(formula, _add_lets(formula, {**base, **inputs}))


def _outputs(formula: Formula, values: dict[str, Any]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    for output in formula.outputs:
        value = output.value.run(no_cells, no_cells, values)
        if output.decimals is not None and isinstance(value, float | int) and not isinstance(value, bool):
            value = round(float(value), output.decimals) + 0.0 if output.decimals else round(value)
        outputs[output.name] = values[output.name] = value
    return outputs


def no_cells(*_: Any) -> Any:
    """What a formula is given to read records by. Raises Uncomputable."""
    raise Uncomputable("a formula reads no records")


def _formula(run: Run) -> Formula:
    return run.setting.world.formulas[run.operation.subject]


def compute(run: Run) -> dict[str, Any]:
    formula = _formula(run)
    return compute_formula(formula, run.values, {})


def _check_formula_rules(run: Run, formula: Formula, values: Mapping[str, Any]) -> None:
    for rule in formula.rules:
        run.trace.rules.append(rule.code)
        if not rule.that.run(no_cells, no_cells, values):
            raise run.refuse(rule, values)


def sweep(run: Run) -> dict[str, Any]:
    formula, name = _formula(run), run.operation.vary or ""
    spec = next(spec for spec in formula.inputs if spec.name == name)
    low, high, steps = run.values[f"{name}_from"], run.values[f"{name}_to"], run.values["steps"]
    rows = []
    for number in range(steps):
        value = low + (high - low) * number / (steps - 1)
        value = round(value) if spec.kind == "integer" else round(value, max(spec.decimals, 4))
        values = _add_lets(formula, {**run.values, name: value})
        _check_formula_rules(run, formula, values)
        rows.append({name: value, **_outputs(formula, values)})
    return {"results": rows}


def _add_lets(formula: Formula, values: dict[str, Any]) -> dict[str, Any]:
    for name, expression in formula.lets:
        values[name] = expression.run(no_cells, no_cells, values)
    return values


def solve(run: Run) -> dict[str, Any]:
    formula, name = _formula(run), run.operation.vary or ""
    spec = next(spec for spec in formula.inputs if spec.name == name)
    wanted = run.values[f"target_{formula.outputs[0].name}"]
    low, high = float(spec.low or 0), float(spec.high or 0)
    first, last = (_first_output(formula, run.values, name, value) for value in (low, high))
    run.trace.rules.append("no_solution")
    if first is None or last is None or not min(first, last) <= wanted <= max(first, last):
        raise Refused(Refusal("no_solution", "rule.cross_field", 422, f"target_{formula.outputs[0].name}"))
    rising = last >= first

    def shown(root: float) -> float:
        return round(root) if spec.kind == "integer" else round(root, max(spec.decimals, 4))

    for _ in range(SOLVE_STEPS):
        if shown(low) == shown(high):  # All that lies between is shown as the same number.
            break
        middle = (low + high) / 2
        value = _first_output(formula, run.values, name, middle)
        if value is None:
            raise Uncomputable("the formula has no value inside the range")
        if (value < wanted) == rising:
            low = middle
        else:
            high = middle
    found = shown((low + high) / 2)
    _check_formula_rules(run, formula, _add_lets(formula, {**run.values, name: found}))
    return {name: found + 0}


def _first_output(formula: Formula, values: Mapping[str, Any], name: str, value: float) -> float | None:
    full = _add_lets(formula, {**values, name: value})
    result = formula.outputs[0].value.run(no_cells, no_cells, full)
    return None if result is None else float(result)
