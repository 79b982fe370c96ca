"""Reading the fields of a domain file: each entry of `fields` or `inputs` becomes a FieldSpec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from carg.errors import ExpressionError
from carg.world.model import FieldSpec, Grammar
from carg.world.reading import NAME, RESERVED, Reader, did_you_mean, is_number
from carg.world.types import Expression, Scope, Type, join_types

ADDRESS = ("street", "postal_code", "city", "country")
KIND_KEYS = (
    "text choice vocab integer number boolean date time ref list object person phone email address code series life "
    "count sum like"
).split()
COMMON = ("about", "unit", "optional", "unique", "written_by", "start", "only_if", "default", "by", "options", "ranges")
EXTRA = {
    "integer": ("shape", "middle", "step"),
    "number": ("shape", "middle", "step", "decimals"),
    "ref": ("shape",),
    "list": ("length",),
    "series": ("length", "step", "decimals"),
    "life": ("starts",),
    "count": ("by", "where"),
    "sum": ("by", "where"),
}
SHAPES = ("uniform", "normal", "lognormal", "zipf", "heaped")
WRITERS = ("create", "update", "actions", "system")
DAYS = {"past": (-400.0, 0.0), "future": (0.0, 200.0), "any": (-400.0, 200.0), "now": (0.0, 0.0)}
BOUND_MOST = 1e15
"""Bounds of numbers lie below it, so that whole ones are exact."""
DAYS_MOST = 60_000
"""How far from now a date may lie: 164 years."""
TEXT_LENGTH = 240
"""Longest text a field takes, in characters; bounds decoding under the schema."""


@dataclass(slots=True)
class Words:
    """What the file's fields may draw words from, and what they may refer to."""

    vocab: Mapping[str, tuple[tuple[str, float], ...]]
    grammars: Mapping[str, Grammar]
    resources: tuple[str, ...]
    later: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """(resource, field, raw entry) whose expressions are compiled when all types are known."""


def read_field(
    reader: Reader, entry: str, name: str, raw: Any, words: Words, known: Mapping[str, FieldSpec] | None = None
) -> FieldSpec | None:
    """The field, without its expressions. `known` are fields that `like` may name (`hive.honey`)."""
    if not NAME.fullmatch(name) or name in RESERVED:
        reader.fault(entry, f"{name!r} cannot name a field: lower case, up to 48 characters, and no reserved word")
    item = reader.table(entry, raw)
    kinds = [key for key in KIND_KEYS if key in item]
    if "by" in item and ("count" in item or "sum" in item):
        kinds = [key for key in kinds if key in ("count", "sum")]
    if len(kinds) != 1:
        reader.fault(entry, f"needs exactly one kind of: {', '.join(KIND_KEYS)}")
        return None
    kind = kinds[0]
    reader.table(entry, item, (kind, *COMMON, *EXTRA.get(kind, ())))
    if kind == "like":
        base = (known or {}).get(str(item["like"]))
        if base is None:
            reader.fault(entry, f"like {item['like']!r}: no such field{did_you_mean(str(item['like']), known or {})}")
            return None
        spec: FieldSpec | None = replace(
            base, name=name, optional=0.0, unique=False, start=None, only_if=None, by=None, tally=None, default=None
        )
        if base.kind == "life":
            spec = replace(base, name=name, kind="choice", moves={}, starts=None)
    else:
        spec = _READERS[kind](reader, entry, name, item, words)
    return None if spec is None else _common(reader, entry, spec, item)


def _common(reader: Reader, entry: str, spec: FieldSpec, item: dict[str, Any]) -> FieldSpec:
    optional = item.get("optional", 0.0)
    if isinstance(optional, bool):
        optional = 0.3 if optional else 0.0
    if not isinstance(optional, int | float) or not 0 <= optional < 1:
        reader.fault(entry, "optional must be a share from 0 to below 1, or true")
        optional = 0.0
    written = spec.written_by or frozenset(("create", "update"))
    if "written_by" in item:
        written = frozenset(reader.names(entry, item["written_by"], WRITERS, "writer"))
    by_range = {}
    for option, pair in reader.table(f"{entry}.ranges", item.get("ranges", {})).items():
        if (found := reader.pair(f"{entry}.ranges.{option}", pair, -BOUND_MOST, BOUND_MOST)) is not None:
            by_range[option] = found
    by_options = {
        option: reader.texts(f"{entry}.options.{option}", values)
        for option, values in reader.table(f"{entry}.options", item.get("options", {})).items()
    }
    return replace(
        spec,
        about=reader.text(f"{entry}.about", item["about"]) if "about" in item else spec.about,
        unit=str(item.get("unit", spec.unit)),
        optional=float(optional),
        unique=bool(item.get("unique", spec.unique)),
        written_by=written,
        default=_default(reader, f"{entry}.default", spec, item["default"]) if "default" in item else spec.default,
        by=item.get("by") if spec.tally is None and spec.kind not in ("tally",) else None,
        by_range=by_range,
        by_options=by_options,
    )


def _default(reader: Reader, entry: str, spec: FieldSpec, value: Any) -> Any:
    """The value as a default of the field; None where it cannot be one."""
    if spec.kind == "integer":
        return reader.whole(entry, value, int(spec.low or 0), int(spec.high or 0))
    if spec.kind == "number":
        # Shown in schemas as it stands: 4 stays 4.
        reader.number(entry, value, spec.low or 0, spec.high or 0)
        return value if is_number(value) else None
    if spec.kind == "boolean" and isinstance(value, bool):
        return value
    if spec.kind in ("choice", "life"):
        return reader.one(entry, value, spec.options, "option")
    if spec.kind in ("text", "code") and isinstance(value, str) and value:
        return value
    reader.fault(entry, f"{str(value)[:60]!r} cannot be the default of a {spec.kind}")
    return None


def _text(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    grammar = reader.one(entry, item["text"], words.grammars, "text")
    if grammar is None:
        return None
    return FieldSpec(name, "text", grammar=grammar, low=1, high=TEXT_LENGTH)


def _choice(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    pairs = reader.weighted(entry, item["choice"])
    return _options(name, pairs) if pairs else None


def _options(name: str, pairs: tuple[tuple[str, float], ...]) -> FieldSpec:
    return FieldSpec(name, "choice", options=tuple(p[0] for p in pairs), weights=tuple(p[1] for p in pairs))


def _vocab(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    vocab = reader.one(entry, item["vocab"], words.vocab, "vocab")
    return None if vocab is None else _options(name, words.vocab[vocab])


def _number(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    kind = "integer" if "integer" in item else "number"
    pair = reader.pair(entry, item[kind], -BOUND_MOST, BOUND_MOST)
    if kind == "integer" and pair is not None and any(bound != int(bound) for bound in pair):
        reader.fault(entry, "an integer has whole bounds")
    shape = item.get("shape", "uniform")
    if shape not in SHAPES:
        reader.fault(entry, f"shape {shape!r} is unknown{did_you_mean(str(shape), SHAPES)}")
    decimals = reader.whole(f"{entry}.decimals", item.get("decimals", 0 if kind == "integer" else 2), 0, 15)
    if pair is None:
        return None
    if "middle" in item:
        reader.number(f"{entry}.middle", item["middle"], *pair)
    if "step" in item:
        reader.number(f"{entry}.step", item["step"], 1e-9, BOUND_MOST)
    low, high = pair
    rest: dict[str, Any] = {"middle": item.get("middle"), "step": item.get("step"), "decimals": decimals}
    return FieldSpec(name, kind, low=low, high=high, shape=str(shape), **rest)


def _boolean(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    share = item["boolean"]
    if share is True:
        share = 0.5
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        reader.fault(entry, "boolean is the share of true, from 0 to 1")
        return None
    return FieldSpec(name, "boolean", middle=float(share))


def _moment(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    kind = "date" if "date" in item else "time"
    value = item[kind]
    pair = DAYS.get(value) if isinstance(value, str) else reader.pair(entry, value, -DAYS_MOST, DAYS_MOST)
    if pair is None:
        reader.fault(entry, f"{kind} is [least, most] days from now, or one of {', '.join(DAYS)}")
        return None
    written = frozenset(("system",)) if value == "now" else frozenset[str]()
    return FieldSpec(name, kind, low=pair[0], high=pair[1], written_by=written)


def _ref(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    of = reader.one(entry, item["ref"], words.resources, "resource")
    return None if of is None else FieldSpec(name, "ref", of=of, shape=str(item.get("shape", "uniform")))


def _list(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    inner = read_field(reader, f"{entry}.list", "item", item["list"], words)
    pair = reader.pair(f"{entry}.length", item.get("length", [0, 4]), 0, 50)
    if inner is None or pair is None:
        return None
    if inner.kind in ("list", "object", "address", "series"):
        reader.fault(entry, "a list holds plain values")
        return None
    return FieldSpec(name, "list", item=inner, length=(int(pair[0]), int(pair[1])))


def _object(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    parts = [
        read_field(reader, f"{entry}.{part}", part, raw, words)
        for part, raw in reader.table(entry, item["object"]).items()
    ]
    good = tuple(part for part in parts if part is not None)
    if any(part.kind in ("object", "life", "tally", "ref", "address") for part in good):
        reader.fault(entry, "an object holds plain values and lists of them")
    return FieldSpec(name, "object", parts=good) if good else None


def _code(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    pattern = reader.text(entry, item["code"], most=40)
    return FieldSpec(name, "code", pattern=pattern, low=len(pattern), high=len(pattern))


def _series(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    pair = reader.pair(entry, item["series"], -BOUND_MOST, BOUND_MOST)
    length = reader.pair(f"{entry}.length", item.get("length", [12, 12]), 1, 72)
    if pair is None or length is None:
        reader.fault(entry, "series = [least, most] with length = [n, m] of at most 72")
        return None
    step = reader.number(f"{entry}.step", item.get("step", (pair[1] - pair[0]) / 10), 0, BOUND_MOST)
    decimals = reader.whole(f"{entry}.decimals", item.get("decimals", 1), 0, 10)
    (low, high), size = pair, (int(length[0]), int(length[1]))
    return FieldSpec(name, "series", low=low, high=high, step=step, length=size, decimals=decimals)


def _life(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    moves = {state: reader.texts(f"{entry}.{state}", to) for state, to in reader.table(entry, item["life"]).items()}
    starts = item.get("starts", next(iter(moves), None))
    for to in (*[state for targets in moves.values() for state in targets], starts):
        if to not in moves:
            reader.fault(entry, f"state {to!r} is not listed{did_you_mean(str(to), moves)}")
    written = frozenset(("actions",))
    return FieldSpec(name, "life", options=tuple(moves), moves=moves, starts=starts, written_by=written)


def _tally(reader: Reader, entry: str, name: str, item: dict[str, Any], words: Words) -> FieldSpec | None:
    what = str(item.get("count", item.get("sum")))
    resource = what.split(".")[0]
    if resource not in words.resources or ("sum" in item) != ("." in what) or not isinstance(item.get("by"), str):
        reader.fault(
            entry, "count = 'resource' or sum = 'resource.field', with by = the field that refers to this record"
        )
        return None
    return FieldSpec(name, "tally", written_by=frozenset(("system",)), decimals=2 if "sum" in item else 0)


_READERS: Mapping[str, Any] = {
    "text": _text,
    "choice": _choice,
    "vocab": _vocab,
    "integer": _number,
    "number": _number,
    "boolean": _boolean,
    "date": _moment,
    "time": _moment,
    "ref": _ref,
    "list": _list,
    "object": _object,
    "person": lambda reader, entry, name, item, words: FieldSpec(name, "person", low=3, high=60),
    "phone": lambda reader, entry, name, item, words: FieldSpec(name, "phone", low=3, high=24),
    "email": lambda reader, entry, name, item, words: FieldSpec(
        name, "email", low=3, high=80, of=item["email"] if isinstance(item["email"], str) else None
    ),
    "address": lambda reader, entry, name, item, words: FieldSpec(
        name, "address", parts=tuple(FieldSpec(part, "text", low=1, high=60) for part in ADDRESS)
    ),
    "code": _code,
    "series": _series,
    "life": _life,
    "count": _tally,
    "sum": _tally,
}


def field_types(fields: Mapping[str, FieldSpec], raw: Mapping[str, Any]) -> dict[str, Type]:
    """The types expressions see: each field, each part of an object by its dotted name, and `id`."""
    types = {"id": Type("text")}
    for name, spec in fields.items():
        null = "only_if" in raw.get(name, {})
        kind = spec.type.or_null(null)
        if spec.kind == "tally" and "sum" in raw.get(name, {}):
            kind = Type("number")
        types[name] = kind
        for part in spec.parts:
            types[f"{name}.{part.name}"] = part.type.or_null(kind.nullable)
    return types


def finish_field(reader: Reader, entry: str, spec: FieldSpec, raw: Mapping[str, Any], scope: Scope) -> FieldSpec:
    """The field with its `start` and `only_if` compiled."""
    start = only_if = None
    if "start" in raw:
        source = raw["start"]
        # A bare word that is one of the options is that option: start = "active" reads as people write it.
        if isinstance(source, str) and source in spec.options:
            source = repr(source)
        start = reader.expression(f"{entry}.start", source, scope)
        if start is not None and spec.kind not in ("object", "address"):
            _check_start(reader, f"{entry}.start", spec, start)
    if "only_if" in raw:
        only_if = reader.expression(f"{entry}.only_if", raw["only_if"], scope, "boolean")
    if spec.by is not None:
        reader.one(f"{entry}.by", spec.by, scope.names, "field before it")
    return replace(spec, start=start, only_if=only_if)


def _check_start(reader: Reader, entry: str, spec: FieldSpec, start: Expression) -> None:
    """Fault a start that the field cannot hold."""
    try:
        join_types(spec.type, start.type)
        if spec.type.options and start.type.options and not set(start.type.options) <= set(spec.type.options):
            raise ExpressionError(f"{', '.join(start.type.options)} is not among {', '.join(spec.type.options)}")
    except ExpressionError as fault:
        reader.fault(entry, f"`{start.source}` does not fit a {spec.type}: {fault.message}")
