"""How one instance shows values, records and bodies: names in its case, dates in its style, references embedded.

A `Surface` is made once per instance. It gives JSON Schemas for what it shows, converts canonical values to JSON and
back, and remembers for each part of a body which cells it shows (`Shown`), for `knowledge` to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

from carg.errors import RecordError
from carg.records import Instance, Json
from carg.world.conventions import case_words, page_words
from carg.world.expressions import Type
from carg.world.fields import ADDRESS
from carg.world.functions import DAY_S, day_to_date
from carg.world.model import FieldSpec, Operation, Resource, Template, World
from carg.world.run import Outcome, Rec, Setting
from carg.world.state import Frame, Read

ID_MOST = 40
LIST_MOST = 50
_DATE_PATTERNS = {"dmy_dots": r"^[0-3][0-9]\.[01][0-9]\.[0-9]{4}$", "us_slashes": r"^[01][0-9]/[0-3][0-9]/[0-9]{4}$"}
_DATE_FORMS = {"iso": "%Y-%m-%d", "dmy_dots": "%d.%m.%Y", "us_slashes": "%m/%d/%Y"}
_TIME_PATTERN = r"^[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]$"
_TIME_FORMS = {"iso_z": "%Y-%m-%dT%H:%M:%SZ", "iso_offset": "%Y-%m-%dT%H:%M:%S+00:00", "space_separated": "%Y-%m-%d %H:%M:%S"}
_UNIT = re.compile(r"[a-z]{1,8}")


@dataclass(slots=True)
class Shown:
    """What a body shows: records at JSON pointers with the fields shown there, ids, and values with their reads."""

    records: list[tuple[str, str, str, tuple[tuple[str, str], ...]]] = field(default_factory=list)
    """(pointer, resource, id, ((field, presented name), ...))."""
    named: list[tuple[str, tuple[str, str]]] = field(default_factory=list)
    """(pointer of an id, (resource, id))."""
    values: list[tuple[str, tuple[Read, ...]]] = field(default_factory=list)


class Surface:
    """One instance's way of showing its world. Raises RecordError where a presented value cannot be read."""

    def __init__(self, world: World, instance: Instance) -> None:
        self.world = world
        self.instance = instance
        self.factors = instance.convention.factors
        self.setting = Setting(world, instance.knobs, id_style=self.factors["id_style"], salt=f"{instance.seed}")
        rng = Random(f"surface/{instance.seed}")
        self.ref_suffix = rng.choice(("_id", "_id", ""))
        self.unit_suffix = rng.random() < 0.35
        self.page = page_words(self.factors)
        self.embed = self.factors["embed"]
        self.explicit = self.factors["nulls"] == "explicit"
        self._fields: dict[str, list[tuple[FieldSpec, str, Callable[[Any], Json]]]] = {}
        self._labels = {name: label_field(resource) for name, resource in world.resources.items()}

    def case(self, words: str) -> str:
        """snake_case words in the instance's case for fields; an id is always called id."""
        if words == "id":
            return words
        return case_words(words, self.factors["field_case"])

    def field_name(self, spec: FieldSpec, *, embedded: bool = False) -> str:
        """The presented name of a field or input."""
        if spec.kind == "ref" and not embedded:
            return self.case(f"{spec.name}{self.ref_suffix}" if not spec.name.endswith("_id") else spec.name)
        if self.unit_suffix and spec.kind in ("number", "integer") and _UNIT.fullmatch(spec.unit):
            if not spec.name.endswith(f"_{spec.unit}"):
                return self.case(f"{spec.name}_{spec.unit}")
        return self.case(spec.name)

    def fields(self, resource: str) -> list[tuple[FieldSpec, str, Callable[[Any], Json]]]:
        """(field, presented name, converter) of a record, in order."""
        if (found := self._fields.get(resource)) is None:
            found = [
                (spec, self.field_name(spec, embedded=self.embed != "ids"), self.shower(spec))
                for spec in self.world.resources[resource].fields.values()
            ]
            self._fields[resource] = found
        return found

    # Values --------------------------------------------------------------------------------------------------------

    def shower(self, spec: FieldSpec) -> Callable[[Any], Json]:
        """A function from canonical values of the field to JSON."""
        if spec.kind in ("date", "time"):
            return lambda value: None if value is None else self.show_moment(spec.kind, value)
        if spec.kind == "ref":
            return self.show_id
        if spec.kind == "list" and spec.item is not None:
            inner = self.shower(spec.item)
            return lambda value: None if value is None else [inner(item) for item in value]
        if spec.kind in ("object", "address"):
            parts = [(part.name, self.field_name(part), self.shower(part)) for part in spec.parts]
            return lambda value: None if value is None else {name: show(value.get(key)) for key, name, show in parts}
        if spec.kind in ("number", "tally") and self.factors["number_style"] == "decimal_strings":
            return lambda value: f"{value:.{spec.decimals}f}" if isinstance(value, float) else value
        return lambda value: value

    def show_id(self, value: str | None) -> Json:
        """An id as JSON."""
        return int(value) if value is not None and self.factors["id_style"] == "integer" and value.isdigit() else value

    def show_moment(self, kind: str, value: int) -> Json:
        """A date or time as JSON."""
        if kind == "date":
            style = self.factors["date_style"]
            return value * DAY_S if style == "epoch" else day_to_date(value).strftime(_DATE_FORMS[style])
        style = self.factors["time_style"]
        return value if style == "epoch_seconds" else datetime.fromtimestamp(value, UTC).strftime(_TIME_FORMS[style])

    def read_moment(self, kind: str, value: Json) -> int:
        """The canonical date or time of JSON; RecordError where there is no such day."""
        style = self.factors["date_style" if kind == "date" else "time_style"]
        try:
            if kind == "date":
                if style == "epoch":
                    return int(value) // DAY_S
                parsed = datetime.strptime(value, _DATE_FORMS[style]).replace(tzinfo=UTC)
                return int(parsed.timestamp()) // DAY_S
            if style == "epoch_seconds":
                return int(value) // 60 * 60
            if style == "space_separated":
                parsed = datetime.strptime(value, _TIME_FORMS[style]).replace(tzinfo=UTC)
            else:
                parsed = datetime.fromisoformat(value.replace("Z", "+00:00").replace("z", "+00:00"))
            return int(parsed.timestamp()) // 60 * 60
        except (ValueError, TypeError, OverflowError) as fault:
            raise RecordError(f"{value!r} is no {kind}: {fault}") from fault

    def read_value(self, spec: FieldSpec, value: Json) -> Any:
        """The canonical value of presented JSON that fits the field's schema."""
        if value is None:
            return None
        if spec.kind in ("date", "time"):
            return self.read_moment(spec.kind, value)
        if spec.kind == "ref":
            return str(value)
        if spec.kind == "list" and spec.item is not None:
            return [self.read_value(spec.item, item) for item in value]
        if spec.kind in ("object", "address"):
            return {part.name: self.read_value(part, value.get(self.field_name(part))) for part in spec.parts}
        if spec.kind == "integer":
            return int(value)
        return float(value) if spec.kind == "number" else value

    def words_of(self, value: Any, kind: Type) -> str:
        """A value as messages word it."""
        if value is None:
            return "none"
        if kind.kind in ("date", "time"):
            return str(self.show_moment(kind.kind, value))
        if kind.kind == "boolean":
            return "true" if value else "false"
        if isinstance(value, float):
            return f"{round(value, 6):g}" if abs(value) < 1e6 else f"{value:.2f}"
        if isinstance(value, list | tuple):
            return ", ".join(self.words_of(item, kind.item or kind) for item in value) or "none"
        return str(value)

    def words(self, template: Template, values: Mapping[str, Any]) -> str:
        """A template with its values, in plain substitution."""
        return "".join(
            part if isinstance(part, str) else self.words_of(values.get(part.source), part.type) for part in template.parts
        )

    # Schemas -------------------------------------------------------------------------------------------------------

    def schema(self, spec: FieldSpec, *, body: bool) -> dict[str, Json]:
        """The JSON Schema of a field: in arguments (`body` false), or as a body shows it."""
        made = self._plain_schema(spec, body)
        about = spec.about or _usual_words(spec)
        if spec.unit and not (self.unit_suffix and _UNIT.fullmatch(spec.unit)):
            about = f"{about}, in {spec.unit}" if about else f"in {spec.unit}"
        if about:
            made["description"] = about[:1].upper() + about[1:]
        return made

    def _plain_schema(self, spec: FieldSpec, body: bool) -> dict[str, Json]:
        if spec.kind in ("choice", "life"):
            return {"type": "string", "enum": list(spec.options)}
        if spec.kind in ("integer", "number"):
            return self._number_schema(spec, body)
        if spec.kind == "tally":
            kind = "number" if spec.tally and spec.tally.field else "integer"
            if kind == "number" and self.factors["number_style"] == "decimal_strings":
                return {"type": "string", "maxLength": 24}
            return {"type": kind} if kind == "number" else {"type": kind, "minimum": 0}
        if spec.kind == "boolean":
            return {"type": "boolean"}
        if spec.kind in ("date", "time"):
            return self._moment_schema(spec.kind)
        if spec.kind == "ref":
            return self.id_schema()
        if spec.kind == "list" and spec.item is not None:
            low, high = (0, LIST_MOST) if body else spec.length
            items = self._plain_schema(spec.item, body)
            return {"type": "array", "items": items, "minItems": low, "maxItems": high}
        if spec.kind == "series":
            items = {"type": "number", "minimum": spec.low, "maximum": spec.high}
            return {"type": "array", "items": items, "minItems": spec.length[0], "maxItems": spec.length[1]}
        if spec.kind in ("object", "address"):
            return self._object_schema(spec, body)
        made: dict[str, Json] = {"type": "string", "minLength": 1, "maxLength": int(spec.high or 240)}
        if spec.kind == "email":
            made["format"] = "email"
        if spec.kind == "code" and not body:
            made["pattern"] = code_pattern(spec.pattern or "")
        return made

    def _number_schema(self, spec: FieldSpec, body: bool) -> dict[str, Json]:
        if body and spec.kind == "number" and self.factors["number_style"] == "decimal_strings":
            return {"type": "string", "maxLength": 24}
        made: dict[str, Json] = {"type": spec.kind}
        for key, bound in (("minimum", spec.low), ("maximum", spec.high)):
            if bound is not None and abs(bound) < 1e11:
                made[key] = int(bound) if bound == int(bound) else bound
        return made

    def _moment_schema(self, kind: str) -> dict[str, Json]:
        style = self.factors["date_style" if kind == "date" else "time_style"]
        if style in ("epoch", "epoch_seconds"):
            return {"type": "integer", "minimum": 0, "maximum": 4102444800}
        if kind == "date" and style in _DATE_PATTERNS:
            return {"type": "string", "pattern": _DATE_PATTERNS[style], "maxLength": 10}
        if style == "space_separated":
            return {"type": "string", "pattern": _TIME_PATTERN, "maxLength": 19}
        return {"type": "string", "format": "date" if kind == "date" else "date-time", "maxLength": 32}

    def id_schema(self) -> dict[str, Json]:
        """The schema of an id."""
        if self.factors["id_style"] == "integer":
            return {"type": "integer", "minimum": 1, "maximum": 10_000_000}
        return {"type": "string", "minLength": 1, "maxLength": ID_MOST}

    def _object_schema(self, spec: FieldSpec, body: bool) -> dict[str, Json]:
        properties, required = {}, []
        for part in spec.parts:
            name = self.field_name(part)
            inner = self.schema(part, body=body)
            null = bool(part.optional)
            properties[name] = nullable(inner) if null and (self.explicit or not body) else inner
            if not null or (body and self.explicit):
                required.append(name)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def record_schema(self, resource: str, depth: int) -> dict[str, Json]:
        """The schema of a whole record in a body; references embedded `depth` deep."""
        properties: dict[str, Json] = {"id": self.id_schema()}
        required = ["id"]
        for spec, name, _ in self.fields(resource):
            embedded = spec.kind == "ref" and self.embed != "ids"
            inner = self._embed_schema(spec.of or "", depth) if embedded else self.schema(spec, body=True)
            null = bool(spec.optional) or spec.only_if is not None or spec.kind == "ref" and spec.type.nullable
            properties[name] = nullable(inner) if null and self.explicit else inner
            if self.explicit or not null:
                required.append(name)
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def _embed_schema(self, resource: str, depth: int) -> dict[str, Json]:
        if self.embed == "full" and depth > 0:
            return self.record_schema(resource, depth - 1)
        properties: dict[str, Json] = {"id": self.id_schema()}
        label = self._labels[resource]
        if label is not None:
            properties[self.field_name(label)] = self.schema(label, body=True)
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def type_schema(self, kind: Type) -> dict[str, Json]:
        """The schema of a value of an expression in a body."""
        made: dict[str, Json]
        if kind.kind == "record":
            made = self.record_schema(kind.of or "", 0)
        elif kind.kind == "ref":
            made = self.id_schema()
        elif kind.kind == "list":
            made = {"type": "array", "items": self.type_schema(kind.item or kind), "maxItems": LIST_MOST}
        elif kind.kind in ("date", "time"):
            made = self._moment_schema(kind.kind)
        elif kind.kind == "text":
            made = {"type": "string", "enum": list(kind.options)} if kind.options else {"type": "string", "maxLength": 240}
        else:
            made = {"type": {"number": "number", "integer": "integer", "boolean": "boolean"}.get(kind.kind, "string")}
        return nullable(made) if kind.nullable and self.explicit else made

    # Bodies --------------------------------------------------------------------------------------------------------

    def show_record(self, frame: Frame, resource: str, key: str, pointer: str, shown: Shown, depth: int) -> dict[str, Json]:
        """A record as JSON; notes the cells it shows."""
        record = frame.find(resource, key)
        made: dict[str, Json] = {"id": self.show_id(key)}
        shown.named.append((f"{pointer}/id", (resource, key)))
        if record is None:
            return made
        named = []
        for spec, name, show in self.fields(resource):
            value = record[spec.name]
            if spec.kind == "ref" and self.embed != "ids":
                place = f"{pointer}/{name}"
                made[name] = None if value is None else self._show_embedded(frame, spec.of or "", value, place, shown, depth)
                named.append((spec.name, f"{name}/id" if value is not None else name))
            else:
                made[name] = show(value)
                named.append((spec.name, name))
                if spec.kind == "ref" and spec.of is not None and value is not None:
                    shown.named.append((f"{pointer}/{name}", (spec.of, value)))
        shown.records.append((pointer, resource, key, tuple(named)))
        return made

    def _show_embedded(
        self, frame: Frame, resource: str, key: str, pointer: str, shown: Shown, depth: int
    ) -> dict[str, Json]:
        if self.embed == "full" and depth > 0:
            return self.show_record(frame, resource, key, pointer, shown, depth - 1)
        made: dict[str, Json] = {"id": self.show_id(key)}
        shown.named.append((f"{pointer}/id", (resource, key)))
        record, label = frame.find(resource, key), self._labels[resource]
        if label is not None and record is not None:
            name = self.field_name(label)
            made[name] = self.shower(label)(record[label.name])
            shown.records.append((pointer, resource, key, ((label.name, name),)))
        return made

    def show_typed(self, frame: Frame, value: Any, kind: Type, pointer: str, shown: Shown) -> Json:
        """A value of an expression as JSON."""
        if value is None:
            return None
        if kind.kind == "record":
            return self.show_record(frame, kind.of or "", value, pointer, shown, 0)
        if kind.kind == "ref":
            shown.named.append((pointer, (kind.of or "", value)))
            return self.show_id(value)
        if kind.kind == "list":
            return [
                self.show_typed(frame, item, kind.item or kind, f"{pointer}/{n}", shown)
                for n, item in enumerate(value[:LIST_MOST])
            ]
        if kind.kind in ("date", "time"):
            return self.show_moment(kind.kind, value)
        if kind.kind == "number" and isinstance(value, float):
            return round(value, 6)
        return value

    def error_message(self, outcome: Outcome) -> str:
        """The message of a refusal that the world words itself."""
        refusal = outcome.refusal
        assert refusal is not None
        if refusal.words is not None:
            return self.words(refusal.words, refusal.values)
        if refusal.code == "no_solution":
            return "No value in the allowed range gives this result."
        if refusal.code == "not_computable":
            return "The result cannot be computed for these values."
        value = refusal.detail.get("value")
        return f"{str(refusal.detail.get('resource', 'record')).replace('_', ' ').capitalize()} {value!r} exists already."


def _usual_words(spec: FieldSpec) -> str:
    """What a field without a description is said to be."""
    words = spec.name.replace("_", " ")
    if spec.kind == "ref":
        of = (spec.of or "").replace("_", " ")
        return f"id of the {of}" if spec.name == spec.of else f"{words}: id of a {of}"
    return words


def nullable(schema: dict[str, Json]) -> dict[str, Json]:
    """The schema, or null."""
    if "enum" in schema:
        return {**schema, "type": [schema["type"], "null"], "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def label_field(resource: Resource) -> FieldSpec | None:
    """The field that names a record to people: name, title, or the first unique text."""
    for name in ("name", "title", "code", "number", "label"):
        spec = resource.fields.get(name)
        if spec is not None and spec.kind in ("text", "person", "code", "choice") and not spec.optional:
            return spec
    return next((s for s in resource.fields.values() if s.unique and s.kind in ("text", "code", "person")), None)


def code_pattern(pattern: str) -> str:
    """The regular expression of a code pattern, anchored."""
    parts = {"A": "[A-Z]", "#": "[0-9]", "x": "[0-9a-f]"}
    return "^" + "".join(parts.get(char, re.escape(char) if char in ".+*?()[]{}|^$\\/" else char) for char in pattern) + "$"


def address_names() -> tuple[str, ...]:
    """The parts of an address."""
    return ADDRESS


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
            surface.show_record(frame, item.resource, item.id, f"/{surface.case(page.items)}/{n}", shown, 0)
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
            surface.show_record(frame, item.resource, item.id, f"/{word}/{n}", shown, 0)
            for n, item in enumerate(body["items"])
        ]
        made[surface.case("missing")] = [surface.show_id(key) for key in body["missing"]]
        return made, shown
    if operation.kind == "action":
        for name, expression in operation.returns:
            pointer = f"/{surface.case(name)}"
            made[surface.case(name)] = surface.show_typed(frame, body[name], expression.type, pointer, shown)
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
            whole = surface.show_record(outcome.frame, body.resource, body.id, "", Shown(), 0)
            named = []
            for spec, name, _ in surface.fields(body.resource):
                if spec.name in written and spec.kind != "ref":
                    made[name] = whole[name]
                    named.append((spec.name, name))
            shown.records.append(("", body.resource, body.id, tuple(named)))
        return made
    depth = 1 if operation.kind == "get" else 0
    return surface.show_record(outcome.frame, body.resource, body.id, "", shown, depth)


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
    world = surface.world
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
    assert world is not None
    return _object(surface, properties, optional)


def _object(surface: Surface, properties: Mapping[str, Json], optional: list[str]) -> dict[str, Json]:
    cased = {surface.case(name): schema for name, schema in properties.items()}
    required = [surface.case(name) for name in properties if name not in optional]
    return {"type": "object", "properties": cased, "required": required, "additionalProperties": False}


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
