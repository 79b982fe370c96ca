"""What a sibling definition can differ in, by class of fault, and the plausible value that tells the two apart.

A parameter that need not be there, one more, another type, one more value, wider bounds, another spelling. Values are
borrowed from other tools (`Lexicon`), or are what `fill` would give under the looser schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

from carg.edits import Edit, Lexicon, Site, list_sites
from carg.errors import RecordError
from carg.fill import fill_one, flatten
from carg.records import Json
from carg.schemas import is_valid, types_of
from carg.vocabulary import draw_scene, draw_word

ENOUGH = 12
"""Edits drawn for one call; a definition may have hundreds."""
MAX_TEXT = 400
"""No text is drawn longer than this to break a maxLength."""


def list_edits(
    schema: dict[str, Json], fault: str, rng: Random, lexicon: Lexicon, *, blunt: bool = False
) -> list[Edit]:
    """The edits of one class that the schema allows, shuffled, with their values drawn."""
    top = Site((), flatten(schema, schema), required=True)
    sites = [top, *list_sites(schema)]
    if fault in ("schema.missing", "schema.unknown"):
        sites = [site for site in sites if "properties" in site.node]
    else:
        sites = [site for site in sites if site.path]
    rng.shuffle(sites)
    edits: list[Edit] = []
    for site in sites:
        if len(edits) >= ENOUGH:
            break
        edits += _PLANS[fault](site, rng, lexicon) if not blunt or fault in _STRUCTURAL else _junk(site, fault, rng)
    rng.shuffle(edits)
    return edits


_STRUCTURAL = ("schema.missing", "schema.unknown")


def _drop_required(site: Site, rng: Random, lexicon: Lexicon) -> list[Edit]:
    """A parameter is no longer required, and left out."""

    def plan(name: str) -> Edit:
        def loose(node: dict[str, Json]) -> Json:
            return node | {"required": [key for key in node["required"] if key != name]}

        def fixed(node: dict[str, Json]) -> Json:
            return loose(node) | {"properties": {**node["properties"], name: False}}

        return Edit("schema.missing", site.path, name, loose, fixed)

    return [plan(name) for name in site.node.get("required", ()) if name in site.node["properties"]]


def _add_extra(site: Site, rng: Random, lexicon: Lexicon) -> list[Edit]:
    """A parameter more, named and typed like one of another tool; only where others are not allowed."""
    known = site.node["properties"]
    if site.node.get("additionalProperties") is not False and site.node.get("unevaluatedProperties") is not False:
        return []
    names = [name for name in lexicon or _SPARE if name not in known]
    edits = []
    for name in rng.sample(names, min(3, len(names))):
        extra = rng.choice((lexicon or _SPARE)[name])
        try:
            value = fill_one(extra, name, rng)
        except RecordError:
            continue
        edits.append(_extra_edit(site, name, extra, value))
    return edits


def _extra_edit(site: Site, name: str, extra: dict[str, Json], value: Json) -> Edit:
    def loose(node: dict[str, Json]) -> Json:
        return node | {"properties": {**node["properties"], name: extra}}

    def fixed(node: dict[str, Json]) -> Json:
        pinned = loose(node) | {"required": [*node.get("required", ()), name]}
        return pinned | {"properties": {**node["properties"], name: {"const": value}}}

    return Edit("schema.unknown", site.path, name, loose, fixed)


_SPARE: Lexicon = {
    "limit": ({"type": "integer", "minimum": 1, "maximum": 50},),
    "notes": ({"type": "string"},),
    "language": ({"type": "string", "enum": ["en", "fr", "de"]},),
    "dry_run": ({"type": "boolean"},),
}
"""Extras where no other tools are given."""


def _value_edit(site: Site, fault: str, value: Json, looser: dict[str, Json]) -> Edit:
    return Edit(fault, site.path, "", lambda node: looser, lambda node: {"const": value})


def _widen_enum(site: Site, rng: Random, lexicon: Lexicon) -> list[Edit]:
    """One more value: of a like-named parameter elsewhere, of an overlapping list, or next to the numbers given."""
    values = site.node["enum"] if "enum" in site.node else [site.node["const"]] if "const" in site.node else []
    if not values or len(values) > 500:
        return []
    borrowed = [item for other in _overlapping(values, lexicon) for item in other if item not in values]
    borrowed = borrowed or [item for other in lexicon.get(site.name, ()) for item in other.get("enum", ())]
    numbers = [item for item in values if isinstance(item, int | float) and not isinstance(item, bool)]
    borrowed += [max(numbers) + 1, max(numbers) * 2] if numbers else []
    if not borrowed and all(isinstance(item, str) for item in values):
        borrowed = [draw_word(site.name, "", rng, draw_scene(rng)), rng.choice(values).swapcase()]
    offers = [item for item in borrowed if item not in values and _typed_like(item, site.node, values)]
    edits = []
    for value in rng.sample(offers, min(2, len(offers))):
        place = rng.randrange(len(values) + 1)
        rest = {key: item for key, item in site.node.items() if key != "const"}
        edits.append(
            _value_edit(site, "schema.enum", value, rest | {"enum": [*values[:place], value, *values[place:]]})
        )
    return edits


def _overlapping(values: list[Json], lexicon: Lexicon) -> list[list[Json]]:
    """The enums of other tools that share a value with this one: the same notion, cut otherwise."""
    enums = (other["enum"] for schemas in lexicon.values() for other in schemas if "enum" in other)
    return [enum for enum in enums if any(item in values for item in enum)][:20]


def _typed_like(value: Json, node: dict[str, Json], values: list[Json]) -> bool:
    return type(value) in {type(item) for item in values} and is_valid(
        {"type": node["type"]} if "type" in node else {}, value
    )


def _widen_range(site: Site, rng: Random, lexicon: Lexicon) -> list[Edit]:
    """Wider bounds, with a value just outside the narrow ones."""
    if site.node.keys() & {"enum", "const"}:
        return []
    offers = [*_beyond_number(site.node, rng), *_beyond_length(site, rng), *_beyond_items(site, rng)]
    edits = []
    for keys, value in offers:
        looser = {key: item for key, item in site.node.items() if key not in keys}
        edits.append(_value_edit(site, "schema.range", value, looser | _outer(keys[0], site.node, value)))
    return edits


def _outer(key: str, node: dict[str, Json], value: Json) -> dict[str, Json]:
    """The bound that the sibling has instead: a rounder one beyond the value."""
    if key not in ("minimum", "maximum"):
        return {}
    reach = abs(value - node[key]) * 3
    return {key: value - reach if key == "minimum" else value + reach}


def _beyond_number(node: dict[str, Json], rng: Random) -> list[tuple[tuple[str, ...], Json]]:
    if not {"integer", "number"} & set(types_of(node)) and types_of(node):
        return []
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum", node.get("exclusiveMaximum"))
    span = abs(high - low) if low is not None and high is not None else abs(high or low or 10)
    whole = "integer" in types_of(node) or span > 5 or (span >= 1 and None in (low, high))
    step = node.get("multipleOf") or (1 if whole else 0.01)
    beyond = step * max(1, round(rng.choice((0, 0.02, 0.1, 0.5)) * span / step))
    offers: list[tuple[tuple[str, ...], Json]] = []
    for keys, bound, sign in ((("minimum", "exclusiveMinimum"), low, -1), (("maximum", "exclusiveMaximum"), high, 1)):
        if bound is not None and bound > -1e15 and bound < 1e15:
            used = keys if keys[0] in node else keys[::-1]
            value = round(bound + sign * beyond, 6)
            offers.append((used, int(value) if float(value).is_integer() else value))
    return offers


def _beyond_length(site: Site, rng: Random) -> list[tuple[tuple[str, ...], Json]]:
    """Texts a little too long or too short."""
    node = site.node
    offers: list[tuple[tuple[str, ...], Json]] = []
    if "string" not in types_of(node) or node.keys() & {"pattern", "format"}:
        return offers
    if node.get("maxLength", MAX_TEXT) < MAX_TEXT:
        least = node["maxLength"] + rng.randint(1, 2 + node["maxLength"] // 5)
        longer = {"type": "string", "description": node.get("description", ""), "minLength": least}
        offers.append((("maxLength",), fill_one(longer, site.name, rng)))
    if node.get("minLength", 0) > 0:
        word = draw_word(site.name, "", rng, draw_scene(rng))
        offers.append((("minLength",), word[: node["minLength"] - 1] if node["minLength"] > 1 else ""))
    return offers


def _beyond_items(site: Site, rng: Random) -> list[tuple[tuple[str, ...], Json]]:
    """Lists with an item more than allowed, or one less."""
    node = site.node
    sizes = [("maxItems", node.get("maxItems", 99) + 1), ("minItems", node.get("minItems", 0) - 1)]
    offers: list[tuple[tuple[str, ...], Json]] = []
    for key, size in sizes:
        if "array" in types_of(node) and 0 <= size <= 40 and "$ref" not in str(node):
            other = {name: item for name, item in node.items() if name not in ("minItems", "maxItems")}
            sized = other | {"minItems": size, "maxItems": size}
            offers.append(((key,), fill_one(sized, site.name, rng)))
    return offers


def _change_type(site: Site, rng: Random, lexicon: Lexicon) -> list[Edit]:
    """Another type that the same parameter could well have."""
    types = types_of(site.node)
    others = [kind for kind in _NEAR.get(next((item for item in types if item != "null"), ""), ()) if kind not in types]
    edits = []
    for kind in others:
        told = {key: site.node[key] for key in ("description", "title") if key in site.node}
        looser: dict[str, Json] = told | {"type": kind}
        if kind == "array":
            looser |= {"items": {key: item for key, item in site.node.items() if key not in ("default", *told)}}
            looser |= {"minItems": 1, "maxItems": 4}
        value = _as_type(site, kind, looser, rng)
        if value is not None:
            edits.append(_value_edit(site, "schema.type", value, looser))
    return edits


_NEAR = {
    "integer": ("string", "number"),
    "number": ("string",),
    "string": ("integer", "array"),
    "boolean": ("string", "integer"),
    "array": ("string",),
    "object": ("string",),
}
"""Types that another version of a tool could ask for instead."""


def _as_type(site: Site, kind: str, looser: dict[str, Json], rng: Random) -> Json:
    """The parameter's usual value in the other type; None where there is none."""
    if "$ref" in str(site.node):
        return None
    try:
        usual = fill_one(site.node, site.name, rng)
        if kind == "number":
            return usual + rng.choice((0.5, 0.25, 0.75)) if isinstance(usual, int) else None
        if kind == "array":
            return [usual, *([fill_one(site.node, site.name, rng)] if rng.random() < 0.3 else [])]
        if isinstance(usual, bool):
            return rng.choice(("true", "yes") if usual else ("false", "no")) if kind == "string" else int(usual)
        if kind == "string" and isinstance(usual, list):
            return ",".join(str(item) for item in usual if not isinstance(item, dict | list)) or None
        told = kind == "string" and isinstance(usual, int | float)
        return str(usual) if told else fill_one(looser, site.name, rng)
    except RecordError:
        return None


def _change_format(site: Site, rng: Random, lexicon: Lexicon) -> list[Edit]:
    """Another spelling of the same thing: of a date, an address, an id; for a pattern, what its name suggests."""
    node = site.node
    if "string" not in types_of(node) or not node.keys() & {"format", "pattern"} or "enum" in node:
        return []
    looser = {key: item for key, item in node.items() if key not in ("format", "pattern")}
    try:
        usual = fill_one(node, site.name, rng)
        other = fill_one(looser, site.name, rng)
    except RecordError:
        return []
    offers = [*_respell(str(usual), node.get("format", ""), rng), other]
    return [_value_edit(site, "schema.format", value, looser) for value in offers if not is_valid(node, value)][:2]


def _respell(usual: str, form: str, rng: Random) -> list[str]:
    year, month, day = usual[:10].split("-") if form in ("date", "date-time") else ("", "", "")
    spelled = {
        "date": [f"{day}/{month}/{year}", f"{month}-{day}-{year}", f"{year}/{month}/{day}", f"{day}.{month}.{year}"],
        "date-time": [
            usual[:10],
            usual[:19].replace("T", " "),
            f"{day}/{month}/{year} {usual[11:16]}",
            usual.rstrip("Z"),
        ],
        "time": [usual[:5], usual.rstrip("Z").replace(":", "."), f"{int(usual[:2]) % 12 or 12} pm"]
        if form == "time"
        else [],
        "email": [usual.replace("@", " at "), usual.split("@")[0], usual.replace("@", "@@")],
        "uri": [usual.split("//")[-1], "www." + usual.split("//")[-1]],
        "uuid": [usual[:13], usual.replace("-", "_")],
        "ipv4": [usual.rsplit(".", 1)[0], usual + ".12"],
        "": [usual.swapcase(), usual[:-1], usual + "x", usual.replace("-", "")],
    }.get(form, [])
    rng.shuffle(spelled)
    return spelled


def _junk(site: Site, fault: str, rng: Random) -> list[Edit]:
    """A value that no sibling would accept: the crude mutations, for the few calls that carry them."""
    values: Mapping[str, tuple[Json, ...]] = {
        "schema.type": (None, {}, "N/A", [[]]),
        "schema.enum": ("foo", "???", "", -1),
        "schema.range": (-1, 10**9, 0, "x" * 300),
        "schema.format": ("foo", "not-a-date", "", "???"),
    }
    return [_value_edit(site, fault, rng.choice(values[fault]), {})]


_PLANS: Mapping[str, Callable[[Site, Random, Lexicon], list[Edit]]] = {
    "schema.missing": _drop_required,
    "schema.unknown": _add_extra,
    "schema.type": _change_type,
    "schema.enum": _widen_enum,
    "schema.range": _widen_range,
    "schema.format": _change_format,
}
