"""Verdicts, ordered faults, soundness of schemas, and defaults."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carg import referee
from carg.errors import RecordError
from carg.records import Violation
from carg.schemas import (
    apply_defaults,
    canonical_arguments,
    faults,
    is_valid,
    resolve,
    schema_complaints,
    types_of,
    validator,
    walk,
)

REAL = Path(os.environ.get("CARG_REALDATA", Path(__file__).parents[2] / "shared" / "realdata"))
HIVE = {
    "type": "object",
    "properties": {
        "hive_id": {"type": "string", "pattern": "^B-[0-9]+$"},
        "stores_kg": {"type": "number", "minimum": 0, "maximum": 60, "multipleOf": 0.1},
        "state": {"type": "string", "enum": ["active", "queenless"]},
        "seen": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "frames": {"type": "array", "items": {"$ref": "#/$defs/frame"}, "maxItems": 3},
        "yard": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
    },
    "required": ["hive_id", "state"],
    "additionalProperties": False,
    "$defs": {"frame": {"type": "object", "properties": {"brood": {"type": "integer", "default": 0}}}},
}
SOUND = {"hive_id": "B-7", "state": "active", "stores_kg": 0.3, "seen": None, "frames": [{"brood": 2}]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"state": None}, Violation("wrong_type", "schema.type", "state")),
        ({"state": "dead"}, Violation("not_in_enum", "schema.enum", "state")),
        ({"stores_kg": 61}, Violation("out_of_range", "schema.range", "stores_kg")),
        ({"stores_kg": 0.25}, Violation("out_of_range", "schema.range", "stores_kg")),
        ({"hive_id": "7"}, Violation("bad_format", "schema.format", "hive_id")),
        ({"seen": "7 May"}, Violation("bad_format", "schema.format", "seen")),
        ({"seen": 7}, Violation("wrong_type", "schema.type", "seen")),
        ({"color": "red"}, Violation("unknown_parameter", "schema.unknown", "color")),
        ({"frames": [{}, {"brood": "x"}]}, Violation("wrong_type", "schema.type", "frames[1].brood")),
        ({"frames": [{}, {}, {}, {}]}, Violation("out_of_range", "schema.range", "frames")),
        ({"yard": {}}, Violation("missing_parameter", "schema.missing", "yard.lat")),
    ],
)
def test_each_keyword_has_its_class_and_place(change: dict, expected: Violation) -> None:
    """One spoiled value gives exactly its violation."""
    assert faults(HIVE, SOUND | change) == (expected,)


def test_a_sound_call_has_no_faults() -> None:
    """The call that the spoiled ones start from is valid."""
    assert faults(HIVE, SOUND) == ()


def test_faults_come_by_class_then_by_parameter_order() -> None:
    """Missing before unknown before type; within a class as the schema lists its parameters."""
    found = faults(HIVE, {"yard": 1, "stores_kg": "much", "zeal": 1, "frames": 2})

    assert [(item.fault, item.field) for item in found] == [
        ("schema.missing", "hive_id"),
        ("schema.missing", "state"),
        ("schema.unknown", "zeal"),
        ("schema.type", "stores_kg"),
        ("schema.type", "frames"),
        ("schema.type", "yard"),
    ]


def test_the_order_of_keys_plays_no_part() -> None:
    """The same call written in another order has the same faults, unknown parameters too."""
    call = SOUND | {"zeal": 1, "age": 2, "state": 3}

    assert faults(HIVE, call) == faults(HIVE, dict(reversed(call.items())))
    assert [item.field for item in faults(HIVE, call)] == ["age", "zeal", "state"]


def test_a_field_has_one_fault_only() -> None:
    """A number for a text with an enum is of the wrong type, and nothing else."""
    assert [item.fault for item in faults({"type": "string", "enum": ["a"], "pattern": "^a"}, 3)] == ["schema.type"]


@pytest.mark.parametrize(
    ("schema", "value", "fault", "field"),
    [
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "schema.missing", "b"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, "schema.missing", "b"),
        ({"propertyNames": {"maxLength": 1}}, {"ab": 1}, "schema.unknown", "ab"),
        ({"properties": {"a": False}}, {"a": 1}, "schema.unknown", "a"),
        ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"b": 1}, "schema.unknown", "b"),
        ({"const": 1}, 2, "schema.enum", None),
        ({"not": {"type": "null"}}, None, "schema.enum", None),
        ({"minProperties": 1}, {}, "schema.range", None),
        ({"uniqueItems": True}, [1, 1], "schema.range", None),
        ({"oneOf": [{"type": "integer"}, {"minimum": 0}]}, 1, "schema.type", None),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "1", "schema.type", None),
        ({"anyOf": [{"enum": ["a"]}, {"type": "null"}]}, "b", "schema.enum", None),
    ],
)
def test_composed_keywords_are_judged(schema: dict, value: object, fault: str, field: str | None) -> None:
    """Conditions, negations and alternatives come down to one of the six classes."""
    assert [(item.fault, item.field) for item in faults(schema, value)] == [(fault, field)]


def test_the_closest_branch_is_judged() -> None:
    """Of two tagged alternatives the one with the right tag tells what is missing."""
    branches = [
        {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind", need]}
        for kind, need in (("point", "lat"), ("route", "via"))
    ]

    assert faults({"anyOf": branches}, {"kind": "route"}) == (Violation("missing_parameter", "schema.missing", "via"),)


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        ({"multipleOf": 0.1}, 0.3, True),
        ({"pattern": r"^\d+$"}, "12\n", False),
        ({"pattern": r"^\d+$"}, "١٢", False),
        ({"pattern": "^(a+)+$"}, "a" * 60 + "!", False),
        ({"pattern": "^(a|a)+$"}, "a" * 60 + "!", False),
        ({"type": "integer"}, 1.0, True),
        ({"type": "integer"}, True, False),
        ({"maximum": 10**30}, 10**29, True),
        ({"format": "date-time"}, "2024-01-01 10:00", False),
    ],
)
def test_the_known_differences_are_settled(schema: dict, value: object, expected: bool) -> None:
    """Where the two validators are known to differ, both say what JSON Schema says."""
    assert is_valid(schema, value) is expected


def test_a_disagreement_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that the referee does not confirm, and a sampled acceptance, are no label."""
    handle = validator({"type": "integer", "title": "only here"})
    monkeypatch.setattr(referee, "SAMPLE", 1)
    monkeypatch.setattr(referee, "_confirms", lambda checker, value: value == "x")

    for value in (1, "x"):
        with pytest.raises(RecordError, match="validators disagree"):
            handle.is_valid(value)


def test_a_changed_schema_is_another_one() -> None:
    """The cache goes by content: the same object, changed, is judged anew."""
    schema = {"type": "integer"}
    before = is_valid(schema, "x")
    schema["type"] = "string"

    assert (before, is_valid(schema, "x")) == (False, True)


@pytest.mark.parametrize(
    ("schema", "part"),
    [
        ([], "a schema is an object"),
        ({"type": "array", "maxItems": 1}, "not object"),
        ({"type": "object", "properties": {"a": {"type": "str"}}}, "unsound schema"),
        ({"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}, "remote reference"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, "unsound schema"),
        ({"type": "object", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "refers to itself"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "pattern"),
        ({"type": "object", "properties": {"a": {"pattern": "a" * 401}}}, "a pattern of 401"),
        ({"type": "object", "description": "x" * 70_000}, "bytes, at most"),
    ],
)
def test_unsound_schemas_are_named(schema: dict, part: str) -> None:
    """Each kind of unsoundness is told in words, before anything is drawn from it."""
    assert part in " ".join(schema_complaints(schema, bounded=False))


@pytest.mark.parametrize("pattern", ["^(a+)+$", r"^\p{Letter}+$"])
def test_property_patterns_that_could_hang_are_refused(pattern: str) -> None:
    """The referee matches property names with an engine that repeated groups blow up."""
    with pytest.raises(RecordError, match="cannot be judged safely"):
        is_valid({"anyOf": [{"patternProperties": {pattern: {}}}]}, {"a" * 60 + "!": 1})


def test_deep_schemas_are_refused() -> None:
    """Nesting is bounded, so nothing recursive can blow up later."""
    schema: dict = {"type": "object"}
    for _ in range(20):
        schema = {"type": "object", "properties": {"a": schema}}

    assert schema_complaints(schema, bounded=False) == ["nested deeper than 24"]


def test_bounds_are_asked_for_only_when_wanted() -> None:
    """A free text is sound, but not bounded."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "array", "items": {"type": "integer"}}, "c": {}},
    }

    assert schema_complaints(schema, bounded=False) == []
    assert schema_complaints(schema, bounded=True) == [
        "/: an object without additionalProperties false",
        "/properties/a: a string without maxLength",
        "/properties/b: an array without maxItems",
        "/properties/c: no type, so without bounds",
    ]


def test_a_bounded_schema_is_sound() -> None:
    """The hive's schema, with its open ends closed, has no complaint."""
    closed = json.loads(json.dumps(HIVE).replace('"type": "object"', '"type": "object", "additionalProperties": false'))
    closed["properties"]["hive_id"]["maxLength"] = 9

    assert schema_complaints(closed, bounded=True) == []


def test_values_that_are_no_json_are_refused() -> None:
    """A set is no JSON value, however it is judged."""
    with pytest.raises(RecordError, match="not JSON"):
        is_valid({"type": "string"}, {"a": {1}}) or is_valid({}, {"a": {1}})


def test_defaults_are_filled_where_absent() -> None:
    """Nested defaults too, behind references; what is given stays, and the given value is not changed."""
    given_frames = {"frames": [{}, {"brood": 4}]}

    assert apply_defaults(HIVE, given_frames) == {"frames": [{"brood": 0}, {"brood": 4}]}
    assert given_frames == {"frames": [{}, {"brood": 4}]}


def test_equal_calls_have_one_spelling() -> None:
    """Key order, 1.0 for 1 and a stated default make no difference."""
    schema = {"type": "object", "properties": {"page": {"type": "integer", "default": 1}}}

    assert {canonical_arguments(schema, call) for call in ({"q": 2}, {"page": 1.0, "q": 2}, {"q": 2, "page": 1})} == {
        b'{"page":1,"q":2}'
    }


def test_integers_too_large_to_write_are_an_error() -> None:
    """Arguments beyond 64 bits have no canonical form."""
    with pytest.raises(RecordError, match="cannot be written"):
        canonical_arguments({"type": "object"}, {"a": 2**70})


def test_references_are_followed_once_laid_under_own_keywords() -> None:
    """`resolve` keeps what stands beside $ref; a pointer that leads nowhere adds nothing."""
    root = {"$defs": {"a/b": {"type": "string", "title": "A"}}}

    assert resolve(root, {"$ref": "#/$defs/a~1b", "title": "B"}) == {"type": "string", "title": "B"}
    assert resolve(root, {"$ref": "#/$defs/none"}) == {}
    assert [types_of(node) for node in ({}, {"type": "null"}, {"type": ["a", "b"]})] == [(), ("null",), ("a", "b")]


def test_every_subschema_is_walked() -> None:
    """Properties, items, alternatives and definitions, each with its pointer."""
    schema = {"properties": {"a": {"items": {"anyOf": [{}, {}]}}}, "$defs": {"b": {}}, "additionalProperties": False}

    assert [path for path, _ in walk(schema)] == [
        "",
        "/properties/a",
        "/properties/a/items",
        "/properties/a/items/anyOf/0",
        "/properties/a/items/anyOf/1",
        "/$defs/b",
    ]


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, width=32)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SOUND, "odd"]), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*SOUND, "odd"]), values, max_size=5))
def test_faults_and_verdict_agree(value: dict) -> None:
    """A value has faults exactly where it is not valid, one a field, in the order of the classes."""
    found = faults(HIVE, value)

    assert bool(found) is not is_valid(HIVE, value)
    assert len({item.field for item in found}) == len(found)


def _agreement(folder: Path) -> dict[str, tuple[int, int]]:
    """Verdicts that equal the suite's, and all verdicts, by file."""
    counts = {}
    for file in sorted(folder.rglob("*.json")):
        cases = [
            (group["schema"], test)
            for group in json.loads(file.read_text())
            for test in group["tests"]
            if "localhost:1234" not in json.dumps(group["schema"])
        ]
        right = 0
        for schema, test in cases:
            try:
                right += is_valid(schema, test["data"]) == test["valid"]
            except RecordError:
                continue
        counts[file.stem] = (right, len(cases))
    return counts


@pytest.mark.realdata
@pytest.mark.skipif(not REAL.is_dir(), reason="CARG_REALDATA names no folder")
def test_the_test_suite_of_json_schema_agrees() -> None:
    """All of draft 2020-12 but formats (asserted here), remote meta-schemas and one property pattern."""
    counts = _agreement(REAL / "json_schema_test_suite" / "draft2020-12")
    wrong = {stem: total - right for stem, (right, total) in counts.items() if right != total}

    assert wrong == {"format": 19, "patternProperties": 2}
