"""A service ready to be called: text in, response out, with everything execution proved about the exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from carg.errors import RecordError
from carg.records import Call, Convention, Definition, Directive, Instance, Json, Response, ToolError, Violation
from carg.schemas import validator
from carg.world.arguments import read_arguments, show_arguments
from carg.world.bodies import Shown, show_body
from carg.world.definitions import draw_tool
from carg.world.directives import degrade, settle_directive
from carg.world.executing import execute
from carg.world.model import World
from carg.world.outcome import Actor, Outcome, Refusal
from carg.world.presenting import Surface
from carg.world.setting import Setting
from carg.world.state import State
from carg.world.syntax import Parsed, parse_call, render_call
from carg.world.tightening import ShownTool
from carg.world.view import service_tables
from carg.world.wording import answer, refuse, schema_error, style_code

OUTAGES = ("timeout", "rate_limit", "server_error")
"""Faults that strike before the tool acts: the state stays as it is."""


@dataclass(slots=True)
class Answered:
    """An exchange as it happened: the call with its label, the response, and how it came about.

    `outcome` is None where the call never reached the world; `tool` where it named none.
    """

    call: Call
    response: Response
    tool: ShownTool | None
    arguments: dict[str, Any] | None
    outcome: Outcome | None
    shown: Shown
    directive: Directive | None
    parsed: Parsed
    """What the text says."""


class Service:
    """One instance of a service, with the tools of `ids` (operation -> tool id; None: all that the service offers)."""

    def __init__(self, world: World, instance: Instance, ids: Mapping[str, str] | None = None) -> None:
        self.world = world
        self.instance = instance
        self.surface = Surface(world, instance)
        self.convention: Convention = instance.convention
        if ids is None:
            ids = dict.fromkeys(world.services[instance.service].operations, "")
        self.tools: dict[str, ShownTool] = {
            name: draw_tool(self.surface, world.operations[name], key) for name, key in ids.items()
        }
        self.loose: dict[str, ShownTool] = {}
        """Tools with one tightening left out, by operation and tightening."""
        self.touched = service_tables(world, instance.service)
        """The tables that its tools can touch."""
        self.varied: tuple[str, Service] | None = None
        """The siblings asked for last: a session is shown, rendered and executed with the same ones."""
        self.sizes: dict[str, int] = {}
        """Characters of each definition, once measured."""
        self.by_name = {tool.definition.name: tool for tool in self.tools.values()}
        self.definitions: dict[str, Definition] = {name: tool.definition for name, tool in self.by_name.items()}

    @property
    def setting(self) -> Setting:
        """The world as this instance runs it."""
        return self.surface.setting

    def loosened(self, operation: str, tightening: str) -> ShownTool:
        """The tool as a sibling definition has it, without one tightening."""
        key = f"{operation} {tightening}"
        if key not in self.loose:
            tool = self.tools[operation]
            self.loose[key] = draw_tool(self.surface, tool.operation, tool.definition.tool, (tightening,))
        return self.loose[key]

    def with_siblings(self, siblings: Mapping[str, list[str]]) -> Service:
        """This service with some definitions loosened; knobs are not touched."""
        if not siblings:
            return self
        key = repr(siblings)
        if self.varied is not None and self.varied[0] == key:
            return self.varied[1]
        other = copy(self)
        other.tools = dict(self.tools)
        for name, without in siblings.items():
            if len(without) == 1:
                other.tools[name] = self.loosened(name, without[0])
            else:
                tool = self.tools[name]
                other.tools[name] = draw_tool(self.surface, tool.operation, tool.definition.tool, without)
        other.by_name = {tool.definition.name: tool for tool in other.tools.values()}
        other.definitions = {name: tool.definition for name, tool in other.by_name.items()}
        other.varied = None
        self.varied = key, other
        return other

    def shown(self, names: Iterable[str]) -> dict[str, Definition]:
        """The definitions of some presented names, in order."""
        return {name: self.definitions[name] for name in names}

    def write_call(self, operation: str, arguments: Mapping[str, Any], credential: str | None) -> str:
        """The text of a call with canonical arguments."""
        tool = self.tools[operation]
        shown = show_arguments(self.surface, tool, arguments)
        return render_call(self.convention, tool.definition, shown, credential)

    def answer(
        self,
        state: State,
        text: str,
        actor: Mapping[str, Json],
        definitions: Mapping[str, Definition],
        directive: Directive | None = None,
    ) -> Answered:
        """What the service answers to a call text, from anyone, in this state; nothing is changed."""
        parsed = parse_call(self.convention, text, definitions)
        if parsed.fault is not None:
            return self._refused(text, parsed, parsed.fault, {"tool": parsed.tool}, directive)
        assert parsed.tool is not None and parsed.arguments is not None
        tool = self.by_name[parsed.tool]
        if faults := validator(tool.definition.parameters).faults(parsed.arguments):
            detail = fault_detail(tool.definition.parameters, parsed.arguments, faults[0])
            made = self._refused(text, parsed, faults[0], detail, directive)
            coded = tuple(replace(item, code=made.call.violates[0].code) for item in faults[:1]) + faults[1:]
            return replace(made, call=replace(made.call, violates=coded), tool=tool)
        try:
            arguments = read_arguments(self.surface, tool, parsed.arguments)
        except RecordError:
            violation = Violation("", "schema.format", _date_at_fault(self.surface, tool, parsed.arguments))
            return replace(self._refused(text, parsed, violation, {"format": "date"}, directive), tool=tool)
        return self._executed(state, text, parsed, tool, arguments, actor, directive)

    def _executed(
        self,
        state: State,
        text: str,
        parsed: Parsed,
        tool: ShownTool,
        arguments: dict[str, Any],
        actor: Mapping[str, Json],
        directive: Directive | None,
    ) -> Answered:
        barred = self._unsigned(parsed, actor)
        who = Actor(str(actor["name"]), str(actor["role"]))
        outcome = execute(self.setting, state, tool.operation, arguments, who, barred)
        shown = Shown()
        violates: tuple[Violation, ...] = ()
        if outcome.refusal is None:
            body, shown = show_body(self.surface, tool.operation, outcome)
            response = answer(self.convention, tool.definition, body)
        else:
            error = self.error(tool, outcome, actor)
            response, violates = refuse(self.convention, error), (Violation(error.code, error.fault, error.field),)
        call = Call(text, parsed.tool, parsed.arguments, "invalid" if violates else "valid", violates)
        if directive is not None:
            directive, response, outage = self._disturb(tool.definition, response, directive)
            if outage:
                outcome.changes, shown = [], Shown()
        return Answered(call, response, tool, arguments, outcome, shown, directive, parsed)

    def _disturb(
        self, definition: Definition, response: Response, directive: Directive
    ) -> tuple[Directive, Response, bool]:
        directive = settle_directive(definition, response, directive)
        return directive, degrade(self.convention, definition, response, directive), directive.fault in OUTAGES

    def _unsigned(self, parsed: Parsed, actor: Mapping[str, Json]) -> Refusal | None:
        if self.convention.factors["auth"] == "none" or parsed.credential == actor.get("credential"):
            return None
        detail = {"actor": parsed.credential}
        return Refusal("unsigned", "state.forbidden", 401, None, detail=detail)

    def error(self, tool: ShownTool, outcome: Outcome, actor: Mapping[str, Json]) -> ToolError:
        """The error of a refusal, in the convention's words or the author's."""
        refusal = outcome.refusal
        assert refusal is not None
        param = tool.params.get(refusal.field or "")
        at = ".".join(param.path) if param is not None else None
        if refusal.fault == "state.not_found":
            named = str(refusal.detail["resource"]).replace("_", " ")
            detail = {"resource": named, "id": self.surface.show_id(str(refusal.detail["id"]))}
            return schema_error(self.convention, Violation("", refusal.fault, at), detail=detail)
        if refusal.code in ("role_required", "unsigned"):
            named_actor = refusal.detail.get("actor", actor.get("credential", actor["name"]))
            signed = refusal.code == "role_required"
            detail = {"actor": actor["name"] if signed else named_actor}
            return schema_error(self.convention, Violation("", refusal.fault, None), detail=detail)
        message = self.surface.error_message(outcome)
        code = style_code(self.convention, refusal.code)
        return ToolError(code, refusal.fault, refusal.status, message, at)

    def _refused(
        self,
        text: str,
        parsed: Parsed,
        violation: Violation,
        detail: Mapping[str, Json],
        directive: Directive | None,
    ) -> Answered:
        # The code of a schema fault is the convention's; what `schemas` calls it is for people without one.
        error = schema_error(self.convention, replace(violation, code=""), detail=detail)
        call = Call(text, parsed.tool, parsed.arguments, "invalid", (Violation(error.code, error.fault, error.field),))
        response = refuse(self.convention, error)
        if directive is not None:
            definition = self.definitions.get(parsed.tool or "") or next(iter(self.definitions.values()))
            directive, response, _ = self._disturb(definition, response, directive)
        return Answered(call, response, None, None, None, Shown(), directive, parsed)


def _date_at_fault(surface: Surface, tool: ShownTool, arguments: Mapping[str, Json]) -> str | None:
    for param in tool.params.values():
        place: Any = arguments
        for key in param.path:
            place = place.get(key) if isinstance(place, Mapping) else None
        if place is None or param.item.spec.kind not in ("date", "time"):
            continue
        try:
            read_arguments(surface, replace(tool, params={"": replace(param, path=("",))}), {"": place})
        except RecordError:
            return ".".join(param.path)
    return None


_RANGE_KEYS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
)


def fault_detail(schema: Json, arguments: Json, violation: Violation) -> dict[str, Json]:
    """What an error's words need to know of a schema fault: the node of the schema and the value there."""
    node, value = schema, arguments
    for step in _steps(violation.field):
        if isinstance(step, int):
            node = node.get("items", {})
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            node = node.get("properties", {}).get(step, {})
            value = value.get(step) if isinstance(value, Mapping) else None
    detail: dict[str, Json] = {"got": value}
    if violation.fault == "schema.enum":
        detail["allowed"] = node.get("enum", [node.get("const")])
    elif violation.fault == "schema.type":
        detail["expected"] = node.get("type", "object")
    elif violation.fault == "schema.format":
        detail["format"] = node.get("format") or node.get("pattern", "format")
    elif violation.fault == "schema.range":
        found = next((key for key in _RANGE_KEYS if key in node and _breaks(key, node[key], value)), None)
        detail |= {"keyword": found or "uniqueItems", "limit": node.get(found or "", True)}
    return detail


def _breaks(key: str, limit: Any, value: Any) -> bool:
    if key in ("minLength", "maxLength", "minItems", "maxItems"):
        if not isinstance(value, str if "Length" in key else list):
            return False
        return bool(len(value) < limit if key.startswith("min") else len(value) > limit)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    broken: dict[str, bool] = {
        "minimum": value < limit,
        "maximum": value > limit,
        "exclusiveMinimum": value <= limit,
        "exclusiveMaximum": value >= limit,
        "multipleOf": limit != 0 and value % limit != 0,
    }
    return broken[key]


def _steps(path: str | None) -> list[str | int]:
    steps: list[str | int] = []
    for part in (path or "").replace("[", ".[").split("."):
        if part.startswith("["):
            steps.append(int(part[1:-1]))
        elif part:
            steps.append(part)
    return steps
