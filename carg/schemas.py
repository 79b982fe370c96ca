"""JSON Schema 2020-12: is a value valid, which faults has a call, is a schema sound, what do defaults add.

Verdicts are those of `referee`; here stand the faults in their order, the soundness of schemas, and defaults.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from carg.errors import RecordError
from carg.records import FAULT_ORDER, Json, Violation, canonical
from carg.referee import COMPILED, Compiled, compile_schema, matcher, short, spell

MAX_SCHEMA_BYTES = 65_536
"""The largest real definition in 5,000 read had 40 kB."""
MAX_DEPTH = 24
MAX_PATTERN = 400
MAX_LEAST = {"minItems": 1000, "minProperties": 1000, "minLength": 10_000}
"""The most that a schema may ask for at least: a value must be drawn for it."""

CODES = {
    "schema.missing": "missing_parameter",
    "schema.unknown": "unknown_parameter",
    "schema.type": "wrong_type",
    "schema.enum": "not_in_enum",
    "schema.range": "out_of_range",
    "schema.format": "bad_format",
}
"""The code that `faults` gives to each class."""

Path = tuple[str | int, ...]
"""Where a value stands in another: property names and indices."""

_FAULT_OF = (
    dict.fromkeys(("required", "dependentRequired"), "schema.missing")
    | dict.fromkeys(("additionalProperties", "unevaluatedProperties", "propertyNames", "falseSchema"), "schema.unknown")
    | dict.fromkeys(("enum", "const", "not"), "schema.enum")
    | dict.fromkeys(("pattern", "format", "contentEncoding", "contentMediaType"), "schema.format")
    | dict.fromkeys(("type", "oneOf", "anyOf"), "schema.type")
)
"""Keywords not named here bound a size: schema.range."""

_BOUNDED_FORMATS = ("date", "date-time", "time", "uuid", "ipv4", "ipv6")
SUBSCHEMAS = (
    *("items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "contains", "propertyNames"),
    *("not", "if", "then", "else"),
)
SUBSCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
SUBSCHEMA_MAPS = ("properties", "patternProperties", "$defs", "dependentSchemas", "definitions")
"""Keywords whose value is a schema, a list of schemas, a map of names to schemas."""
_INNER = frozenset((*SUBSCHEMAS, *SUBSCHEMA_LISTS, *SUBSCHEMA_MAPS))


@dataclass(frozen=True, slots=True)
class Validator:
    """A compiled schema; take it from `validator`. Holding it saves a microsecond or two a call."""

    pair: Compiled

    def is_valid(self, value: Json) -> bool:
        """Whether the value fits. Raises RecordError where the two validators disagree."""
        return self.pair.is_valid(value)

    def faults(self, value: Json) -> tuple[Violation, ...]:
        """Every fault, one a field (the first in FAULT_ORDER), ordered by FAULT_ORDER, then as the schema does.

        The order of the keys in the value plays no part: parameters that the schema does not name go by their names.
        Of anyOf and oneOf the branch that the value comes closest to is judged: not one refused for its type or
        its constants while another is not, then the one with the fewest faults. If the type fits none: schema.type.
        Too many branches that match are schema.type; `not` is schema.enum. `field` is dotted, items are [0], None
        is the value itself.
        """
        if self.is_valid(value):
            return ()
        found: dict[Path, str] = {}
        for fault, path in (item for error in self.pair.fast.iter_errors(value) for item in _judge(error)):
            if path not in found or _rank(fault) < _rank(found[path]):
                found[path] = fault
        order = sorted(found, key=lambda path: (_rank(found[path]), _position(self.pair.schema, path), _dotted(path)))
        return tuple(Violation(CODES[found[path]], found[path], _dotted(path)) for path in order)


def validator(schema: Json) -> Validator:
    """The compiled schema, from a cache keyed by its bytes, so a changed schema is another one.

    Raises RecordError when the schema is not sound 2020-12 or refers to another document.
    """
    return _validator(spell(schema))


def is_valid(schema: Json, value: Json) -> bool:
    """Whether the value fits the schema, formats included. Errors as `validator` and `Validator.is_valid`."""
    return _validator(spell(schema)).is_valid(value)


def faults(schema: Json, value: Json) -> tuple[Violation, ...]:
    """Every schema fault of the value, the one that a tool reports first; see `Validator.faults`."""
    return _validator(spell(schema)).faults(value)


@lru_cache(COMPILED)
def _validator(spelling: bytes) -> Validator:
    return Validator(compile_schema(spelling))


def resolve(root: Json, node: Json) -> dict[str, Json]:
    """The schema with its local $ref followed and laid under its own keywords; {} for `true` and unknown references."""
    seen = 0
    while isinstance(node, dict) and isinstance(node.get("$ref"), str) and (seen := seen + 1) < MAX_DEPTH:
        target = _point(root, node["$ref"])
        own = {key: item for key, item in node.items() if key != "$ref"}
        node = {**target, **own} if isinstance(target, dict) else own
    return node if isinstance(node, dict) else {}


def apply_defaults(schema: Json, value: Json) -> Json:
    """A copy of the value in which absent properties have the default that the schema states, nested ones too."""
    return _with_defaults(schema, schema, value)


def canonical_arguments(schema: Json, value: Json) -> bytes:
    """The one spelling of arguments: defaults filled in, keys sorted, whole numbers as integers."""
    filled = apply_defaults(schema, value)
    try:
        return canonical(filled)
    except (TypeError, ValueError) as fault:  # integers beyond 64 bits
        raise RecordError(f"arguments cannot be written: {fault}", "leave the call out") from fault


def schema_complaints(schema: Json, *, bounded: bool, parameters: bool = True) -> list[str]:
    """What is wrong with a schema, in words; [] when it is sound.

    `parameters`: it must describe an object. `bounded`: strings, arrays and objects must end, so that decoding under
    it does. References leave no document and lead somewhere; patterns are short and mean the same to both validators.
    """
    if not isinstance(schema, dict):
        return [f"a schema is an object, not {short(schema)}"]
    if (size := len(spell(schema))) > MAX_SCHEMA_BYTES:
        return [f"{size} bytes, at most {MAX_SCHEMA_BYTES}"]
    if _depth(schema) > MAX_DEPTH:
        return [f"nested deeper than {MAX_DEPTH}"]
    complaints = [f"top is {short(schema.get('type'))}, not object"] if parameters and not _is_object(schema) else []
    for path, node in walk(schema):
        texts = [] if _JUDGED.isdisjoint(node) else [*_complain(schema, node)]
        texts += _unbounded(resolve(schema, node)) if bounded else ()
        complaints += [f"{path or '/'}: {text}" for text in texts]
    if not complaints:
        try:
            validator(schema)
        except RecordError as fault:
            complaints.append(fault.message)
    return complaints


def walk(schema: Json, path: str = "") -> Iterator[tuple[str, dict[str, Json]]]:
    """Every schema inside a schema, itself first, with its JSON pointer; references are not followed."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    if _INNER.isdisjoint(schema):  # A leaf, as most are.
        return
    for key in SUBSCHEMAS:
        yield from walk(schema.get(key), f"{path}/{key}")
    for key in SUBSCHEMA_LISTS:
        for index, item in enumerate(_of(schema.get(key), list)):
            yield from walk(item, f"{path}/{key}/{index}")
    for key in SUBSCHEMA_MAPS:
        for name, item in _of(schema.get(key), dict).items():
            yield from walk(item, f"{path}/{key}/{name}")


def types_of(schema: dict[str, Json]) -> tuple[str, ...]:
    """The types that a schema names; () where it names none."""
    named = schema.get("type")
    return (named,) if isinstance(named, str) else tuple(named or ())


def _judge(error: Any) -> list[tuple[str, Path]]:
    """The (fault, path) pairs that one error of jsonschema-rs stands for."""
    kind, path = error.kind, tuple(error.instance_path)
    if branches := [branch for branch in getattr(kind, "context", ()) if branch]:
        return _closest([[item for inner in branch for item in _judge(inner)] for branch in branches], path)
    fault = _FAULT_OF.get(kind.name, "schema.range")
    if kind.name in ("required", "dependentRequired"):
        return [(fault, (*path, kind.property))]
    if kind.name in ("additionalProperties", "unevaluatedProperties"):
        return [(fault, (*path, name)) for name in kind.unexpected]
    return [(fault, (*path, kind.error.instance) if kind.name == "propertyNames" else path)]


def _closest(branches: list[list[tuple[str, Path]]], path: Path) -> list[tuple[str, Path]]:
    fitting = [branch for branch in branches if ("schema.type", path) not in branch]
    if not fitting:
        return [("schema.type", path)]
    return min(fitting, key=lambda branch: (sum(fault == "schema.enum" for fault, _ in branch), len(branch)))


def _rank(fault: str) -> int:
    return FAULT_ORDER.index(fault)


def _dotted(path: Path) -> str | None:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".") or None


def _position(root: Json, path: Path) -> tuple[int, ...]:
    """Where a path stands in the schema's own order; what the schema does not name comes last."""
    node, places = resolve(root, root), []
    for step in path:
        names = _of(node.get("properties"), dict)
        places.append(step if isinstance(step, int) else list(names).index(step) if step in names else len(names))
        node = resolve(root, node.get("items") if isinstance(step, int) else names.get(step))
    return tuple(places)


def _with_defaults(root: Json, schema: Json, value: Json) -> Json:
    node = resolve(root, schema)
    if isinstance(value, list):
        return [_with_defaults(root, node.get("items"), item) for item in value]
    if not isinstance(value, dict):
        return value
    known = _of(node.get("properties"), dict)
    filled = {key: _with_defaults(root, known.get(key), item) for key, item in value.items()}
    absent = {key: resolve(root, item) for key, item in known.items() if key not in value}
    return filled | {key: copy.deepcopy(item["default"]) for key, item in absent.items() if "default" in item}


_JUDGED = frozenset(("$ref", "$dynamicRef", "pattern", "patternProperties", *MAX_LEAST))
"""The keywords that `_complain` looks at."""


def _complain(root: Json, node: dict[str, Json]) -> Iterator[str]:
    for key in ("$ref", "$dynamicRef"):
        ref = node.get(key)
        if isinstance(ref, str) and not ref.startswith("#"):
            yield f"remote reference {short(ref)}"
        elif key == "$ref" and isinstance(ref, str) and "$ref" in resolve(root, node):
            yield f"{short(ref)} refers to itself"
    for pattern in [node.get("pattern"), *_of(node.get("patternProperties"), dict)]:
        if isinstance(pattern, str) and (complaint := _complain_of_pattern(pattern)):
            yield complaint
    for key, most in MAX_LEAST.items():
        if isinstance(node.get(key), int | float) and node[key] > most:
            yield f"{key} {node[key]}, at most {most}"


def _complain_of_pattern(pattern: str) -> str | None:
    if len(pattern) > MAX_PATTERN:
        return f"a pattern of {len(pattern)} characters, at most {MAX_PATTERN}"
    try:
        matcher(pattern)
    except (re.error, ValueError, OverflowError) as fault:
        return f"pattern {short(pattern)}: {fault}"[:200]
    return None


def _unbounded(node: dict[str, Json]) -> Iterator[str]:
    if node.keys() & {"enum", "const", "anyOf", "oneOf", "allOf", "not", "if"}:
        return
    types = types_of(node)
    if not types:
        yield "no type, so without bounds"
    if "string" in types and "maxLength" not in node and node.get("format") not in _BOUNDED_FORMATS:
        yield "a string without maxLength"
    if "array" in types and "maxItems" not in node and node.get("items") is not False:
        yield "an array without maxItems"
    if "object" in types and node.get("additionalProperties") is not False and "maxProperties" not in node:
        yield "an object without additionalProperties false"


def _is_object(schema: dict[str, Json]) -> bool:
    return types_of(resolve(schema, schema)) == ("object",)


def _point(root: Json, ref: str) -> Json:
    """What a local JSON pointer leads to; None where it leads nowhere."""
    node = root
    for step in ref.split("/")[1:] if ref.startswith("#") else ("",):
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list) and step.isdigit() and int(step) < len(node):
            node = node[int(step)]
        else:
            node = node.get(step) if isinstance(node, dict) else None
    return node


def _depth(value: Json) -> int:
    level, items = 0, [value]
    while items:
        level += 1
        items = [
            inner
            for item in items
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return level


def _of(value: Json, kind: type) -> Any:
    """The value where it is of that kind, else an empty one: schemas are judged before they are known to be sound."""
    return value if isinstance(value, kind) else kind()
