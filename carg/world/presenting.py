"""How one instance shows values and records: names in its case, dates in its style, references embedded.

A `Surface` is made once per instance. It gives JSON Schemas for what it shows, and converts canonical values to JSON
and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from carg.errors import RecordError
from carg.records import Instance, Json
from carg.world.conventions import case_words, page_words
from carg.world.functions import DAY_S, day_to_date
from carg.world.model import FieldSpec, Resource, Template, World
from carg.world.outcome import Outcome
from carg.world.setting import Setting
from carg.world.types import Type

ID_MOST = 40
LIST_MOST = 50
_DATE_PATTERNS = {"dmy_dots": r"^[0-3][0-9]\.[01][0-9]\.[0-9]{4}$", "us_slashes": r"^[01][0-9]/[0-3][0-9]/[0-9]{4}$"}
_DATE_FORMS = {"iso": "%Y-%m-%d", "dmy_dots": "%d.%m.%Y", "us_slashes": "%m/%d/%Y"}
_TIME_PATTERN = r"^[0-9]{4}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]$"
_TIME_FORMS = {
    "iso_z": "%Y-%m-%dT%H:%M:%SZ",
    "iso_offset": "%Y-%m-%dT%H:%M:%S+00:00",
    "space_separated": "%Y-%m-%d %H:%M:%S",
}
_UNIT = re.compile(r"[a-z]{1,8}")


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
        self.lines: dict[tuple[str, str], tuple[Mapping[str, Any], str]] = {}
        """The line of each record that was shown last under a resource and id; see `view`."""
        self.labels = {name: label_field(resource) for name, resource in world.resources.items()}

    def case(self, words: str) -> str:
        """snake_case words in the instance's case for fields; an id is always called id."""
        if words == "id":
            return words
        return case_words(words, self.factors["field_case"])

    def field_name(self, spec: FieldSpec, *, embedded: bool = False) -> str:
        """The presented name of a field or input."""
        if spec.kind == "ref" and not embedded:
            return self.case(f"{spec.name}{self.ref_suffix}" if not spec.name.endswith("_id") else spec.name)
        fits = self.unit_suffix and spec.kind in ("number", "integer") and _UNIT.fullmatch(spec.unit)
        if fits and not spec.name.endswith(f"_{spec.unit}"):
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

    def shower(self, spec: FieldSpec, *, body: bool = True) -> Callable[[Any], Json]:
        """A function from canonical values of the field to JSON; arguments (`body` false) take numbers as numbers."""
        if spec.kind in ("date", "time"):
            return lambda value: None if value is None else self.show_moment(spec.kind, value)
        if spec.kind == "ref":
            return self.show_id
        if spec.kind == "list" and spec.item is not None:
            inner = self.shower(spec.item, body=body)
            return lambda value: None if value is None else [inner(item) for item in value]
        if spec.kind in ("object", "address"):
            parts = [(part.name, self.field_name(part), self.shower(part, body=body)) for part in spec.parts]
            return lambda value: None if value is None else {name: show(value.get(key)) for key, name, show in parts}
        if body and spec.kind in ("number", "tally") and self.factors["number_style"] == "decimal_strings":
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
            part if isinstance(part, str) else self.words_of(values.get(part.source), part.type)
            for part in template.parts
        )

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
            # From 1900 to 2100: people are born before 1970.
            return {"type": "integer", "minimum": -2208988800, "maximum": 4102444800}
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
        return closed(properties, required)

    def record_schema(self, resource: str, depth: int) -> dict[str, Json]:
        """The schema of a whole record in a body; references embedded `depth` deep."""
        properties: dict[str, Json] = {"id": self.id_schema()}
        required = ["id"]
        for spec, name, _ in self.fields(resource):
            embedded = spec.kind == "ref" and self.embed != "ids"
            inner = self._embed_schema(spec.of or "", depth) if embedded else self.schema(spec, body=True)
            null = bool(spec.optional) or spec.only_if is not None or (spec.kind == "ref" and spec.type.nullable)
            properties[name] = nullable(inner) if null and self.explicit else inner
            if self.explicit or not null:
                required.append(name)
        return closed(properties, required)

    def _embed_schema(self, resource: str, depth: int) -> dict[str, Json]:
        if self.embed == "full" and depth > 0:
            return self.record_schema(resource, depth - 1)
        properties: dict[str, Json] = {"id": self.id_schema()}
        label = self.labels[resource]
        if label is not None:
            properties[self.field_name(label)] = self.schema(label, body=True)
        return closed(properties, list(properties))

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
            made = (
                {"type": "string", "enum": list(kind.options)} if kind.options else {"type": "string", "maxLength": 240}
            )
        else:
            made = {"type": {"number": "number", "integer": "integer", "boolean": "boolean"}.get(kind.kind, "string")}
        return nullable(made) if kind.nullable and self.explicit else made

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
        return (
            f"{str(refusal.detail.get('resource', 'record')).replace('_', ' ').capitalize()} {value!r} exists already."
        )


def _usual_words(spec: FieldSpec) -> str:
    """What a field without a description is said to be."""
    words = spec.name.replace("_", " ")
    if spec.kind == "ref":
        of = (spec.of or "").replace("_", " ")
        return f"id of the {of}" if spec.name == spec.of else f"{words}: id of a {of}"
    return words


def closed(properties: dict[str, Json], required: list[str]) -> dict[str, Json]:
    """The schema of an object that has these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


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
    parts = {"A": "[A-Z]", "#": "[0-9]", "x": "[0-9a-f]"} | {char: re.escape(char) for char in ".+*?()[]{}|^$\\/"}
    return f"^{''.join(parts.get(char, char) for char in pattern)}$"
