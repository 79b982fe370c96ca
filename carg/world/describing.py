"""What a definition says in words: effects and formulas exactly, and the errors that a call can meet."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from carg.records import FAULT_ORDER, ErrorSpec
from carg.world.model import FieldSpec, Input, Operation, Rule, World
from carg.world.presenting import Surface
from carg.world.tightening import Param
from carg.world.types import Expression
from carg.world.wording import fault_code, fault_status, style_code

_SLOT = re.compile(r"\{([^{}]*)\}")


def describe(surface: Surface, operation: Operation, params: Mapping[str, Param]) -> str:
    """What the tool does: the author's words with the knobs filled in, then its effects or formulas, exactly."""
    base = surface.setting.base
    about = _SLOT.sub(lambda slot: _number(base.get(slot[1], slot[0])), operation.about).rstrip(".")
    names = _names(surface, operation, params)
    lines = [f"{about}."]
    if operation.kind in ("compute", "sweep", "solve"):
        formula = surface.world.formulas[operation.subject]
        for output in formula.outputs:
            digits = f" (rounded to {output.decimals} decimals)" if output.decimals is not None else ""
            lines.append(f"{surface.case(output.name)} = {express(output.value, names)}{digits}.")
        lines += _where(formula.lets, names)
    if operation.kind == "action":
        lines += _effects(operation, names) + _where(operation.lets, names)
        lines += _returned(operation, names)
    lines += _beginnings(surface, operation, names)
    return " ".join(lines)


def _returned(operation: Operation, names: Mapping[str, str]) -> list[str]:
    made = [
        f"{name} = {express(made, names)}" for name, made in operation.returns if name and made.type.kind != "record"
    ]
    return [f"Returns {', '.join(made)}."] if made else []


def _beginnings(surface: Surface, operation: Operation, names: Mapping[str, str]) -> list[str]:
    """How fields of new records begin that the call does not give: what a model must know to answer with them."""
    given = {creation.resource: set(creation.values) for creation in operation.creates}
    if operation.kind == "create":
        given[operation.subject] = set()
    made = []
    for resource, named in given.items():
        cells = [
            f"{names.get('.' + spec.name, spec.name)} = {begins}"
            for spec in surface.world.resources[resource].fields.values()
            if spec.name not in named and (begins := _begins(spec, names)) is not None
        ]
        if cells:
            made.append(f"A new {resource.replace('_', ' ')} begins with {', '.join(cells)}.")
    return made


def _begins(spec: FieldSpec, names: Mapping[str, str]) -> str | None:
    if spec.start is not None:
        return express(spec.start, names)
    if spec.kind == "life":
        return repr(spec.starts)
    if spec.kind in ("date", "time") and spec.low == spec.high == 0:
        return "now" if spec.kind == "time" else "today"
    return None


def _where(lets: Iterable[tuple[str, Expression]], names: Mapping[str, str]) -> list[str]:
    made = ", ".join(f"{name} = {express(expression, names)}" for name, expression in lets)
    return [f"Where {made}."] if made else []


def _effects(operation: Operation, names: Mapping[str, str]) -> list[str]:
    made = []
    for effect in operation.effects:
        made.append(f"{express(effect.target, names)}.{_cell(effect.field, effect.value, names)}")
    for each in operation.each_effects:
        sets = ", ".join(_cell(name, value, names) for name, value in each.values)
        made.append(f"for each {each.variable} in {each.resource} if {express(each.where, names)}: {sets}")
    for creation in operation.creates:
        cells = ", ".join(_cell(name, value, names) for name, value in creation.values.items())
        loop = f" for each {creation.variable} in {express(creation.over, names)}" if creation.over else ""
        made.append(f"creates a {creation.resource.replace('_', ' ')}{loop} ({cells})")
    return [f"Effects: {'; '.join(made)}."] if made else []


def _cell(name: str, value: Expression, names: Mapping[str, str]) -> str:
    return f"{names.get('.' + name, name)} = {express(value, names)}"


def _names(surface: Surface, operation: Operation, params: Mapping[str, Param]) -> dict[str, str]:
    """Canonical name -> shown: inputs by name, fields by ".name", knobs and constants by value."""
    names = {key: _number(value) for key, value in surface.setting.base.items()}
    for resource in surface.world.resources:
        for spec, name, _ in surface.fields(resource):
            names["." + spec.name] = name
    for item in operation.inputs:
        if item.name not in params:
            # A parameter that this definition leaves out still has its default in rules and formulas.
            names[item.name] = repr(item.spec.default) if item.spec.default is not None else "null"
    shown = {key: key if param.item.role in ("target", "targets") else param.path[-1] for key, param in params.items()}
    return names | shown


def _number(value: Any) -> str:
    # Exactly as it is computed with: a constant cut to six digits gives other results.
    return f"{value:.0f}" if isinstance(value, float) and value == int(value) else str(value)


class _Renamer(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.names.get(node.id, node.id))

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Attribute(self.visit(node.value), self.names.get("." + node.attr, node.attr))

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Name("null") if node.value is None else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return ast.Call(node.func, [self.visit(item) for item in node.args], [])


def express(expression: Expression, names: Mapping[str, str]) -> str:
    """The expression as a definition shows it: names as presented."""
    used = _used(expression.source)
    return _express(expression.source, tuple((name, names[name]) for name in used if name in names))


@lru_cache(4096)
def _used(source: str) -> tuple[str, ...]:
    """The names, and the fields as ".name", that an expression can have renamed."""
    nodes = list(ast.walk(ast.parse(source, mode="eval")))
    found = [node.id for node in nodes if isinstance(node, ast.Name)]
    return tuple(dict.fromkeys([*found, *(f".{node.attr}" for node in nodes if isinstance(node, ast.Attribute))]))


@lru_cache(8192)
def _express(source: str, names: tuple[tuple[str, str], ...]) -> str:
    # Siblings of a definition, and instances of one style, show most expressions alike.
    return ast.unparse(_Renamer(dict(names)).visit(ast.parse(source, mode="eval").body))


def list_errors(surface: Surface, operation: Operation, params: Mapping[str, Param]) -> list[ErrorSpec]:
    names = _names(surface, operation, params)
    convention, factors = surface.instance.convention, surface.factors
    made = []
    for rule in all_rules(surface.world, operation):
        shown = next((".".join(p.path) for k, p in params.items() if k == rule.field), None)
        when = {"rule" if rule.fault == "rule.cross_field" else "state": f"not ({express(rule.that, names)})"}
        words = _SLOT.sub(lambda slot: f"{{{_slot_words(slot[1], names)}}}", rule.words.source)
        made.append(ErrorSpec(style_code(convention, rule.code), rule.fault, rule.status, words, shown, when))
    made += _implicit_errors(surface, operation, params)
    if roles := sorted(operation.roles):
        fault, when = "state.forbidden", {"state": f"role not in [{', '.join(roles)}]"}
        code, status = fault_code(factors, fault), fault_status(factors, fault)
        made.append(ErrorSpec(code, fault, status, f"only for {' and '.join(roles)}", None, when))
    made.sort(key=lambda spec: FAULT_ORDER.index(spec.fault))
    return made


def _slot_words(source: str, names: Mapping[str, str]) -> str:
    try:
        return ast.unparse(_Renamer(names).visit(ast.parse(source.strip(), mode="eval").body))
    except SyntaxError:
        return source


def _implicit_errors(surface: Surface, operation: Operation, params: Mapping[str, Param]) -> list[ErrorSpec]:
    convention, factors = surface.instance.convention, surface.factors
    made = []
    code, status = fault_code(factors, "state.not_found"), fault_status(factors, "state.not_found")
    for param in params.values():
        resource = referred(param.item)
        if (resource is not None and operation.kind != "batch_get") or (
            operation.kind == "table" and param.item.role == "target"
        ):
            named = (resource or operation.subject).replace("_", " ")
            when = {"state": f"there is no such {named}"}
            made.append(ErrorSpec(code, "state.not_found", status, f"no such {named}", ".".join(param.path), when))
    if operation.kind in ("create", "update"):
        fields = surface.world.resources[operation.subject].fields
        for key, param in params.items():
            if key in fields and fields[key].unique:
                taken = style_code(convention, f"{operation.subject}_{key}_taken")
                when = {"state": f"another {operation.subject} has this {param.path[-1]}"}
                words = f"{operation.subject.replace('_', ' ').capitalize()} {{{param.path[-1]}}} exists already."
                made.append(ErrorSpec(taken, "state.conflict", 409, words, ".".join(param.path), when))
    if operation.kind == "solve":
        target = next(".".join(p.path) for k, p in params.items() if k.startswith("target_"))
        code, words = style_code(convention, "no_solution"), "No value in the allowed range gives this result."
        when = {"rule": "no value within the range of the input gives the target"}
        made.append(ErrorSpec(code, "rule.cross_field", 422, words, target, when))
    return made


def referred(item: Input) -> str | None:
    """The resource that an input's value or items name."""
    spec = item.spec
    if spec.kind == "ref":
        return spec.of
    return spec.item.of if spec.kind == "list" and spec.item is not None and spec.item.kind == "ref" else None


def all_rules(world: World, operation: Operation) -> tuple[Rule, ...]:
    """The rules that can refuse the operation: its own, its formula's, and invariants of what it writes."""
    rules = list(operation.rules)
    if operation.kind in ("sweep", "solve"):
        rules += world.formulas[operation.subject].rules
    touched = written_cells(world, operation)
    for resource in world.resources.values():
        for rule in resource.always:
            own = {(resource.name, name) for name in rule.that.names if name in resource.fields}
            if touched & (own | rule.that.cells):
                rules.append(rule)
    return tuple({rule.code: rule for rule in rules}.values())


def _deleted_cells(world: World, name: str, above: tuple[str, ...] = ()) -> set[tuple[str, str]]:
    """The fields of a record that goes, of those that go with it, and the references that are emptied."""
    cells = {(name, field) for field in world.resources[name].fields}
    for other, policy in world.resources[name].on_delete.items():
        if policy == "cascade" and other not in (*above, name):
            cells |= _deleted_cells(world, other, (*above, name))
        elif policy == "nullify":
            cells |= {(other, spec.name) for spec in world.resources[other].fields.values() if spec.of == name}
    return cells


def written_cells(world: World, operation: Operation) -> set[tuple[str, str]]:
    """Every (resource, field) that the operation can write, tallies included."""
    cells: set[tuple[str, str]] = set()
    if operation.kind == "create":
        cells |= {(operation.subject, name) for name in world.resources[operation.subject].fields}
    elif operation.kind == "delete":
        cells |= _deleted_cells(world, operation.subject)
    elif operation.kind == "update":
        cells |= {(operation.subject, item.name) for item in operation.inputs[1:]}
    cells |= {(effect.of, effect.field) for effect in operation.effects}
    cells |= {(each.resource, name) for each in operation.each_effects for name, _ in each.values}
    for creation in operation.creates:
        cells |= {(creation.resource, name) for name in world.resources[creation.resource].fields}
    tables = {table for table, _ in cells}
    for resource in world.resources.values():
        for spec in resource.fields.values():
            if spec.tally is not None and spec.tally.resource in tables:
                cells.add((resource.name, spec.name))
    return cells
