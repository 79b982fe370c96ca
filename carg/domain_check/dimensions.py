"""Dimensions of formulas: each expression walked with the units of its names; pint knows what a unit is made of.

Only dimensions are compared, not sizes of units: km/h against m/s is found by the worked example.
A dimension is a table of base -> power; None stands for one that fits any (0, null, texts and booleans).
"""

from __future__ import annotations

import ast
import contextlib
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carg.domain_check.findings import Findings
from carg.domain_check.formulas import example_inputs, with_lets
from carg.world.functions import CONSTANTS
from carg.world.model import Formula, World
from carg.world.types import Expression

Dimension = Mapping[str, float] | None
PLAIN: Dimension = {}
_SAME = ("abs", "floor", "ceil", "round", "min", "max", "hypot", "coalesce")
_ROOTS = {"sqrt": 0.5, "cbrt": 1 / 3}
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_WORD = re.compile(r"[A-Za-z_]+")


class MismatchError(Exception):
    """Dimensions that do not go together; says which."""


class Units:
    """Dimensions of unit texts. Words that pint does not know (EUR, jars) are dimensions of their own."""

    def __init__(self) -> None:
        import pint

        self.registry: Any = pint.UnitRegistry()
        self.undefined = pint.UndefinedUnitError
        self.known: dict[str, Dimension] = {"": PLAIN}

    def dimension(self, unit: str) -> Dimension:
        """The dimension of a unit text. Raises MismatchError where it cannot be read."""
        if unit not in self.known:
            self.known[unit] = self._read(unit)
        return self.known[unit]

    def _read(self, unit: str) -> Dimension:
        for _ in range(4):
            try:
                found = self.registry.parse_units(re.sub(r"^1/", "1 / ", unit)).dimensionality
                return _tidy({str(key): float(power) for key, power in found.items()})
            except self.undefined as fault:
                names = fault.unit_names if isinstance(fault.unit_names, str) else fault.unit_names[0]
                if not _WORD.fullmatch(names):
                    break
                self.registry.define(f"{names} = [{names}]")
            except Exception as fault:  # pint raises many kinds on a text that is no unit
                raise MismatchError(f"unit {unit!r} cannot be read") from fault
        raise MismatchError(f"unit {unit!r} cannot be read")


def check_dimensions(found: Findings, world: World, base: Mapping[str, Any]) -> None:
    """Faults for outputs whose dimension is not that of their unit; formulas marked empirical are left out."""
    formulas = [formula for formula in world.formulas.values() if not formula.empirical]
    if not formulas:
        return
    try:
        units = Units()
    except ImportError:
        found.warn("formulas", "dimensions were not checked: pip install pint")
        return
    for formula in formulas:
        _check_formula(found, world, units, formula, base)


def _check_formula(found: Findings, world: World, units: Units, formula: Formula, base: Mapping[str, Any]) -> None:
    entry = f"formulas.{formula.name}"
    hint = (
        "give names their units (pint's: kg/m^3, W/(m*K)), make literals constants with units, or say empirical = true"
    )
    try:
        names = _unit_names(world, units, formula)
    except MismatchError as fault:
        found.fault(entry, f"{fault}; write it as pint does (kg/m^3, W/(m*K), 1/s), or leave it out")
        return
    values = with_lets(formula, base, example_inputs(formula))
    walk = _Walk(names, values)
    for name, expression in formula.lets:
        try:
            names[name] = walk.expression(expression)
        except MismatchError as fault:
            found.fault(f"{entry}.let.{name}", f"`{expression.source}`: {fault}; {hint}")
            return
    for output in formula.outputs:
        try:
            made, wanted = walk.expression(output.value), units.dimension(output.unit)
            if output.value.type.kind in ("number", "integer") and not _alike(made, wanted):
                raise MismatchError(
                    f"has the dimension {_words(made)}, its unit {output.unit or 'none'!r} {_words(wanted)}"
                )
        except MismatchError as fault:
            found.fault(f"{entry}.output.{output.name}", f"`{output.value.source}`: {fault}; {hint}")
            return
        names[output.name] = wanted
    for rule in formula.rules:
        try:
            walk.expression(rule.that)
        except MismatchError as fault:
            found.fault(f"{entry}.require", f"{rule.code} `{rule.that.source}`: {fault}; {hint}")


def _unit_names(world: World, units: Units, formula: Formula) -> dict[str, Dimension]:
    names = {name: units.dimension(unit) for name, (_, unit) in world.constants.items()}
    names |= {name: units.dimension(knob.unit) for name, knob in world.knobs.items()}
    for spec in formula.inputs:
        number = spec.kind in ("integer", "number", "list", "series")
        names[spec.name] = units.dimension(spec.unit or (spec.item.unit if spec.item else "")) if number else None
    return names


def _tidy(dimension: Mapping[str, float]) -> dict[str, float]:
    return {key: round(power, 6) for key, power in sorted(dimension.items()) if abs(power) > 1e-6}


def _alike(a: Dimension, b: Dimension) -> bool:
    return a is None or b is None or _tidy(a) == _tidy(b)


def _words(dimension: Dimension) -> str:
    if dimension is None:
        return "any"
    return "*".join(f"{key}^{power:g}" if power != 1 else key for key, power in dimension.items()) or "none"


def _times(a: Dimension, b: Dimension, sign: float = 1.0) -> Dimension:
    if a is None or b is None:
        return None
    return _tidy({key: a.get(key, 0.0) + sign * b.get(key, 0.0) for key in {**a, **b}})


def _power(a: Dimension, exponent: float) -> Dimension:
    return None if a is None else _tidy({key: power * exponent for key, power in a.items()})


@dataclass(slots=True)
class _Walk:
    """Walks one formula's expressions. `values` are numbers at the worked example: exponents need them."""

    names: dict[str, Dimension]
    values: Mapping[str, Any]

    def expression(self, expression: Expression) -> Dimension:
        return self.of(ast.parse(expression.source, mode="eval").body)

    def of(self, node: ast.expr) -> Dimension:
        """The dimension of one node. Raises MismatchError."""
        match node:
            case ast.Constant():
                return None if not node.value or isinstance(node.value, str | bool) else PLAIN
            case ast.Name():
                return self.names.get(node.id, PLAIN if node.id in CONSTANTS else None)
            case ast.UnaryOp():
                return self.of(node.operand)
            case ast.BinOp():
                return self._binary(node)
            case ast.IfExp():
                self.of(node.test)
                return self._same([node.body, node.orelse])
            case ast.BoolOp():
                for item in node.values:
                    self.of(item)
                return None
            case ast.Compare():
                self._compare(node)
                return None
            case ast.Call():
                return self._call(node)
            case ast.List() | ast.Tuple():
                return self._same(node.elts)
        return None

    def _binary(self, node: ast.BinOp) -> Dimension:
        if isinstance(node.op, ast.Pow):
            if not _alike(self.of(node.right), PLAIN):
                raise MismatchError(f"the exponent `{ast.unparse(node.right)}` has a dimension")
            return self._raised(node)
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mod):
            return self._same([node.left, node.right])
        left, right = self.of(node.left), self.of(node.right)
        return _times(left, right, 1.0 if isinstance(node.op, ast.Mult) else -1.0)

    def _raised(self, node: ast.BinOp) -> Dimension:
        base = self.of(node.left)
        if not base:
            return base
        exponent = self._number(node.right)
        return None if exponent is None else _power(base, exponent)

    def _number(self, node: ast.expr) -> float | None:
        """The value of an exponent: a literal, a name, or simple arithmetic of them."""
        match node:
            case ast.Constant() if isinstance(node.value, int | float):
                return float(node.value)
            case ast.Name():
                value = self.values.get(node.id)
                return float(value) if isinstance(value, int | float) else None
            case ast.UnaryOp(op=ast.USub()):
                inner = self._number(node.operand)
                return None if inner is None else -inner
            case ast.BinOp():
                left, right = self._number(node.left), self._number(node.right)
                run = _ARITHMETIC.get(type(node.op))
                with contextlib.suppress(ZeroDivisionError):
                    return None if left is None or right is None or run is None else float(run(left, right))
        return None

    def _same(self, nodes: list[ast.expr]) -> Dimension:
        made: Dimension = None
        first: ast.expr | None = None
        for node in nodes:
            one = self.of(node)
            if one is None:
                continue
            if first is not None and not _alike(made, one):
                raise MismatchError(
                    f"`{ast.unparse(first)}` ({_words(made)}) and `{ast.unparse(node)}` ({_words(one)}) do not add"
                )
            made, first = one, first or node
        return made

    def _compare(self, node: ast.Compare) -> None:
        # A literal limit is read in the unit of what it is compared with.
        plain = [item for item in (node.left, *node.comparators) if not _is_literal(item)]
        try:
            self._same(plain)
        except MismatchError as fault:
            raise MismatchError(str(fault).replace("do not add", "cannot be compared")) from None

    def _call(self, node: ast.Call) -> Dimension:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            return self._loop(name, node.args[0])
        if name == "solve":
            return self._solved(node.args)
        if name == "total":
            return self._local(node.args[1], PLAIN, node.args[0])
        if name in _ROOTS:
            return _power(self.of(node.args[0]), _ROOTS[name])
        if name in _SAME:
            return self._same(node.args[:1] if name == "round" else node.args)
        if name == "atan2":
            self._same(node.args)
            return PLAIN
        for item in node.args:
            if not _alike(made := self.of(item), PLAIN) and name != "len":
                raise MismatchError(
                    f"{name} needs a plain number, `{ast.unparse(item)}` has the dimension {_words(made)}"
                )
        return PLAIN

    def _solved(self, args: list[ast.expr]) -> Dimension:
        bounds = self._same(args[2:])
        self._local(args[1], bounds, args[0])
        return bounds

    def _local(self, variable: ast.expr, dimension: Dimension, body: ast.expr) -> Dimension:
        assert isinstance(variable, ast.Name)
        inner = _Walk(
            {**self.names, variable.id: dimension}, {k: v for k, v in self.values.items() if k != variable.id}
        )
        return inner.of(body)

    def _loop(self, name: str, node: ast.GeneratorExp) -> Dimension:
        clause = node.generators[0]
        over = self.of(clause.iter)
        for test in clause.ifs:
            self._local(clause.target, over, test)
        body = self._local(clause.target, over, node.elt)
        return PLAIN if name == "count" else None if name in ("any", "all") else body


def _is_literal(node: ast.expr) -> bool:
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)
