"""Bodies as one instance shows them, what each part shows, and the JSON Schemas that they fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.records import Json
from carg.world.model import Operation
from carg.world.outcome import Outcome, Rec
from carg.world.presenting import LIST_MOST, Surface, closed
from carg.world.state import Frame, Read
from carg.world.types import Type


@dataclass(slots=True)
class Shown:
    """What a body shows: records at JSON pointers with the fields shown there, ids, and values with their reads."""

    records: list[tuple[str, str, str, tuple[tuple[str, str], ...]]] = field(default_factory=list)
    """(pointer, resource, id, ((field, presented name), ...))."""
    named: list[tuple[str, tuple[str, str]]] = field(default_factory=list)
    """(pointer of an id, (resource, id))."""
    values: list[tuple[str, tuple[Read, ...]]] = field(default_factory=list)


def show_record(
    surface: Surface, frame: Frame, resource: str, key: str, pointer: str, shown: Shown, depth: int
) -> dict[str, Json]:
    """A record as JSON; notes the cells it shows."""
    record = frame.find(resource, key)
    made: dict[str, Json] = {"id": surface.show_id(key)}
    shown.named.append((f"{pointer}/id", (resource, key)))
    if record is None:
        return made
    named = []
    for spec, name, show in surface.fields(resource):
        value = record[spec.name]
        if spec.kind == "ref" and surface.embed != "ids":
            place = f"{pointer}/{name}"
            made[name] = (
                None if value is None else _show_embedded(surface, frame, spec.of or "", value, place, shown, depth)
            )
            named.append((spec.name, f"{name}/id" if value is not None else name))
        else:
            made[name] = show(value)
            named.append((spec.name, name))
            if spec.kind == "ref" and spec.of is not None and value is not None:
                shown.named.append((f"{pointer}/{name}", (spec.of, value)))
    shown.records.append((pointer, resource, key, tuple(named)))
    return made


def _show_embedded(
    surface: Surface, frame: Frame, resource: str, key: str, pointer: str, shown: Shown, depth: int
) -> dict[str, Json]:
    if surface.embed == "full" and depth > 0:
        return show_record(surface, frame, resource, key, pointer, shown, depth - 1)
    made: dict[str, Json] = {"id": surface.show_id(key)}
    shown.named.append((f"{pointer}/id", (resource, key)))
    record, label = frame.find(resource, key), surface.labels[resource]
    if label is not None and record is not None:
        name = surface.field_name(label)
        made[name] = surface.shower(label)(record[label.name])
        shown.records.append((pointer, resource, key, ((label.name, name),)))
    return made


def show_typed(surface: Surface, frame: Frame, value: Any, kind: Type, pointer: str, shown: Shown) -> Json:
    """A value of an expression as JSON."""
    if value is None:
        return None
    if kind.kind == "record":
        return show_record(surface, frame, kind.of or "", value, pointer, shown, 0)
    if kind.kind == "ref":
        shown.named.append((pointer, (kind.of or "", value)))
        return surface.show_id(value)
    if kind.kind == "list":
        return [
            show_typed(surface, frame, item, kind.item or kind, f"{pointer}/{n}", shown)
            for n, item in enumerate(value[:LIST_MOST])
        ]
    if kind.kind in ("date", "time"):
        return surface.show_moment(kind.kind, value)
    if kind.kind == "number" and isinstance(value, float):
        return round(value, 6)
    return value


def show_body(surface: Surface, operation: Operation, outcome: Outcome) -> tuple[Json, Shown]:
    """The presented body of a success, with what it shows."""
    shown = Shown()
    body, frame = outcome.body, outcome.frame
    if isinstance(body, Rec):
        return _show_whole(surface, operation, outcome, body, shown), shown
    traced = dict(outcome.trace.values)
    made: dict[str, Json] = {}
    if operation.kind == "search":
        page = surface.page
        items = [
            show_record(surface, frame, item.resource, item.id, f"/{surface.case(page.items)}/{n}", shown, 0)
            for n, item in enumerate(body["items"])
        ]
        made = {surface.case(page.items): items, surface.case(page.total): body["total"]}
        shown.values.append((f"/{surface.case(page.items)}", traced["/items"]))
        shown.values.append((f"/{surface.case(page.total)}", traced["/total"]))
        if page.following is not None:
            after = body["offset"] + body["limit"]
            made[surface.case(page.following)] = f"p{after}" if after < body["total"] else None
            shown.values.append((f"/{surface.case(page.following)}", traced["/total"]))
        return made, shown
    if operation.kind == "batch_get":
        word = surface.case(surface.page.items)
        made[word] = [
            show_record(surface, frame, item.resource, item.id, f"/{word}/{n}", shown, 0)
            for n, item in enumerate(body["items"])
        ]
        made[surface.case("missing")] = [surface.show_id(key) for key in body["missing"]]
        return made, shown
    if operation.kind == "action":
        for name, expression in operation.returns:
            pointer = f"/{surface.case(name)}"
            made[surface.case(name)] = show_typed(surface, frame, body[name], expression.type, pointer, shown)
            shown.values.append((pointer, traced.get(f"/{name}", ())))
        return made, shown
    return _show_plain(surface, operation, body, traced, shown), shown


def _show_whole(surface: Surface, operation: Operation, outcome: Outcome, body: Rec, shown: Shown) -> Json:
    terse = surface.factors["terseness"]
    if operation.kind in ("create", "update") and terse != "full":
        made: dict[str, Json] = {"id": surface.show_id(body.id)}
        shown.named.append(("/id", (body.resource, body.id)))
        if terse == "changed":
            written = {name for table, key, name, _ in outcome.trace.writes if (table, key) == (body.resource, body.id)}
            whole = show_record(surface, outcome.frame, body.resource, body.id, "", Shown(), 0)
            named = []
            for spec, name, _ in surface.fields(body.resource):
                if spec.name in written and spec.kind != "ref":
                    made[name] = whole[name]
                    named.append((spec.name, name))
            shown.records.append(("", body.resource, body.id, tuple(named)))
        return made
    depth = 1 if operation.kind == "get" else 0
    return show_record(surface, outcome.frame, body.resource, body.id, "", shown, depth)


def _show_plain(
    surface: Surface, operation: Operation, body: Mapping[str, Any], traced: Mapping[str, Any], shown: Shown
) -> Json:
    if operation.kind == "delete":
        return {"id": surface.show_id(body["id"]), surface.case("deleted"): True}
    if operation.kind == "aggregate":
        groups = []
        resource = surface.world.resources[operation.subject]
        grouped = resource.fields.get(body["group_by"] or "")
        for item in body["groups"]:
            value = surface.shower(grouped)(item["value"]) if grouped is not None else None
            said = str(value).lower() if isinstance(value, bool) else str(value)
            group = {"value": None if value is None else said, "result": item["result"], "count": item["count"]}
            if body["group_by"] is None:
                del group["value"]
            groups.append({surface.case(key): item for key, item in group.items()})
        shown.values.append((f"/{surface.case('groups')}", traced["/groups"]))
        return {surface.case("metric"): body["metric"], surface.case("groups"): groups}
    if operation.kind == "sweep":
        rows = [{surface.case(key): value for key, value in row.items()} for row in body["results"]]
        return {surface.case("results"): rows}
    if operation.kind == "table":
        shown.values += [(f"/{surface.case(path[1:])}", reads) for path, reads in traced.items()]
    if operation.kind == "table" and "rows" in body:
        rows = [{surface.case(key): value for key, value in row.items()} for row in body["rows"]]
        return {surface.case("rows"): rows, surface.case("total"): body["total"]}
    return {surface.case(key): value for key, value in body.items()}


def body_schema(surface: Surface, operation: Operation) -> dict[str, Json]:
    """The JSON Schema of the operation's bodies (`returns`)."""
    if operation.kind in ("get", "create", "update"):
        return _record_returns(surface, operation)
    properties: dict[str, Json] = {}
    optional: list[str] = []
    if operation.kind in ("search", "batch_get"):
        record = surface.record_schema(operation.subject, 0)
        properties[surface.page.items] = {"type": "array", "items": record, "maxItems": 20}
        if operation.kind == "search":
            properties[surface.page.total] = {"type": "integer", "minimum": 0}
            if surface.page.following:
                properties[surface.page.following] = {"type": ["string", "null"], "maxLength": 12}
                optional = [] if surface.explicit else [surface.page.following]
        else:
            properties["missing"] = {"type": "array", "items": surface.id_schema(), "maxItems": 20}
    elif operation.kind == "delete":
        properties = {"id": surface.id_schema(), "deleted": {"type": "boolean"}}
    elif operation.kind == "aggregate":
        properties, optional = _aggregate_returns(surface)
    elif operation.kind == "action":
        if operation.returns and operation.returns[0][0] == "":
            return surface.record_schema(operation.returns[0][1].type.of or "", 0)
        for name, expression in operation.returns:
            properties[name] = surface.type_schema(expression.type)
            if expression.type.nullable and not surface.explicit:
                optional.append(name)
    elif operation.kind == "table":
        return _table_returns(surface, operation)
    else:
        properties, optional = _formula_returns(surface, operation)
    return _object(surface, properties, optional)


def _object(surface: Surface, properties: Mapping[str, Json], optional: list[str]) -> dict[str, Json]:
    cased = {surface.case(name): schema for name, schema in properties.items()}
    required = [surface.case(name) for name in properties if name not in optional]
    return closed(cased, required)


def _record_returns(surface: Surface, operation: Operation) -> dict[str, Json]:
    terse = surface.factors["terseness"]
    if operation.kind == "get" or terse == "full":
        return surface.record_schema(operation.subject, 1 if operation.kind == "get" else 0)
    whole = surface.record_schema(operation.subject, 0)
    if terse == "id_only":
        return {**whole, "properties": {"id": whole["properties"]["id"]}, "required": ["id"]}
    keep = {"id"} | {name for spec, name, _ in surface.fields(operation.subject) if spec.kind != "ref"}
    properties = {name: schema for name, schema in whole["properties"].items() if name in keep}
    return {**whole, "properties": properties, "required": ["id"]}


def _aggregate_returns(surface: Surface) -> tuple[dict[str, Json], list[str]]:
    group = {
        "value": {"type": ["string", "null"], "maxLength": 240},
        "result": {"type": ["number", "null"]},
        "count": {"type": "integer", "minimum": 0},
    }
    inner = _object(surface, group, ["value"] if surface.explicit else ["value", "result"])
    return {
        "metric": {"type": "string", "enum": ["count", "sum", "avg", "min", "max"]},
        "groups": {"type": "array", "items": inner, "maxItems": 300},
    }, []


def _formula_returns(surface: Surface, operation: Operation) -> tuple[dict[str, Json], list[str]]:
    formula = surface.world.formulas[operation.subject]
    if operation.kind == "solve":
        spec = next(spec for spec in formula.inputs if spec.name == operation.vary)
        return {spec.name: surface.schema(spec, body=False)}, []
    properties: dict[str, Json] = {}
    optional = []
    for output in formula.outputs:
        made = surface.type_schema(output.value.type)
        if output.decimals is not None and output.value.type.kind == "integer":
            made["type"] = "number"
        about = ", ".join(part for part in (output.about, f"in {output.unit}" if output.unit else "") if part)
        properties[output.name] = {**made, "description": about[:1].upper() + about[1:]} if about else made
        if output.value.type.nullable and not surface.explicit:
            optional.append(output.name)
    if operation.kind == "compute":
        return properties, optional
    row = {operation.vary or "": {"type": "number"}, **properties}
    inner = _object(surface, row, optional)
    return {"results": {"type": "array", "items": inner, "maxItems": 12}}, []


def _table_returns(surface: Surface, operation: Operation) -> dict[str, Json]:
    table = surface.world.tables[operation.subject]
    row = _object(surface, {spec.name: surface.schema(spec, body=False) for spec in table.columns}, [])
    if table.key is not None:
        return row
    properties = {
        "rows": {"type": "array", "items": row, "maxItems": max(len(table.rows), 1)},
        "total": {"type": "integer", "minimum": 0},
    }
    return _object(surface, properties, [])
