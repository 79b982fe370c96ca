"""Parameters as one instance presents them, and the tightenings that narrow what the world itself would take.

A parameter is dropped or made required, an enum cut, bounds or length narrowed, numbers made whole, a date asked for
as a text of another form. A call that is valid under the definition without one tightening, and uses the slack, is
invalid under the definition: a minimal pair by construction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from carg.records import Definition, Json
from carg.world.model import Input, Operation
from carg.world.presenting import Surface

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


def draw_tightenings(surface: Surface, operation: Operation, rng: Random) -> tuple[str, ...]:
    """The ids of the tightenings this instance makes, at most one per parameter, in order of parameters."""
    made = []
    for item in operation.inputs:
        options = _possible(operation, item)
        if options and rng.random() < 0.4:
            made.append(f"{rng.choice(options)}:{item.name}")
    rng.shuffle(made)
    return tuple(sorted(made[:MOST_TIGHT]))


def _possible(operation: Operation, item: Input) -> list[str]:
    spec, options = item.spec, []
    if item.name in ("limit", "offset", "steps") or item.role in ("target", "targets"):
        return ["high"] if item.name == "limit" else []
    if not item.required:
        # What goes with some records only cannot be asked for with all.
        options += ["drop", "drop", "need"] if spec.only_if is None else ["drop", "drop"]
    if spec.kind == "choice" and len(spec.options) > 2 and operation.kind != "table":
        options += ["enum", "enum"]
    if spec.kind in ("integer", "number") and (spec.high or 0) - (spec.low or 0) > 4:
        options += ["high", "low"]
        if spec.kind == "number" and float(spec.default or 0).is_integer():
            options.append("whole")
    if spec.kind == "text" and (spec.high or 0) >= 120:
        options.append("short")
    if spec.kind in ("date", "time"):
        options.append("form")
    if spec.kind == "list" and spec.length[1] > 2:
        options.append("few")
    return options


def present_params(surface: Surface, operation: Operation, tightenings: tuple[str, ...]) -> dict[str, Param]:
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
        schema = _tighten(item, schema, kind, rng)
        if item.spec.default is not None and kind != "need" and not shift:
            schema = {**schema, "default": surface.shower(item.spec, body=False)(item.spec.default)}
        path: tuple[str, ...] = (name,)
        if nesting == "wrapped":
            path = (surface.case("input"), name)
        elif nesting == "grouped" and item.role not in ("target", "targets"):
            path = (surface.case("data"), name)
        params[item.name] = Param(item, path, schema, item.required or kind == "need", shift)
    return params


def _present_input(
    surface: Surface, operation: Operation, item: Input, target_words: str
) -> tuple[str, dict[str, Json], str]:
    if item.name == "limit" and operation.kind == "search":
        schema = {"type": "integer", "minimum": 1, "maximum": item.spec.high, "default": item.spec.default}
        return surface.case(surface.page.size), {**schema, "description": "Most results of a page"}, "size"
    if item.name == "offset" and operation.kind == "search":
        return surface.case(surface.page.position), *_position_schema(surface)
    if item.name in ("sort_by", "group_by", "field"):
        names = field_names(surface, operation)
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


def field_names(surface: Surface, operation: Operation) -> dict[str, str]:
    return {spec.name: name for spec, name, _ in surface.fields(operation.subject)}


def _tighten(item: Input, schema: dict[str, Json], kind: str, rng: Random) -> dict[str, Json]:
    spec = item.spec
    if kind == "enum":
        options = schema["enum"]
        keep = rng.sample(options, max(2, len(options) - rng.randint(1, max(1, len(options) // 2))))
        if spec.default is not None and spec.default not in keep:
            keep.append(spec.default)
        return {**schema, "enum": [option for option in options if option in keep]}
    if kind in ("high", "low"):
        usual = spec.high if spec.high is not None else 100.0
        low, high = float(schema.get("minimum", 0)), float(schema.get("maximum", usual))
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


def _round_bound(value: float, low: float, high: float) -> float:
    for digits in range(-3, 6):
        rounded = round(value, digits)
        if low < rounded < high and abs(rounded - value) <= 0.2 * (high - low):
            return int(rounded) if rounded == int(rounded) else rounded
    return value


COMPACT_FORMS = {"date": "^[0-9]{4}[01][0-9][0-3][0-9]$", "time": "^[0-9]{8}T[0-9]{6}Z$"}
"""Patterns of the form that a definition asks for where its calls carry another, that of the convention."""


def _other_form(schema: dict[str, Json], kind: str) -> dict[str, Json]:
    about = {key: schema[key] for key in ("description",) if key in schema}
    # The length leaves room for any style, so that another form is a fault of format and not of range.
    return {"type": "string", "pattern": COMPACT_FORMS[kind], "maxLength": 32, **about}
