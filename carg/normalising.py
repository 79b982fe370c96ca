"""A schema as people write it, brought to JSON Schema 2020-12: foreign type names, older drafts, OpenAPI's own keys.

Only what has one meaning is changed; what is left unsound is for `schemas.schema_complaints` to name.
"""

from __future__ import annotations

from typing import Any

from carg.errors import RecordError
from carg.records import Json
from carg.schemas import MAX_DEPTH, SUBSCHEMA_LISTS, SUBSCHEMA_MAPS, SUBSCHEMAS, validator

_NAMES = {
    "object": "object dict hashmap map struct json record",
    "array": "array list arraylist tuple set vector",
    "string": "string str char text varchar",
    "number": "number float double decimal numeric",
    "integer": "integer int long short byte bigint int32 int64",
    "boolean": "boolean bool",
    "null": "null none nonetype",
    "": "any unknown mixed",
}
TYPES = {name: kind for kind, names in _NAMES.items() for name in names.split()} | {"": ""}
"""JSON types by the names that tool lists give them, lower-case; "" is any type."""

_FORMAT_TYPES = ("date", "date-time", "time", "uuid", "uri", "email")
_DROPPED = {"$schema", "$id", "id", "optional", "nullable", "example", "definitions", "dependencies", "additionalItems"}
_DROPPED |= {"xml", "externalDocs", "discriminator", "strict"}


def normalise_schema(schema: Json, *, level: int = 0) -> dict[str, Json]:
    """The schema in 2020-12. Raises RecordError where a type or its nesting is not understood."""
    if schema is False:
        return {"not": {}}
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise RecordError(f"a schema is an object, not {str(schema)[:60]!r}")
    if level > MAX_DEPTH:
        raise RecordError(f"nested deeper than {MAX_DEPTH}")
    node = {key: item for key, item in schema.items() if key not in _DROPPED and (item is not None or key in _NULLABLE)}
    node |= _older(schema) | _typed(schema)
    if node.get("type", "-") == "":
        del node["type"]
    _lift_required(node)
    _settle_bounds(node)
    if isinstance(node.get("enum"), list):
        node["enum"] = [item for index, item in enumerate(node["enum"]) if item not in node["enum"][:index]]
    for key in [key for key in ("enum", *SUBSCHEMA_LISTS) if node.get(key) == []]:
        del node[key]
    return _sound_default(_inner(node, level))


_NULLABLE = ("default", "const")


def _inner(node: dict[str, Json], level: int) -> dict[str, Json]:
    for key in SUBSCHEMAS:
        if isinstance(node.get(key), dict):
            node[key] = normalise_schema(node[key], level=level + 1)
    for key in SUBSCHEMA_LISTS:
        if isinstance(node.get(key), list):
            node[key] = [normalise_schema(item, level=level + 1) for item in node[key]]
    for key in SUBSCHEMA_MAPS:
        if isinstance(node.get(key), dict):
            node[key] = {name: normalise_schema(item, level=level + 1) for name, item in node[key].items()}
    return node


def _typed(schema: dict[str, Json]) -> dict[str, Json]:
    """`type` and what goes with it; a type word that names a format becomes a string of that format."""
    named = schema.get("type")
    if named is None:
        return {"type": "object"} if isinstance(schema.get("properties"), dict) else {}
    words = [named] if isinstance(named, str) else named
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise RecordError(f"type {str(named)[:60]!r} is not understood")
    if isinstance(named, str) and named.lower() in _FORMAT_TYPES:
        return {"type": "string", "format": named.lower()}
    unknown = [word for word in words if word.lower() not in TYPES]
    if unknown:
        raise RecordError(f"type {unknown[0][:60]!r} is not understood")
    kinds = list(dict.fromkeys(TYPES[word.lower()] for word in words))
    if schema.get("nullable") is True and "null" not in kinds:
        kinds.append("null")
    return {"type": "" if "" in kinds else kinds[0] if len(kinds) == 1 else kinds}


def _older(schema: dict[str, Json]) -> dict[str, Json]:
    """What drafts 3 to 7 and OpenAPI 3.0 spelled otherwise."""
    made: dict[str, Any] = {}
    if isinstance(schema.get("items"), list):
        made |= {"prefixItems": schema["items"], "items": schema.get("additionalItems", {})}
    if isinstance(schema.get("definitions"), dict):
        made["$defs"] = {**schema["definitions"], **(schema.get("$defs") or {})}
    if isinstance(ref := schema.get("$ref"), str) and ref.startswith("#/definitions/"):
        made["$ref"] = ref.replace("#/definitions/", "#/$defs/", 1)
    if isinstance(needs := schema.get("dependencies"), dict):
        made["dependentRequired"] = {key: item for key, item in needs.items() if isinstance(item, list)}
        made["dependentSchemas"] = {key: item for key, item in needs.items() if isinstance(item, dict)}
    if "example" in schema and "examples" not in schema:
        made["examples"] = [schema["example"]]
    elif "examples" in schema and not isinstance(schema["examples"], list):
        made["examples"] = [schema["examples"]]
    return made


def _lift_required(node: dict[str, Json]) -> None:
    """`required` and `optional` inside a property move to the object that has it."""
    known = node["properties"] if isinstance(node.get("properties"), dict) else {}
    marks = {name: item for name, item in known.items() if isinstance(item, dict)}
    listed = node["required"] if isinstance(node.get("required"), list) else []
    needed = [*listed, *(name for name, item in marks.items() if item.get("required") in (True, "true"))]
    optional = {name for name, item in marks.items() if item.get("optional") is True}
    node.pop("required", None)
    if needed := [name for name in dict.fromkeys(map(str, needed)) if name not in optional]:
        node["required"] = needed


def _settle_bounds(node: dict[str, Json]) -> None:
    """Draft 4's `exclusiveMinimum: true` becomes the bound itself."""
    for bound, strict in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(node.get(strict), bool) and node.pop(strict) and bound in node:
            node[strict] = node.pop(bound)


def _sound_default(node: dict[str, Json]) -> dict[str, Json]:
    """The schema without a default or examples that it would refuse itself, where that can be told here."""
    if not node.keys() & {"default", "examples"} or "$ref" in str(node):
        return node
    bare = {key: item for key, item in node.items() if key not in ("default", "examples")}
    try:
        compiled = validator(bare)
        if "default" in node and compiled.is_valid(node["default"]):
            bare["default"] = node["default"]
        if sound := [item for item in node.get("examples", ()) if compiled.is_valid(item)]:
            bare["examples"] = sound
    except RecordError:  # unsound in itself: its complaint is made where all are
        return node
    return bare
