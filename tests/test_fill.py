"""Values drawn for schemas: valid, natural, reproducible."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carg.errors import RecordError
from carg.fill import fill, fill_one, flatten
from carg.patterns import draw_match
from carg.schemas import is_valid
from carg.vocabulary import KINDS, date_style, draw_kind, draw_scene, draw_word, tokens, told_examples


def draw_many(schema: dict, count: int = 40, **knobs: object) -> list:
    """Values of one schema under many seeds, each verified."""
    values = [fill(schema, Random(seed), **knobs) for seed in range(count)]
    assert all(is_valid(schema, value) for value in values)
    return values


def top(**properties: object) -> dict:
    """An object schema with all of the properties required."""
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


SCHEMAS = {
    "texts": top(a={"type": "string", "minLength": 30, "maxLength": 40}, b={"type": "string", "maxLength": 3}),
    "numbers": top(
        a={"type": "integer", "minimum": 3, "maximum": 5},
        b={"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
        c={"type": "integer", "multipleOf": 25},
        d={"type": "number", "multipleOf": 0.05, "maximum": 3},
        e={"minimum": 900},
        f={"type": "integer", "exclusiveMaximum": -5},
    ),
    "formats": top(
        **{
            name.replace("-", "_"): {"type": "string", "format": name}
            for name in ("date", "date-time", "time", "email", "uri", "uuid", "ipv4", "ipv6", "hostname", "duration")
        }
    ),
    "patterns": top(
        sku={"type": "string", "pattern": r"^[A-Z]{2}-\d{4}$"},
        slug={"type": "string", "pattern": "^[a-z0-9]+(?:-[a-z0-9]+)*$"},
        other={"type": "string", "pattern": r"^(?!x)[^\s/]+\.(csv|json)$"},
    ),
    "lists": top(
        a={"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3},
        b={"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "items": False},
        c={"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}},
        d={"type": "array", "maxItems": 0},
    ),
    "choices": top(
        a={"const": None},
        b={"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string", "enum": ["all"]}]},
        c={"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 4}]},
        d={"type": ["string", "null"], "maxLength": 20},
        e={"type": "integer", "enum": ["1", 2]},
        f=True,
    ),
    "maps": top(
        a={"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
        b={"type": "object", "patternProperties": {"^x-[a-z]{3}$": {"type": "boolean"}}, "additionalProperties": False},
        c={"type": "object", "properties": {"p": {}, "q": {}}, "minProperties": 2, "additionalProperties": False},
    ),
    "needs": {
        "type": "object",
        "properties": {"card": {"type": "string"}, "cvc": {"type": "integer"}},
        "dependentRequired": {"card": ["cvc"]},
        "additionalProperties": False,
    },
    "tree": {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["value", "children"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_kind_of_schema_is_met(name: str) -> None:
    """Forty draws of each are valid."""
    draw_many(SCHEMAS[name])


def test_the_same_seed_gives_the_same_value() -> None:
    """A value depends on schema and seed alone."""
    for schema in SCHEMAS.values():
        assert fill(schema, Random(7)) == fill(schema, Random(7))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (top(a=False), "nothing is valid for a"),
        (top(a={"type": "integer", "enum": ["x"]}), "no value of the enum of a has its type"),
        (top(a={"type": "string", "pattern": r"^(a)\1$"}), "GROUPREF"),
        (top(a={"type": "integer", "minimum": 5, "maximum": 4}), "out_of_range at a"),
    ],
)
def test_what_cannot_be_met_is_refused_with_the_reason(schema: dict, why: str) -> None:
    """The error says which parameter and why."""
    with pytest.raises(RecordError, match=re.escape(why)):
        fill(schema, Random(1))


def test_optional_properties_come_and_go() -> None:
    """Left out at 0, all there at 1, both somewhere between."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"]}

    assert all(set(value) == {"a"} for value in draw_many(schema, optional=0.0))
    assert all(set(value) == {"a", "b"} for value in draw_many(schema, optional=1.0))
    assert {len(value) for value in draw_many(schema)} == {1, 2}


def test_keys_stand_in_the_order_of_the_schema() -> None:
    """What is drawn is written in the order that the definition shows."""
    schema = top(z={"type": "integer"}, a={"type": "integer"}, m={"type": "integer"})

    assert [*fill(schema, Random(3))] == ["z", "a", "m"]


def test_at_bounds_numbers_and_lengths_are_exact() -> None:
    """`boundary` puts bounded values at one of their bounds."""
    schema = top(
        n={"type": "integer", "minimum": 3, "maximum": 90},
        s={"type": "string", "minLength": 2, "maxLength": 12},
        v={"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 4},
    )
    values = draw_many(schema, boundary=True)

    assert {value["n"] for value in values} == {3, 90}
    assert {len(value["s"]) for value in values} == {2, 12}
    assert {len(value["v"]) for value in values} == {1, 4}


def test_hints_examples_and_defaults_are_used() -> None:
    """What is known is preferred where it is valid."""
    schema = top(
        id={"type": "string", "pattern": "^B-[0-9]$"},
        size={"type": "string", "examples": ["XL", "M"]},
        mode={"type": "string", "default": "eco"},
    )
    values = draw_many(schema, 80, hints={"id": ["B-7", "wrong"]})

    assert sum(value["id"] == "B-7" for value in values) > 20
    assert sum(value["size"] in ("XL", "M") for value in values) > 20
    assert any(value["mode"] == "eco" for value in values)


def test_a_description_gives_its_examples() -> None:
    """Quoted words after "such as" and the like are values."""
    text = "The city and state, e.g. 'Berkeley, CA' or \"Reno, NV\", not \"{city}\". Units: 'K'."

    assert told_examples(text) == ["Berkeley, CA", "Reno, NV"]
    assert told_examples("Path like '/srv/{name}'") == []


@pytest.mark.parametrize(
    ("description", "shape"),
    [
        ("Start, in the format DD/MM/YYYY", r"\d\d/\d\d/\d{4}"),
        ("ISO 8601 moment", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("YYYY-MM-DD HH:MM:SS", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
    ],
)
def test_a_described_date_style_is_kept(description: str, shape: str) -> None:
    """A date is written as the description asks."""
    assert date_style(description)
    assert re.fullmatch(shape, draw_word("start", description, Random(5), draw_scene(Random(5))))


def test_what_goes_together_is_drawn_together() -> None:
    """Name and e-mail are one person's; city and country one place's; a second city is another."""
    schema = top(
        **{name: {"type": "string"} for name in ("first_name", "email", "city", "country", "destination_city")}
    )
    for value in draw_many(schema):
        assert value["email"][:2].lower() == value["first_name"][:2].lower()
        assert value["city"] != value["destination_city"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("perPage", ["per", "page"]),
        ("HTTPServer_id", ["http", "server", "id"]),
        ("api.OrderApi.get-2", ["api", "order", "api", "get", "2"]),
    ],
)
def test_identifiers_fall_into_words(name: str, words: list[str]) -> None:
    """Camel, snake, kebab and dotted names alike."""
    assert tokens(name) == words


@pytest.mark.parametrize("kind", sorted(set(KINDS.values())))
def test_every_kind_of_word_has_values(kind: str) -> None:
    """No kind is named that nothing can be drawn for, twice in a scene."""
    scene = draw_scene(Random(2))

    assert all(draw_kind(kind, "thing_id", Random(seed), scene).strip() for seed in range(2))


@pytest.mark.parametrize(
    "pattern",
    [
        r"^[A-Z]{3}$",
        r"^\+?[0-9 ]{7,12}$",
        r"^(?:v)?\d+(\.\d+){2}$",
        r"\w+@\w+\.com",
        "^[^a-z]+$",
        r"^.{2,3}\S\s\D\W$",
        "a*?b+",
    ],
)
def test_patterns_are_matched(pattern: str) -> None:
    """A drawn text matches."""
    for seed in range(20):
        assert re.search(pattern, draw_match(pattern, Random(seed)))


def test_patterns_that_are_not_understood_are_refused() -> None:
    """Not a regular expression, one that refers back, or one that asks for a megabyte."""
    for pattern in ("(", r"(a)\1", "((a{999}){999}){999}"):
        with pytest.raises(RecordError):
            draw_match(pattern, Random(1))


def test_one_parameter_can_be_filled_alone() -> None:
    """`fill_one` keeps the bounds of the one schema."""
    assert fill_one({"type": "integer", "minimum": 5, "maximum": 5}, "n", Random(1)) == 5


def test_all_of_is_merged_tighter() -> None:
    """Bounds, enums, required and properties of all parts hold at once."""
    schema = {
        "properties": {"a": {"minimum": 1}},
        "required": ["a"],
        "allOf": [
            {"type": "object", "properties": {"a": {"minimum": 4, "type": "integer"}}, "required": ["b"]},
            {"properties": {"b": {"enum": [1, 2]}}},
        ],
    }
    merged = flatten(schema, schema)

    assert merged["required"] == ["a", "b"]
    assert flatten(schema, merged["properties"]["a"]) == {"minimum": 4, "type": "integer", "required": []}


def ranged(kind: str, low: str, high: str, least: int) -> st.SearchStrategy[dict]:
    """Schemas of one type between two bounds."""
    bounds = st.tuples(st.integers(least, 50), st.integers(0, 60))
    return bounds.map(lambda pair: {"type": kind, low: pair[0], high: pair[0] + pair[1]})


FIXED = [{"type": "boolean"}, {"type": "null"}, {"type": "string", "format": "date"}, {"type": ["integer", "null"]}]
leaves = st.one_of(
    ranged("integer", "minimum", "maximum", -50),
    ranged("number", "minimum", "maximum", -50),
    ranged("string", "minLength", "maxLength", 0),
    st.lists(st.integers() | st.text(max_size=5), min_size=1, max_size=4).map(lambda values: {"enum": values}),
    st.sampled_from(FIXED),
)
schemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(lambda item, low: {"type": "array", "items": item, "minItems": low}, inner, st.integers(0, 3)),
        st.builds(
            lambda known, cut: {"type": "object", "properties": known, "required": sorted(known)[:cut]},
            st.dictionaries(st.sampled_from(["city", "page", "order_id", "email", "x"]), inner, max_size=4),
            st.integers(0, 4),
        ),
        st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(schemas, st.integers(0, 2**32))
def test_any_satisfiable_schema_is_met(schema: dict, seed: int) -> None:
    """Random nested schemas are filled with what is valid under them."""
    assert is_valid(schema, fill(schema, Random(seed)))
