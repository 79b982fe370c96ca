"""A valid, natural-looking value for a schema: arguments for tools that no world stands behind.

Names and descriptions choose the words (`vocabulary`), bounds and patterns are kept, and the result is verified.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from carg.errors import RecordError
from carg.patterns import draw_match
from carg.records import Json
from carg.schemas import is_valid, resolve, types_of, validator
from carg.vocabulary import WORDS, Scene, draw_kind, draw_number, draw_scene, draw_word

ATTEMPTS = 12
"""Draws before a schema is given up: of those that succeed at all, 99 % do so within four (measured on real tools)."""
MAX_NESTING = 8
"""Deeper than this only required properties and empty arrays are drawn, so that recursive schemas end."""
NULL_SHARE = 0.1

Hints = Mapping[str, Sequence[Json]]
"""Values to prefer, by property name: ids that are known, values of a lexicon."""


@dataclass(frozen=True, slots=True)
class _Draw:
    """What one draw needs everywhere."""

    root: dict[str, Json]
    rng: Random
    scene: Scene
    hints: Hints
    boundary: bool
    optional: float
    name: str = "value"
    level: int = 0


def fill(
    schema: dict[str, Json],
    rng: Random,
    *,
    hints: Hints | None = None,
    boundary: bool = False,
    optional: float | None = None,
) -> Json:
    """A value that is valid under the schema; `boundary` puts what is bounded at a bound.

    Optional properties come with probability `optional` (drawn for the whole value where it is None).
    Raises RecordError, naming the fault, for a schema that none of the attempts met.
    """
    compiled, why = validator(schema), ""
    for attempt in range(ATTEMPTS):
        share = optional if optional is not None else rng.choice((0.0, 0.3, 0.6, 0.9))
        draw = _Draw(schema, rng, draw_scene(rng), hints or {}, boundary and attempt < ATTEMPTS // 2, share)
        try:
            value = _fill(draw, schema)
        except RecordError as fault:
            why = fault.message
            continue
        if found := compiled.faults(value):
            why = f"{found[0].code} at {found[0].field or 'the top'}"
            continue
        return value
    raise RecordError(f"no valid value found in {ATTEMPTS} draws: {why}", "give the tool examples, or leave it out")


def fill_one(schema: dict[str, Json], name: str, rng: Random) -> Json:
    """A value for the schema of one parameter, under its name; not verified."""
    return _fill(_Draw(schema, rng, draw_scene(rng), {}, boundary=False, optional=0.3, name=name), schema)


def flatten(root: dict[str, Json], schema: Json, rng: Random | None = None, *, level: int = 0) -> dict[str, Json]:
    """The schema with references followed, allOf merged, and one branch of anyOf and oneOf taken.

    Without rng the first branch is taken.
    A branch that is only `null` is taken in one of ten.
    """
    node = resolve(root, schema)
    if level > MAX_NESTING:
        return node
    for part in node.get("allOf", ()):
        node = _merge(
            {key: item for key, item in node.items() if key != "allOf"}, flatten(root, part, rng, level=level + 1)
        )
    for key in ("anyOf", "oneOf"):
        if branches := [branch for branch in node.get(key, ()) if branch is not False]:
            rest = {name: item for name, item in node.items() if name != key}
            node = _merge(rest, flatten(root, _choose(root, branches, rng), rng, level=level + 1))
    return node


def _choose(root: dict[str, Json], branches: list[Json], rng: Random | None) -> Json:
    full = [branch for branch in branches if types_of(resolve(root, branch)) != ("null",)] or branches
    if rng is None:
        return full[0]
    return rng.choice(branches if rng.random() < NULL_SHARE * len(branches) else full)


def _merge(first: dict[str, Json], second: dict[str, Json]) -> dict[str, Json]:
    both = {**first, **second}
    if "properties" in first and "properties" in second:
        shared = {
            name: {"allOf": [first["properties"][name], second["properties"][name]]}
            for name in first["properties"].keys() & second["properties"].keys()
        }
        both["properties"] = {**first["properties"], **second["properties"], **shared}
    both["required"] = [*dict.fromkeys([*first.get("required", ()), *second.get("required", ())])]
    for keys, tighter in ((("minimum", "minLength", "minItems"), max), (("maximum", "maxLength", "maxItems"), min)):
        both.update({key: tighter(first[key], second[key]) for key in keys if key in first and key in second})
    if "enum" in first and "enum" in second:
        both["enum"] = [item for item in first["enum"] if item in second["enum"]]
    if "type" in first and "type" in second:
        both["type"] = [item for item in types_of(first) if item in types_of(second)] or second["type"]
    return both


def _fill(draw: _Draw, schema: Json) -> Json:
    if schema is False:
        raise RecordError(f"nothing is valid for {draw.name}", "")
    node = flatten(draw.root, schema, draw.rng)
    if "const" in node:
        return node["const"]
    if "enum" in node:
        return draw.rng.choice(_allowed(node, draw.name))
    kind = _kind(node, draw.rng)
    if kind not in ("object", "array", "null") and (given := _given(draw, node, kind)) is not None:
        return given
    return _FILLERS[kind](draw, node)


def _allowed(node: dict[str, Json], name: str) -> list[Json]:
    """The values of an enum that its type does not refuse: real lists have integers with an enum of texts."""
    kept = [item for item in node["enum"] if is_valid({"type": node.get("type", _ANY)}, item)]
    if not kept:
        raise RecordError(f"no value of the enum of {name} has its type", "mend the definition")
    return kept


_ANY = ["null", "boolean", "object", "array", "number", "string"]


def _given(draw: _Draw, node: dict[str, Json], kind: str) -> Json:
    """A value that a hint, the examples or the default offer, in some cases; None for none."""
    for offers, share in (
        (draw.hints.get(draw.name, ()), 0.7),
        (node.get("examples", ()), 0.6),
        ((node["default"],) if node.get("default") not in (None, "") else (), 0.15),
    ):
        if offers and not draw.boundary and draw.rng.random() < share:
            sound = [item for item in offers if item is not None and validator(node).is_valid(item)]
            return draw.rng.choice(sound) if sound else None
    return None


def _kind(node: dict[str, Json], rng: Random) -> str:
    named = types_of(node)
    full = [name for name in named if name != "null"]
    if named:
        return "null" if not full or ("null" in named and rng.random() < NULL_SHARE) else rng.choice(full)
    for kind, keys in _TELLING.items():
        if node.keys() & keys:
            return kind
    return "string"


_TELLING = {
    "object": {"properties", "additionalProperties", "patternProperties", "minProperties"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "contains"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
}
"""Keywords that tell the type where none is named; required alone does not make an object of a value."""


def _fill_object(draw: _Draw, node: dict[str, Json]) -> Json:
    known: dict[str, Json] = node.get("properties") or {}
    required = [*node.get("required", ())]
    share = draw.optional if draw.level < MAX_NESTING else 0.0
    wanted = {key for key in known if key in required or (known[key] is not False and draw.rng.random() < share)}
    for key in sorted(wanted | set(required)):
        wanted |= {key, *(node.get("dependentRequired") or {}).get(key, ())}
    spare = [key for key in known if key not in wanted and known[key] is not False]
    wanted.update(spare[: max(0, node.get("minProperties", 0) - len(wanted))])
    rest = node.get("additionalProperties", True)
    value = {
        key: _fill(replace(draw, name=key, level=draw.level + 1), known.get(key, rest))
        for key in [*(key for key in known if key in wanted), *sorted(wanted - known.keys())]
    }
    return (
        value | _fill_open(draw, node, len(value)) if not known or len(value) < node.get("minProperties", 0) else value
    )


def _fill_open(draw: _Draw, node: dict[str, Json], have: int) -> dict[str, Json]:
    """Entries of an object whose property names are free."""
    patterns, rest = node.get("patternProperties") or {}, node.get("additionalProperties", True)
    if (
        "additionalProperties" not in node
        and ("properties" in node or not draw.level)
        and not node.get("minProperties")
    ):
        return {}  # nobody would invent a parameter
    if (rest is False and not patterns) or draw.level >= MAX_NESTING or node.get("maxProperties", 1) <= have:
        return {}
    count = max(node.get("minProperties", 0) - have, min(draw.rng.randint(1, 2), node.get("maxProperties", 2)))
    if rest is not False:
        names = draw.rng.sample(WORDS["key"] + WORDS["noun"], min(count, len(WORDS["key"] + WORDS["noun"])))
    else:
        names = [draw_match(pattern, draw.rng) for pattern in patterns]
    inner = rest if rest is not False else next(iter(patterns.values()))
    return {name: _fill(replace(draw, name=name, level=draw.level + 1), inner) for name in names}


def _fill_array(draw: _Draw, node: dict[str, Json]) -> Json:
    least, most = node.get("minItems", 0), node.get("maxItems", max(node.get("minItems", 0), 3))
    first = node.get("prefixItems") or []
    items = node.get("items", True)
    if draw.level >= MAX_NESTING:
        size = least
    elif draw.boundary and ("minItems" in node or node.get("maxItems", 99) <= 12):
        size = draw.rng.choice([node[key] for key in ("minItems", "maxItems") if node.get(key, 99) <= 12] or [least])
    else:
        size = draw.rng.randint(max(least, min(1, most)), max(least, min(most, 3, least + 3)))
    size = max(size, len(first) if items is False else min(len(first), most))
    inner = replace(draw, name=draw.name.removesuffix("s"), level=draw.level + 1)
    value = [_fill(inner, schema) for schema in first[:size]]
    for _ in range(size * 6):
        if len(value) >= size or items is False:
            break
        item = _fill(inner, items)
        if not node.get("uniqueItems") or item not in value:
            value.append(item)
    if "contains" in node and value:
        value[-1] = _fill(inner, node["contains"])
    return value


def _fill_number(draw: _Draw, node: dict[str, Json]) -> Json:
    whole = "integer" in types_of(node)
    value, decimals = draw_number(draw.name, node.get("description", ""), draw.rng)
    step = node.get("multipleOf") or (1 if whole else 0)
    low, high = _bounds(node, step or 10**-decimals)
    if draw.boundary and (low, high) != (-math.inf, math.inf):
        value = draw.rng.choice([bound for bound in (low, high) if abs(bound) != math.inf])
    elif not low <= value <= high:
        value = _inside(low, high, draw.rng)
        value = value if high - low < 10 else round(value)
    if step:
        value = round(round(value / step) * step, 10)
        value += step if value < low else -step if value > high else 0
    value = min(max(value, low), high) if not step else value
    return int(value) if whole or float(value).is_integer() else round(value, 10)


def _bounds(node: dict[str, Json], step: float) -> tuple[float, float]:
    """Least and most value, the exclusive ones moved in by a step."""
    low = max(node.get("minimum", -math.inf), node.get("exclusiveMinimum", -math.inf) + step)
    high = min(node.get("maximum", math.inf), node.get("exclusiveMaximum", math.inf) - step)
    return low, high


def _inside(low: float, high: float, rng: Random) -> float:
    if math.inf in (-low, high):
        return (high if low == -math.inf else low) + rng.randint(0, 20) * (-1 if low == -math.inf else 1)
    return round(rng.uniform(low, high), 2 if high - low > 0.1 else 6)


def _fill_string(draw: _Draw, node: dict[str, Json]) -> Json:
    least, most = node.get("minLength", 0), node.get("maxLength", math.inf)
    if (made := _formatted(node.get("format"), draw)) is not None:
        return made
    if "pattern" in node:
        return draw_match(node["pattern"], draw.rng)
    text = draw_word(draw.name, node.get("description") or "", draw.rng, draw.scene)
    if draw.boundary and most <= 400:
        least = most if draw.rng.random() < 0.5 or least == 0 else least
        most = least
    while len(text) < least:
        text += f" {draw_kind(draw.rng.choice(('noun', 'text')), draw.name, draw.rng, draw.scene)}"
    if len(text) > most:
        text = text[: int(most)]
        text = text.rstrip() + "s" * (len(text) - len(text.rstrip()))  # a cut at a blank keeps the length
    return text


def _formatted(name: str | None, draw: _Draw) -> str | None:
    if name in ("date", "date-time", "time"):
        moment = draw.scene.now + timedelta(days=draw.rng.randrange(0, 20), minutes=draw.rng.randrange(0, 600, 5))
        late = {"end", "until", "to", "due"} & set(draw.name.lower().split("_"))
        spelled = {"date": "%Y-%m-%d", "date-time": "%Y-%m-%dT%H:%M:%SZ", "time": "%H:%M:%SZ"}[name]
        return (moment + timedelta(days=21 * bool(late))).strftime(spelled)
    if name in _FORMATS:
        return draw_kind(_FORMATS[name], draw.name, draw.rng, draw.scene)
    return {"duration": "P3D", "ipv6": "2001:db8::7", "json-pointer": "/items/0", "regex": "^[a-z]+$"}.get(name or "")


_FORMATS = {"email": "email", "idn-email": "email", "uri": "url", "iri": "url", "url": "url", "uri-reference": "url"}
_FORMATS |= {"uuid": "uuid", "ipv4": "ip", "hostname": "host", "phone": "phone"}

_FILLERS: dict[str, Callable[[_Draw, dict[str, Json]], Json]] = {
    "object": _fill_object,
    "array": _fill_array,
    "integer": _fill_number,
    "number": _fill_number,
    "string": _fill_string,
    "boolean": lambda draw, node: draw.rng.random() < 0.5,
    "null": lambda draw, node: None,
}
