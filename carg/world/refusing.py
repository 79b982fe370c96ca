"""Tools without a world: definition and instance, and what they settle of a call: label and refusal.

The schema judges first, then the rules that were proved. The error is the one that the tool documents for that keyword
and place, or the convention's own words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from carg.errors import RecordError
from carg.records import (
    FAULT_ORDER,
    Call,
    Convention,
    Definition,
    ErrorSpec,
    Instance,
    Json,
    Tool,
    ToolError,
    Violation,
    digest,
)
from carg.schemas import faults
from carg.world.predicates import rule_holds
from carg.world.service import fault_detail
from carg.world.shadow import subject_of
from carg.world.syntax import parse_call, render_call
from carg.world.wording import schema_error

SETTLED = {
    "auth": "none",
    "nesting": "flat",
    "media": "json",
    "nulls": "explicit",
    "number_style": "plain",
    "time_style": "iso_z",
    "date_style": "iso",
    "tool_case": "snake",
    "field_case": "snake",
    "terseness": "full",
    "embed": "ids",
}
"""Factors that shape definitions and bodies: without a world both are taken as they come, so these stand still."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A labelled call; `error` is the refusal of an invalid one.

    `documented`: the refusal is one of the tool's own, so that a reader must see its errors to know it.
    """

    call: Call
    error: ToolError | None = None
    documented: bool = False


def definition_of(tool: Tool) -> Definition:
    """The tool as it is shown where no world draws another: names, schemas and errors one to one."""
    method = "GET" if tool.effect in ("read", "search") else "DELETE" if tool.effect == "delete" else "POST"
    return Definition(
        tool=tool.id,
        key=tool.key,
        name=tool.name,
        title=tool.title,
        description=tool.description,
        parameters=tool.parameters,
        returns=tool.returns,
        errors=tool.errors,
        effect=tool.effect,
        http=(method, f"/{tool.service}/{tool.name}"),
        resource=tool.resource,
        id_argument=tool.id_argument,
        id_result=tool.id_result,
        records_result=tool.records_result,
        media=tool.media,
    )


def instance_of(
    tools: Sequence[Tool], convention: Convention, *, category: str, held_out: bool = False, seed: int = 0
) -> Instance:
    """The instance that offers these tools, all of one service, under a convention with the factors of SETTLED."""
    ids = tuple(tool.id for tool in tools)
    domain, service = tools[0].domain, tools[0].service
    name = digest("instance", domain, service, convention.id, ids, seed)
    return Instance(name, domain, category, service, int(name[:8], 16), convention, ids, held_out=held_out)


def judge_call(
    convention: Convention, definition: Definition, arguments: dict[str, Json], *, style: str = "plain"
) -> Judgement:
    """The call with the label that schema and proved rules give to its arguments as its text reads back.

    Raises RecordError as the validator does, and for a call that its convention cannot word.
    """
    text = render_call(convention, definition, arguments)
    arguments = _read_back(convention, definition, text)
    if found := faults(definition.parameters, arguments):
        errors = [_schema_refusal(convention, definition, arguments, violation) for violation in found]
    else:
        broken = [spec for spec in definition.errors if _fires(spec, definition, arguments)]
        broken.sort(key=lambda spec: FAULT_ORDER.index(spec.fault))
        errors = [ToolError(spec.code, spec.fault, spec.status, spec.message, spec.field) for spec in broken]
    if not errors:
        return Judgement(Call(text, definition.name, arguments, "valid", style=style))
    return _invalid(definition, text, arguments, errors, style)


def judge_gone(
    convention: Convention, definition: Definition, arguments: dict[str, Json], *, style: str = "plain"
) -> Judgement:
    """The call, otherwise sound, that names a record which was deleted before."""
    path = definition.id_argument
    spec = next((spec for spec in definition.errors if spec.fault == "state.not_found"), None)
    if spec is not None:
        error = ToolError(spec.code, spec.fault, spec.status, spec.message, path)
    else:
        detail = {"resource": definition.resource or "record", "id": subject_of(definition, arguments)}
        error = schema_error(convention, Violation("", "state.not_found", path), detail=detail)
    return _invalid(definition, render_call(convention, definition, arguments), arguments, [error], style)


def _read_back(convention: Convention, definition: Definition, text: str) -> dict[str, Json]:
    """The arguments of a text: some syntaxes carry text only, so that 7 for an unknown parameter becomes "7"."""
    parsed = parse_call(convention, text, {definition.name: definition})
    if parsed.fault is not None or parsed.arguments is None:
        raise RecordError(f"the call does not read back under its convention: {text[:80]!r}", "leave it out")
    return parsed.arguments


def _invalid(
    definition: Definition, text: str, arguments: dict[str, Json], errors: list[ToolError], style: str
) -> Judgement:
    violates = tuple(Violation(error.code, error.fault, error.field) for error in errors)
    documented = any(spec.code == errors[0].code for spec in definition.errors)
    return Judgement(Call(text, definition.name, arguments, "invalid", violates, style=style), errors[0], documented)


def _fires(spec: ErrorSpec, definition: Definition, arguments: dict[str, Json]) -> bool:
    source = (spec.when or {}).get("rule")
    return isinstance(source, str) and bool(rule_holds(source, definition.parameters, arguments))


def _schema_refusal(
    convention: Convention, definition: Definition, arguments: dict[str, Json], violation: Violation
) -> ToolError:
    detail = fault_detail(definition.parameters, arguments, violation)
    pointer = "/" + "/".join(re.findall(r"[^.\[\]]+", violation.field or ""))
    for spec in definition.errors:
        when = spec.when or {}
        same_keyword = detail.get("keyword") in (None, when.get("schema"))
        if spec.fault == violation.fault and when.get("at") == pointer and same_keyword:
            return ToolError(spec.code, spec.fault, spec.status, spec.message, violation.field)
    return schema_error(convention, Violation("", violation.fault, violation.field), detail=detail)
