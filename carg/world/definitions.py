"""Definitions as draws: how one instance defines each of its tools, and the siblings that leave one tightening out.

A tightening narrows what the world itself would take: a parameter dropped or made required, an enum cut, bounds or
length narrowed, numbers made whole, a date asked for as a text of another form. A call that is valid under the
definition without one tightening, and uses the slack, is invalid under the definition: a minimal pair by construction.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Any

from carg.errors import RecordError
from carg.records import FAULT_ORDER, Definition, ErrorSpec, Json, Tool, digest
from carg.world.conventions import case_words
from carg.world.expressions import Expression
from carg.world.functions import day_to_date
from carg.world.generic import DEFAULT_PAGE
from carg.world.model import FieldSpec, Input, Operation, Resource, Rule, World
from carg.world.presenting import Surface, body_schema, nullable
from carg.world.wording import fault_code, fault_status, style_code

VERBS = {
    "get": ("get", "fetch", "retrieve", "read"),
    "search": ("search", "list", "find", "query"),
    "create": ("create", "add", "create", "new"),
    "update": ("update", "edit", "update", "modify"),
    "delete": ("delete", "remove"),
    "batch_get": ("get",),
    "aggregate": ("summarize", "aggregate", "report_on"),
}
_METHODS = {"read": "GET", "search": "GET", "create": "POST", "update": "PATCH", "delete": "DELETE"}
_SLOT = re.compile(r"\{([^{}]*)\}")
MOST_TIGHT = 4
"""Tightenings of one definition; more would leave little of the tool."""


@dataclass(frozen=True, slots=True)
class Param:
    """One presented parameter: where it stands in the arguments, and its schema after tightening.

    `shift` says how the presented value differs from the canonical one: "" not at all, "page", "cursor".
    """

    item: Input
    path: tuple[str, ...]
    schema: dict[str, Json]
    required: bool
    shift: str = ""


@dataclass(frozen=True, slots=True)
class ShownTool:
    """A tool as one instance shows it: the operation, its definition, its parameters by canonical name."""

    operation: Operation
    definition: Definition
    params: Mapping[str, Param]
    tightenings: tuple[str, ...]


def draw_tool(surface: Surface, operation: Operation, tool_id: str, without: Iterable[str] = ()) -> ShownTool:
    """The instance's definition of the operation, less the tightenings named in `without`."""
    seed = surface.instance.seed
    drawn = draw_tightenings(surface, operation, Random(f"{seed}/{operation.name}"))
    kept = tuple(item for item in drawn if item not in set(without))
    params = _params(surface, operation, kept)
    definition = _definition(surface, operation, tool_id, params, kept)
    return ShownTool(operation, definition, params, kept)


def draw_tightenings(surface: Surface, operation: Operation, rng: Random) -> tuple[str, ...]:
    """The ids of the tightenings this instance makes, at most one per parameter, in order of parameters."""
    made = []
    for item in operation.inputs:
        options = _possible(surface, operation, item)
        if options and rng.random() < 0.4:
            made.append(f"{rng.choice(options)}:{item.name}")
    rng.shuffle(made)
    return tuple(sorted(made[:MOST_TIGHT]))


def _possible(surface: Surface, operation: Operation, item: Input) -> list[str]:
    spec, options = item.spec, []
    if item.name in ("limit", "offset", "steps") or item.role in ("target", "targets"):
        return ["high"] if item.name == "limit" else []
    if not item.required:
        options += ["drop", "drop", "need"]
    if spec.kind == "choice" and len(spec.options) > 2 and operation.kind != "table":
        options += ["enum", "enum"]
    if spec.kind in ("integer", "number") and (spec.high or 0) - (spec.low or 0) > 4:
        options += ["high", "low"]
        if spec.kind == "number":
            options.append("whole")
    if spec.kind == "text" and (spec.high or 0) >= 120:
        options.append("short")
    if spec.kind in ("date", "time"):
        options.append("form")
    if spec.kind == "list" and spec.length[1] > 2:
        options.append("few")
    return options


def _params(surface: Surface, operation: Operation, tightenings: tuple[str, ...]) -> dict[str, Param]:
    rng = Random(f"params/{surface.instance.seed}/{operation.name}")
    tight = {item.partition(":")[2]: item.partition(":")[0] for item in tightenings}
    nesting = surface.factors["nesting"]
    target_words = rng.choice(("plain", "plain", "id"))
    params: dict[str, Param] = {}
    for item in operation.inputs:
        kind = tight.get(item.name, "")
        if kind == "drop":
            continue
        name, schema, shift = _present_input(surface, operation, item, target_words)
        schema = _tighten(surface, item, schema, kind, rng)
        if item.spec.default is not None and kind != "need" and not shift:
            schema = {**schema, "default": _plain(item.spec.default, surface.shower(item.spec)(item.spec.default))}
        path: tuple[str, ...] = (name,)
        if nesting == "wrapped":
            path = (surface.case("input"), name)
        elif nesting == "grouped" and item.role not in ("target", "targets"):
            path = (surface.case("data"), name)
        params[item.name] = Param(item, path, schema, item.required or kind == "need", shift)
    return params


def _plain(value: Any, shown: Json) -> Json:
    # Arguments take numbers as numbers, also where bodies show them as strings.
    return value if isinstance(value, float) else shown


def _present_input(
    surface: Surface, operation: Operation, item: Input, target_words: str
) -> tuple[str, dict[str, Json], str]:
    if item.name == "limit" and operation.kind == "search":
        schema = {"type": "integer", "minimum": 1, "maximum": item.spec.high, "default": item.spec.default}
        return surface.case(surface.page.size), {**schema, "description": "Most results of a page"}, "size"
    if item.name == "offset" and operation.kind == "search":
        return surface.case(surface.page.position), *_position_schema(surface)
    if item.name in ("sort_by", "group_by", "field"):
        names = _field_names(surface, operation)
        schema = {"type": "string", "enum": [names.get(option, surface.case(option)) for option in item.spec.options]}
        return surface.case(item.name), {**schema, "description": item.spec.about.capitalize()}, "names"
    if item.role == "target" and target_words == "id" and operation.kind != "table":
        return surface.case("id"), surface.schema(item.spec, body=False), ""
    return surface.field_name(item.spec), surface.schema(item.spec, body=False), ""


def _position_schema(surface: Surface) -> tuple[dict[str, Json], str]:
    if surface.factors["paging"] == "page_size":
        return {"type": "integer", "minimum": 1, "maximum": 100, "default": 1, "description": "Page, from 1"}, "page"
    if surface.factors["paging"] == "cursor":
        about = f"The {surface.case(surface.page.following or '')} of the page before"
        return {"type": "string", "pattern": "^p[0-9]{1,4}$", "maxLength": 5, "description": about}, "cursor"
    return {"type": "integer", "minimum": 0, "maximum": 500, "default": 0, "description": "Records to skip"}, "size"


def _field_names(surface: Surface, operation: Operation) -> dict[str, str]:
    return {spec.name: name for spec, name, _ in surface.fields(operation.subject)}


def _tighten(surface: Surface, item: Input, schema: dict[str, Json], kind: str, rng: Random) -> dict[str, Json]:
    spec = item.spec
    if kind == "enum":
        options = schema["enum"]
        keep = rng.sample(options, max(2, len(options) - rng.randint(1, max(1, len(options) // 2))))
        if spec.default is not None and spec.default not in keep:
            keep.append(spec.default)
        return {**schema, "enum": [option for option in options if option in keep]}
    if kind in ("high", "low"):
        low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", low_high(spec)[1]))
        share = rng.uniform(0.25, 0.5)
        cut = _round_bound(high - (high - low) * share if kind == "high" else low + (high - low) * share, low, high)
        default = schema.get("default", spec.default)
        if default is not None:
            cut = max(cut, default) if kind == "high" else min(cut, default)
        return {**schema, ("maximum" if kind == "high" else "minimum"): cut}
    if kind == "whole":
        whole = {key: (int(v) if key in ("minimum", "maximum") and v == int(v) else v) for key, v in schema.items()}
        return {**whole, "type": "integer"}
    if kind == "short":
        return {**schema, "maxLength": rng.choice((30, 40, 50))}
    if kind == "few":
        return {**schema, "maxItems": max(1, spec.length[1] // 2)}
    if kind == "form":
        return _other_form(schema, spec.kind)
    return schema


def low_high(spec: Any) -> tuple[float, float]:
    """The bounds of a number field."""
    return spec.low or 0.0, spec.high if spec.high is not None else 100.0


def _round_bound(value: float, low: float, high: float) -> float:
    for digits in range(-3, 6):
        rounded = round(value, digits)
        if low < rounded < high and abs(rounded - value) <= 0.2 * (high - low):
            return int(rounded) if rounded == int(rounded) else rounded
    return value


def _other_form(schema: dict[str, Json], kind: str) -> dict[str, Json]:
    about = {key: schema[key] for key in ("description",) if key in schema}
    if kind == "date":
        # Calls carry their dates in the convention's style; this definition wants compact ones. The length leaves room
        # for any style, so that another form is a fault of format and not of range.
        return {"type": "string", "pattern": "^[0-9]{4}[01][0-9][0-3][0-9]$", "maxLength": 32, **about}
    return {"type": "string", "pattern": "^[0-9]{8}T[0-9]{6}Z$", "maxLength": 32, **about}


def _definition(
    surface: Surface, operation: Operation, tool_id: str, params: Mapping[str, Param], tightenings: tuple[str, ...]
) -> Definition:
    name = tool_name(surface, operation)
    target = next((p for p in params.values() if p.item.role == "target"), None)
    inputs = {".".join(param.path): key for key, param in params.items()}
    items = surface.case(surface.page.items)
    return Definition(
        tool=tool_id,
        key=f"{surface.world.name}/{operation.service}/{operation.name}",
        name=name,
        title=title_of(operation.name),
        description=describe(surface, operation, params),
        parameters=_parameters_schema(surface, params),
        returns=body_schema(surface, operation),
        errors=tuple(_errors(surface, operation, params)),
        effect=operation.effect,  # type: ignore[arg-type]
        http=_route(surface, operation, params, target),
        resource=operation.subject if operation.subject in surface.world.resources else None,
        id_argument=".".join(target.path) if target is not None and operation.kind != "table" else None,
        id_result="id" if operation.kind in ("get", "create", "update", "delete") else None,
        records_result=items if operation.kind in ("search", "batch_get") else None,
        inputs=inputs,
        tightenings=tightenings,
    )


def title_of(name: str) -> str:
    """snake_case as a title."""
    return name.replace("_", " ").capitalize()


def tool_name(surface: Surface, operation: Operation) -> str:
    """The operation's presented name: the instance's verb, in its case."""
    name = operation.name
    if operation.kind in VERBS:
        verbs = VERBS[operation.kind]
        verb = verbs[Random(f"{surface.instance.seed}/{operation.kind}").randrange(len(verbs))]
        name = f"{verb}_{name.partition('_')[2]}"
    return case_words(name, surface.factors["tool_case"], operation.service)


def _parameters_schema(surface: Surface, params: Mapping[str, Param]) -> dict[str, Json]:
    top: dict[str, Json] = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    for param in params.values():
        place = top
        for group in param.path[:-1]:
            if group not in place["properties"]:
                place["properties"][group] = {
                    "type": "object",
                    "properties": {},
                    "required": [],
                    "additionalProperties": False,
                }
            if param.required and group not in place["required"]:
                place["required"].append(group)
            place = place["properties"][group]
        place["properties"][param.path[-1]] = param.schema
        if param.required:
            place["required"].append(param.path[-1])
    return top


def _route(
    surface: Surface, operation: Operation, params: Mapping[str, Param], target: Param | None
) -> tuple[str, ...]:
    method = _METHODS.get(operation.effect, "POST")
    resource = surface.world.resources.get(operation.subject)
    base = "/" + (resource.plural if resource is not None else operation.subject).replace("_", "-")
    if operation.kind in ("get", "update", "delete") and target is not None and len(target.path) == 1:
        return method, f"{base}/{{{target.path[0]}}}"
    if operation.kind == "action":
        verb = operation.name.replace("_", "-")
        if target is not None and len(target.path) == 1:
            return "POST", f"{base}/{{{target.path[0]}}}/{verb}"
        return "POST", f"{base}/{verb}"
    if operation.kind in ("search", "create"):
        return method, base
    if operation.kind == "table":
        return "GET", f"/reference{base}"
    return "POST", f"{base}/{operation.name.replace('_', '-')}"


# Words --------------------------------------------------------------------------------------------------------------


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
        lines += _effects(surface, operation, names) + _where(operation.lets, names)
        lines += _returned(operation, names)
    lines += _beginnings(surface, operation, names)
    return " ".join(lines)


def _returned(operation: Operation, names: Mapping[str, str]) -> list[str]:
    made = [f"{name} = {express(made, names)}" for name, made in operation.returns if name and made.type.kind != "record"]
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


def _effects(surface: Surface, operation: Operation, names: Mapping[str, str]) -> list[str]:
    made = []
    for effect in operation.effects:
        target = express(effect.target, names)
        made.append(f"{target}.{names.get('.' + effect.field, effect.field)} = {express(effect.value, names)}")
    for each in operation.each_effects:
        sets = ", ".join(f"{names.get('.' + name, name)} = {express(value, names)}" for name, value in each.values)
        made.append(f"for each {each.variable} in {each.resource} if {express(each.where, names)}: {sets}")
    for creation in operation.creates:
        cells = ", ".join(
            f"{names.get('.' + name, name)} = {express(value, names)}" for name, value in creation.values.items()
        )
        loop = f" for each {creation.variable} in {express(creation.over, names)}" if creation.over else ""
        made.append(f"creates a {creation.resource.replace('_', ' ')}{loop} ({cells})")
    return [f"Effects: {'; '.join(made)}."] if made else []


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
    for key, param in params.items():
        if param.item.role in ("target", "targets"):
            names[key] = key
        else:
            names[key] = param.path[-1]
    return names


def _number(value: Any) -> str:
    # Exactly as it is computed with: a constant cut to six digits gives other results.
    return repr(value) if isinstance(value, float) and value != int(value) else f"{value:.0f}" if isinstance(value, float) else str(value)


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
    tree = ast.parse(expression.source, mode="eval").body
    return ast.unparse(_Renamer(names).visit(tree))


def _errors(surface: Surface, operation: Operation, params: Mapping[str, Param]) -> list[ErrorSpec]:
    names = _names(surface, operation, params)
    convention, factors = surface.instance.convention, surface.factors
    made = []
    for rule in all_rules(surface.world, operation):
        shown = next((".".join(p.path) for k, p in params.items() if k == rule.field), None)
        state = rule.fault not in ("rule.cross_field",)
        when = {"state" if state else "rule": f"not ({express(rule.that, names)})"}
        words = _SLOT.sub(lambda slot: f"{{{_slot_words(slot[1], names)}}}", rule.words.source)
        made.append(ErrorSpec(style_code(convention, rule.code), rule.fault, rule.status, words, shown, when))
    made += _implicit_errors(surface, operation, params)
    if operation.roles:
        message = f"only for {' and '.join(sorted(operation.roles))}"
        code = fault_code(factors, "state.forbidden")
        when = {"state": f"role not in [{', '.join(sorted(operation.roles))}]"}
        made.append(ErrorSpec(code, "state.forbidden", fault_status(factors, "state.forbidden"), message, None, when))
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
        if resource is not None and operation.kind != "batch_get" or (operation.kind == "table" and param.item.role == "target"):
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
        code = style_code(convention, "no_solution")
        when = {"rule": "no value within the range of the input gives the target"}
        words = "No value in the allowed range gives this result."
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
            if _touches(resource, rule, touched, operation):
                rules.append(rule)
    return tuple({rule.code: rule for rule in rules}.values())


def _touches(resource: Resource, rule: Rule, touched: set[tuple[str, str]], operation: Operation) -> bool:
    own = {(resource.name, name) for name in rule.that.names if name in resource.fields}
    read = own | set(rule.that.cells)
    return bool(read & touched)


def written_cells(world: World, operation: Operation) -> set[tuple[str, str]]:
    """Every (resource, field) that the operation can write, tallies included."""
    cells: set[tuple[str, str]] = set()
    if operation.kind == "create":
        cells |= {(operation.subject, name) for name in world.resources[operation.subject].fields}
    elif operation.kind == "update":
        cells |= {(operation.subject, item.name) for item in operation.inputs[1:]}
    elif operation.kind == "delete":
        cells |= {(operation.subject, name) for name in world.resources[operation.subject].fields}
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


# Arguments ----------------------------------------------------------------------------------------------------------


def show_arguments(surface: Surface, tool: ShownTool, arguments: Mapping[str, Any]) -> dict[str, Json]:
    """Canonical arguments as this definition takes them; those it does not know are presented in their usual place."""
    made: dict[str, Json] = {}
    for item in tool.operation.inputs:
        if item.name not in arguments:
            continue
        param = tool.params.get(item.name) or _params(surface, tool.operation, ())[item.name]
        place = made
        for group in param.path[:-1]:
            place = place.setdefault(group, {})
        value = arguments[item.name]
        if param.shift == "page":
            place[param.path[-1]] = int(value) // int(arguments.get("limit", DEFAULT_PAGE)) + 1
        else:
            place[param.path[-1]] = show_argument(surface, tool.operation, param, value)
    for param in tool.params.values():
        if param.required and len(param.path) > 1:
            made.setdefault(param.path[0], {})
    return made


def show_argument(surface: Surface, operation: Operation, param: Param, value: Any) -> Json:
    """One canonical value as a call carries it."""
    if param.shift == "cursor":
        return f"p{value}"
    if param.shift == "names":
        return _field_names(surface, operation).get(value, surface.case(value))
    if isinstance(param.schema.get("pattern"), str) and param.item.spec.kind in ("date", "time"):
        compact = _compact(param, value)
        if compact is not None:
            return compact
    if param.item.spec.kind in ("number", "integer") and isinstance(value, float) and value == int(value):
        return int(value)
    shown = surface.shower(param.item.spec)(value)
    return float(value) if param.item.spec.kind == "number" and isinstance(shown, str) else shown


def _compact(param: Param, value: Any) -> str | None:
    if param.schema["pattern"].startswith("^[0-9]{4}[01][0-9][0-3]") and param.item.spec.kind == "date":
        return day_to_date(value).strftime("%Y%m%d")
    if param.schema["pattern"].startswith("^[0-9]{8}T"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y%m%dT%H%M%SZ")
    return None


def read_arguments(surface: Surface, tool: ShownTool, arguments: Mapping[str, Json]) -> dict[str, Any]:
    """The canonical arguments of presented ones that fit the definition's schema. RecordError on an impossible date."""
    made: dict[str, Any] = {}
    size = None
    for key, param in tool.params.items():
        place: Any = arguments
        for group in param.path:
            place = place.get(group) if isinstance(place, Mapping) else None
        if place is None:
            continue
        if param.shift == "page":
            size = int(place)
            continue
        made[key] = _read_argument(surface, tool, param, place)
    if size is not None:
        made["offset"] = (size - 1) * int(made.get("limit", DEFAULT_PAGE))
    return made


def _read_argument(surface: Surface, tool: ShownTool, param: Param, value: Json) -> Any:
    if param.shift == "cursor":
        return int(value[1:])
    if param.shift == "names":
        names = {shown: name for name, shown in _field_names(surface, tool.operation).items()}
        return names.get(value, next((o for o in param.item.spec.options if surface.case(o) == value), value))
    pattern = str(param.schema.get("pattern", ""))
    if param.item.spec.kind in ("date", "time") and pattern.startswith(("^[0-9]{4}[01]", "^[0-9]{8}T")):
        form = "%Y%m%d" if param.item.spec.kind == "date" else "%Y%m%dT%H%M%SZ"
        try:
            seconds = int(datetime.strptime(value, form).replace(tzinfo=UTC).timestamp())
        except ValueError as fault:
            raise RecordError(f"{value!r} is no date: {fault}") from fault
        return seconds // 86_400 if param.item.spec.kind == "date" else seconds // 60 * 60
    return surface.read_value(param.item.spec, value)


def tool_record(surface: Surface, operation: Operation) -> Tool:
    """The Tool record of an operation: its definition under a neutral surface, untightened, bound to the world."""
    tight = draw_tightenings(surface, operation, Random(f"{surface.instance.seed}/{operation.name}"))
    made = draw_tool(surface, operation, "", tight)
    definition = made.definition
    tool = Tool(
        id="",
        domain=surface.world.name,
        service=operation.service,
        name=operation.name,
        title=definition.title,
        description=_record_words(operation, definition),
        parameters=definition.parameters,
        returns=definition.returns,
        effect=definition.effect,
        resource=definition.resource,
        id_argument=definition.id_argument,
        id_result=definition.id_result,
        records_result=definition.records_result,
        errors=definition.errors,
        binding={"world": surface.world.name, "operation": operation.name, "kind": operation.kind},
        made_from=(surface.world.digest,),
    )
    return replace(tool, id=digest("tool", tool))


def _record_words(operation: Operation, definition: Definition) -> str:
    # Sweeps and solves of a formula would repeat all of it; what an instance shows has it in full.
    return f"{operation.about.rstrip('.')}." if operation.kind in ("sweep", "solve") else definition.description


__all__ = ["Param", "ShownTool", "draw_tool", "nullable", "read_arguments", "show_arguments", "tool_record"]
