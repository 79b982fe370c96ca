"""Definitions as draws: how one instance defines each of its tools, and the tool record that stands for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

from carg.records import Definition, Json, Tool, digest
from carg.world.bodies import body_schema
from carg.world.conventions import case_words
from carg.world.describing import describe, list_errors
from carg.world.model import Operation
from carg.world.presenting import Surface, closed
from carg.world.tightening import Param, ShownTool, draw_tightenings, present_params

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


def draw_tool(surface: Surface, operation: Operation, tool_id: str, without: Iterable[str] = ()) -> ShownTool:
    """The instance's definition of the operation, less the tightenings named in `without`."""
    seed = surface.instance.seed
    drawn = draw_tightenings(surface, operation, Random(f"{seed}/{operation.name}"))
    kept = tuple(item for item in drawn if item not in set(without))
    params = present_params(surface, operation, kept)
    definition = _definition(surface, operation, tool_id, params, kept)
    return ShownTool(operation, definition, params, kept)


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
        parameters=_parameters_schema(params),
        returns=body_schema(surface, operation),
        errors=tuple(list_errors(surface, operation, params)),
        effect=operation.effect,  # type: ignore[arg-type]
        http=_route(surface, operation, target),
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


def _parameters_schema(params: Mapping[str, Param]) -> dict[str, Json]:
    top = closed({}, [])
    for param in params.values():
        place = top
        for group in param.path[:-1]:
            inner = place["properties"].setdefault(group, closed({}, []))
            if param.required and group not in place["required"]:
                place["required"].append(group)
            place = inner
        place["properties"][param.path[-1]] = param.schema
        if param.required:
            place["required"].append(param.path[-1])
    return top


def _route(surface: Surface, operation: Operation, target: Param | None) -> tuple[str, ...]:
    method, verb = _METHODS.get(operation.effect, "POST"), operation.name.replace("_", "-")
    resource = surface.world.resources.get(operation.subject)
    base = "/" + (resource.plural if resource is not None else operation.subject).replace("_", "-")
    if target is not None and len(target.path) == 1:
        if operation.kind in ("get", "update", "delete"):
            return method, f"{base}/{{{target.path[0]}}}"
        if operation.kind == "action":
            return "POST", f"{base}/{{{target.path[0]}}}/{verb}"
    if operation.kind in ("search", "create"):
        return method, base
    if operation.kind == "table":
        return "GET", f"/reference{base}"
    return "POST", f"{base}/{verb}"


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
