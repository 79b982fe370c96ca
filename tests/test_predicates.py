"""carg.world.predicates: what a model says of its errors is believed after a trial, and never harms who tries it."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carg.records import ErrorSpec, Json
from carg.world.predicates import rule_holds, try_errors

NUMBER = {"type": "integer", "minimum": 1, "maximum": 9}
PARAMETERS: dict[str, Json] = {
    "type": "object",
    "properties": {
        "low": NUMBER,
        "high": NUMBER,
        "mode": {"enum": ["fast", "slow"]},
        "box_id": {"type": "string", "maxLength": 9},
        "day": {"type": "string", "format": "date"},
        "part": {
            "type": "object",
            "properties": {"code": {"type": "string", "pattern": "^[A-Z]{2}$"}, "sizes": {"type": "array"}},
            "required": ["code"],
        },
        "sizes": {"type": "array", "items": NUMBER, "minItems": 1, "maxItems": 3},
        "any": True,
    },
    "required": ["low", "high"],
    "additionalProperties": False,
}


def verdict(when: Json, fault: str = "rule.cross_field") -> str:
    (trial,) = try_errors([ErrorSpec("c", fault, 422, "m", None, when)], PARAMETERS, Random(1))
    assert (trial.error.when is None) == (trial.verdict != "believed")
    return trial.verdict


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("low > high", "believed"),
        ("mode == 'fast' and low > 3", "believed"),
        ("mode == null", "believed"),
        ("len(sizes) > 2 and high < 5", "believed"),
        ("low > 9", "unproved"),
        ("low > 0", "unproved"),
        ("low / (high - high) > 1", "unproved"),
        ("low is None", "refused"),
        ("nothing > 3", "refused"),
        ("any == 1", "refused"),
        ("__import__('os')", "refused"),
        ("low.__class__ == 3", "refused"),
        ("low + high", "refused"),
        ("'x' * 999999999 == mode", "refused"),
        ("(" * 300 + "low" + ")" * 300 + " > 1", "refused"),
        ("low > 3 " * 200, "refused"),
        ("", "refused"),
    ],
)
def test_a_rule_is_believed_after_its_trial(rule: str, expected: str) -> None:
    """Sometimes and not always, typed, and in the closed language."""
    assert verdict({"rule": rule}) == expected


def test_a_rule_needs_an_isolated_mutation() -> None:
    """One that holds only where the call is two arguments away from every accepted one is not shown to be sound."""
    both = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "boolean"}},
        "required": ["a", "b"],
    }
    errors = [
        ErrorSpec("one", "rule.cross_field", 422, "m", None, {"rule": "a and not b"}),
        ErrorSpec("other", "rule.cross_field", 422, "m", None, {"rule": "b and not a"}),
        ErrorSpec("neither", "rule.cross_field", 422, "m", None, {"rule": "not a and not b"}),
    ]

    assert [trial.verdict for trial in try_errors(errors, both, Random(1))] == ["believed", "believed", "unproved"]
    assert [trial.verdict for trial in try_errors(errors[2:], both, Random(1))] == ["believed"]


@pytest.mark.parametrize(
    ("when", "fault", "expected"),
    [
        ({"schema": "enum", "at": "/mode"}, "schema.enum", "believed"),
        ({"schema": "required", "at": "/low"}, "schema.missing", "believed"),
        ({"schema": "required", "at": "/part/code"}, "schema.missing", "believed"),
        ({"schema": "pattern", "at": "/part/code"}, "schema.format", "believed"),
        ({"schema": "format", "at": "/day"}, "schema.format", "believed"),
        ({"schema": "maximum", "at": "/low"}, "schema.range", "believed"),
        ({"schema": "maxLength", "at": "/box_id"}, "schema.range", "believed"),
        ({"schema": "maxItems", "at": "/sizes"}, "schema.range", "believed"),
        ({"schema": "type", "at": "/sizes"}, "schema.type", "believed"),
        ({"schema": "required", "at": "/mode"}, "schema.missing", "refused"),
        ({"schema": "required", "at": "/part"}, "schema.missing", "refused"),
        ({"schema": "maximum", "at": "/low"}, "schema.type", "refused"),
        ({"schema": "pattern", "at": "/low"}, "schema.format", "refused"),
        ({"schema": "description", "at": "/low"}, "schema.range", "refused"),
        ({"schema": "enum", "at": "/a/b"}, "schema.enum", "refused"),
        ({"schema": "enum", "at": "/low/b"}, "schema.enum", "refused"),
        ({"schema": "type", "at": "/any/b"}, "schema.type", "refused"),
        ({"schema": "enum"}, "schema.enum", "refused"),
        ({"rule": "low > high"}, "schema.range", "refused"),
        ({"state": "it was sold"}, "state.conflict", "untried"),
        (None, "state.conflict", "untried"),
        ({}, "state.conflict", "untried"),
    ],
)
def test_other_predicates_are_believed_where_they_stand(when: Json, fault: str, expected: str) -> None:
    """A keyword must stand in the schema, belong to the class and break alone; words about the state prove nothing."""
    assert verdict(when, fault) == expected


def test_a_rule_that_says_the_same_as_another_is_not_isolated() -> None:
    """Two errors that always come together prove neither; a repeated one is believed once."""
    errors = [
        ErrorSpec(code, "rule.cross_field", 422, "m", None, {"rule": rule})
        for code, rule in (("a", "low > high"), ("b", "high < low"), ("c", "mode == 'fast'"), ("d", "mode == 'fast'"))
    ]

    trials = [trial.verdict for trial in try_errors(errors, PARAMETERS, Random(1))]

    assert trials == ["unproved", "unproved", "unproved", "refused"]
    assert [trial.verdict for trial in try_errors(errors[::3], PARAMETERS, Random(1))] == ["believed", "believed"]


def test_rules_see_defaults_and_dates() -> None:
    """An absent argument has its default; dates are compared as dates."""
    parameters = {
        "type": "object",
        "properties": {
            "first": {"type": "string", "format": "date"},
            "last": {"type": "string", "format": "date"},
            "n": {"type": "integer", "default": 5},
        },
        "required": ["first", "last"],
    }
    dates = {"first": "2024-02-28", "last": "2024-03-02"}

    assert rule_holds("days_between(first, last) == 3 and n == 5", parameters, dates) is True
    assert rule_holds("last < first", parameters, dates) is False
    assert rule_holds("last < middle", parameters, dates) is None
    assert rule_holds("total(i, i, 0, 99999) > 3", parameters, dates) is False


NAMES = st.sampled_from(["low", "high", "mode", "day", "sizes", "part", "any", "null", "true", "x"])
WORDS = st.sampled_from([*"+-*/%<>()[],.", "**", "//", "==", "!=", " in ", " not ", " and ", " or ", " if ", " else "])
CALLS = st.sampled_from(
    ["len(", "year(", "sqrt(", "exp(", "total(", "sum(", "min(", "add_days(", "1e308", "-1", "0", "'a'"]
)
WHEN = st.one_of(
    st.none(),
    st.builds(lambda parts: {"rule": "".join(parts)}, st.lists(st.one_of(NAMES, WORDS, CALLS), max_size=9)),
    st.builds(lambda text: {"rule": text}, st.text(max_size=30)),
    st.fixed_dictionaries({"schema": st.sampled_from(["enum", "type", "required", "maximum", "no"]), "at": st.text()}),
    st.dictionaries(st.sampled_from(["rule", "schema", "at", "state"]), st.one_of(st.text(), st.integers(), st.none())),
)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@given(st.lists(WHEN, max_size=3), st.sampled_from(["rule.cross_field", "schema.enum", "state.order", "odd"]))
@settings(max_examples=60, deadline=None)
def test_no_predicate_harms_who_tries_it(whens: list[Json], fault: str) -> None:
    """Whatever stands in `when`, each error comes back with a verdict, and only believed ones keep their predicate."""
    errors = [ErrorSpec(f"c{at}", fault, 422, "m", None, when) for at, when in enumerate(whens)]

    trials = try_errors(errors, PARAMETERS, Random(1))

    assert [trial.error.code for trial in trials] == [error.code for error in errors]
    assert all((trial.error.when is not None) == (trial.verdict == "believed") for trial in trials)
