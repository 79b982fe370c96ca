"""Arguments of calls: canonical ones as a definition takes them, and presented ones read back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from carg.errors import RecordError
from carg.records import Json
from carg.world.functions import DAY_S
from carg.world.generic import DEFAULT_PAGE
from carg.world.model import Operation
from carg.world.presenting import Surface
from carg.world.tightening import COMPACT_FORMS, Param, ShownTool, field_names, present_params


def show_arguments(surface: Surface, tool: ShownTool, arguments: Mapping[str, Any]) -> dict[str, Json]:
    """Canonical arguments as this definition takes them; those it does not know are presented in their usual place."""
    made: dict[str, Json] = {}
    for item in tool.operation.inputs:
        if item.name not in arguments:
            continue
        param = tool.params.get(item.name) or present_params(surface, tool.operation, ())[item.name]
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
        return field_names(surface, operation).get(value, surface.case(value))
    if (form := _compact_form(param)) is not None:
        return datetime.fromtimestamp(value * (DAY_S if param.item.spec.kind == "date" else 1), UTC).strftime(form)
    if param.item.spec.kind in ("number", "integer") and isinstance(value, float) and value == int(value):
        return int(value)
    return surface.shower(param.item.spec, body=False)(value)


def _compact_form(param: Param) -> str | None:
    """How dates and times are spelled where a tightening asks for another form than the convention's."""
    if param.schema.get("pattern") not in COMPACT_FORMS.values():
        return None
    return {"date": "%Y%m%d", "time": "%Y%m%dT%H%M%SZ"}[param.item.spec.kind]


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
        names = {shown: name for name, shown in field_names(surface, tool.operation).items()}
        return names.get(value, next((o for o in param.item.spec.options if surface.case(o) == value), value))
    if (form := _compact_form(param)) is not None:
        try:
            seconds = int(datetime.strptime(value, form).replace(tzinfo=UTC).timestamp())
        except ValueError as fault:
            raise RecordError(f"{value!r} is no date: {fault}") from fault
        return seconds // DAY_S if param.item.spec.kind == "date" else seconds // 60 * 60
    return surface.read_value(param.item.spec, value)
