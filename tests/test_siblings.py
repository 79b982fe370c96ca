"""Sibling definitions: one aspect looser, a call that only they accept, and valid look-alikes."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carg.edits import list_sites
from carg.loosening import list_edits
from carg.records import Tool
from carg.schemas import faults, is_valid
from carg.siblings import (
    FAULTS,
    collect_lexicon,
    lookalike_call,
    loosen_tool,
    shuffle_keys,
    sibling_call,
)

BOOKING = {
    "type": "object",
    "properties": {
        "room_id": {"type": "string", "pattern": "^R-[0-9]{3}$"},
        "arrival": {"type": "string", "format": "date"},
        "nights": {"type": "integer", "minimum": 1, "maximum": 30},
        "board": {"type": "string", "enum": ["none", "half", "full"]},
        "note": {"type": "string", "maxLength": 40},
        "guests": {
            "type": "array",
            "minItems": 1,
            "maxItems": 4,
            "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        },
        "discount": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]},
        "late": {"type": "boolean"},
    },
    "required": ["room_id", "arrival", "nights"],
    "additionalProperties": False,
}
LEXICON = {
    "currency": ({"type": "string", "enum": ["EUR", "USD"]},),
    "meal_plan": ({"type": "string", "enum": ["none", "half", "all_inclusive"]},),
}


def draw_siblings(fault: str, count: int = 25, **knobs: object) -> list:
    """Siblings of one class under many seeds."""
    made = [sibling_call(BOOKING, fault, Random(seed), lexicon=LEXICON, **knobs) for seed in range(count)]
    return [item for item in made if item is not None]


def make_tool(parameters: dict, name: str = "book_room") -> Tool:
    """A tool with these parameters."""
    return Tool(name, "imported", "inn", name, name, "", parameters, None, "create", origin="imported")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_class_has_siblings(fault: str) -> None:
    """Valid under the sibling, refused by the definition for exactly the one fault."""
    made = draw_siblings(fault)

    assert len(made) == 25
    for sibling in made:
        assert is_valid(sibling.schema, sibling.arguments)
        assert faults(BOOKING, sibling.arguments) == sibling.violations == (sibling.violation,)
        assert sibling.violation.fault == fault
        assert sibling.aspects[0].startswith(f"{fault.removeprefix('schema.')}:")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sibling_is_looser_in_one_place(fault: str) -> None:
    """What the definition accepts the sibling accepts too, but where it has another type instead."""
    for sibling in draw_siblings(fault, 10):
        place = sibling.violation.field.split(".")[0].split("[")[0]
        changed = {
            name
            for name in BOOKING["properties"].keys() | sibling.schema["properties"].keys()
            if BOOKING["properties"].get(name) != sibling.schema["properties"].get(name)
        }

        assert changed == (set() if fault == "schema.missing" and "." not in sibling.violation.field else {place})


def test_nested_parameters_have_siblings_too() -> None:
    """A guest without a name, and a discount beyond its bounds while null stays allowed."""
    missing = [item for item in draw_siblings("schema.missing", 60) if item.violation.field == "guests[0].name"]
    beyond = [item for item in draw_siblings("schema.range", 60) if item.violation.field == "discount"]

    assert missing
    assert all(is_valid(item.schema, item.arguments | {"discount": None}) for item in beyond)
    assert beyond


def test_values_are_borrowed_from_overlapping_enums() -> None:
    """The enum gets the one value that a list of the same notion has and it has not."""
    assert {item.arguments["board"] for item in draw_siblings("schema.enum")} == {"all_inclusive"}


def test_extras_are_parameters_of_other_tools() -> None:
    """Names and values of the lexicon."""
    extra = {name for item in draw_siblings("schema.unknown") for name in item.arguments.keys() - BOOKING["properties"]}

    assert extra == {"currency", "meal_plan"}


def test_numbers_stand_just_outside() -> None:
    """No junk: a stay is a few nights too long, or none."""
    nights = {item.arguments["nights"] for item in draw_siblings("schema.range", 80)} - {*range(1, 31)}

    assert nights <= {-14, -2, 0, 31, 33, 44, 45}
    assert {0, 31} <= nights


def test_two_faults_come_in_their_order() -> None:
    """The first in FAULT_ORDER is the one that the tool reports, whichever was planned first."""
    made = draw_siblings("schema.range", also="schema.missing")

    assert len(made) >= 15
    for sibling in made:
        assert [item.fault for item in sibling.violations] == ["schema.missing", "schema.range"]
        assert is_valid(sibling.schema, sibling.arguments)


def test_blunt_calls_are_proved_too() -> None:
    """Junk values break exactly the planned class."""
    for fault in ("schema.type", "schema.enum", "schema.range", "schema.format"):
        made = draw_siblings(fault, blunt=True)

        assert made
        assert all([item.fault for item in sibling.violations] == [fault] for sibling in made)


def test_no_place_means_no_sibling() -> None:
    """An open object has no unknown parameter; one without constraints has no fault at all."""
    open_schema = {"type": "object", "properties": {"q": {}}}

    assert [sibling_call(open_schema, fault, Random(1), lexicon=LEXICON) for fault in FAULTS] == [None] * 6
    assert sibling_call(open_schema | {"required": ["q"]}, "schema.missing", Random(1), also="schema.enum") is None


def test_references_are_edited_in_place() -> None:
    """A parameter behind $ref is loosened where it is used; the definition it shares stays."""
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/level"}, "b": {"$ref": "#/$defs/level"}},
        "required": ["a", "b"],
        "$defs": {"level": {"type": "integer", "minimum": 1, "maximum": 3}},
    }
    sibling = sibling_call(schema, "schema.range", Random(4))
    other = {"a": "b", "b": "a"}[sibling.violation.field]

    assert sibling.schema["$defs"] == schema["$defs"]
    assert faults(sibling.schema, sibling.arguments | {other: 9})[0].field == other


def test_sites_and_edits_name_their_place() -> None:
    """Sites in schema order, items as []; an edit's aspect says class and place."""
    assert [".".join(site.path) for site in list_sites(BOOKING)] == [
        *["room_id", "arrival", "nights", "board", "note", "guests", "guests.[]", "guests.[].name", "discount", "late"]
    ]
    aspects = {edit.aspect for edit in list_edits(BOOKING, "schema.missing", Random(1), {})}
    assert aspects == {"missing:room_id", "missing:arrival", "missing:nights", "missing:guests[].name"}


@pytest.mark.parametrize("kind", ["ok.boundary", "ok.optional_omitted", "ok.reordered"])
def test_lookalikes_are_valid(kind: str) -> None:
    """Suspicious, but accepted."""
    made = [lookalike_call(BOOKING, kind, Random(seed)) for seed in range(20)]

    assert all(is_valid(BOOKING, arguments) for arguments in made)
    if kind == "ok.boundary":
        assert all(item.get("nights") in (1, 30) or item.get("discount") in (0, 1) for item in made)
    elif kind == "ok.optional_omitted":
        assert all(set(item) == set(BOOKING["required"]) for item in made)
    else:
        assert all([*item] != [name for name in BOOKING["properties"] if name in item] for item in made)


def test_a_schema_without_bounds_or_options_has_no_lookalikes() -> None:
    """None is offered rather than an ordinary call under a false name."""
    plain = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}

    assert [
        lookalike_call(plain, kind, Random(1)) for kind in ("ok.boundary", "ok.optional_omitted", "ok.reordered")
    ] == [
        None,
        None,
        None,
    ]


def test_a_lexicon_keeps_plain_parameters_by_name() -> None:
    """At most four schemas of a name, each once, nested ones too, none that needs another document."""
    tools = [
        make_tool(
            {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "maximum": top},
                    "where": {"type": "object", "properties": {"city": {"type": "string"}}},
                },
            }
        )
        for top in (1, 1, 2, 3, 4, 5)
    ]
    lexicon = collect_lexicon(tools)

    assert [schema["maximum"] for schema in lexicon["size"]] == [1, 2, 3, 4]
    assert lexicon["city"] == ({"type": "string"},)


def test_the_tool_under_its_sibling_accepts_the_call() -> None:
    """`loosen_tool` is the other half of the minimal pair."""
    tool = make_tool(BOOKING)
    sibling = sibling_call(BOOKING, "schema.type", Random(1))
    looser = loosen_tool(tool, sibling)

    assert (looser.variant_of, looser.variant) == (tool.id, "sibling")
    assert is_valid(looser.parameters, sibling.arguments)


@given(st.dictionaries(st.text(max_size=3), st.integers(), max_size=6), st.integers())
def test_shuffling_keeps_the_arguments(arguments: dict, seed: int) -> None:
    """Same pairs; another order wherever there are two."""
    shuffled = shuffle_keys(arguments, Random(seed))

    assert shuffled == arguments
    assert len(arguments) < 2 or [*shuffled] != [*arguments]


PARTS = st.sampled_from(list(BOOKING["properties"].items()))


@settings(max_examples=60, deadline=None)
@given(st.lists(PARTS, min_size=1, max_size=5), st.integers(0, 5), st.sampled_from(FAULTS), st.integers(0, 2**32))
def test_whatever_is_offered_is_proved(parts: list, cut: int, fault: str, seed: int) -> None:
    """For any selection of parameters a sibling holds what it promises."""
    known = dict(parts)
    schema = {"type": "object", "properties": known, "required": [*known][:cut], "additionalProperties": False}
    sibling = sibling_call(schema, fault, Random(seed), lexicon=LEXICON)

    if sibling is not None:
        assert is_valid(sibling.schema, sibling.arguments)
        assert [item.fault for item in faults(schema, sibling.arguments)] == [fault]
