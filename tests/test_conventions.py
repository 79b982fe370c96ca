"""Conventions: factors drawn side by side, never in combinations that make no sense, and written out."""

from random import Random

import pytest

from carg.errors import DomainError
from carg.world.conventions import _CLASHES, FACTORS, case_words, document, draw_convention, page_words
from carg.world.wording import WORD_FACTORS, fault_code

DRAWN = [draw_convention(Random(seed)) for seed in range(1500)]


def test_a_seed_gives_one_convention_and_its_id_follows_from_the_factors():
    """The same seed draws the same convention; another seed another one."""
    assert draw_convention(Random(7)) == draw_convention(Random(7))
    assert draw_convention(Random(7)).id != draw_convention(Random(8)).id
    assert len({convention.id for convention in DRAWN}) == len(DRAWN)


def test_every_value_of_every_factor_is_drawn():
    """No value is starved by the combinations that are ruled out."""
    for factor, values in FACTORS.items():
        assert {convention.factors[factor] for convention in DRAWN} == set(values), factor


def test_no_drawn_convention_holds_a_combination_that_makes_no_sense():
    """Each ruled out pair of values never stands together."""
    for one, ones, two, twos in _CLASHES:
        for factors in (convention.factors for convention in DRAWN):
            assert not (factors[one] in ones.split() and factors[two] in twos.split())


def test_clashes_name_known_factors_and_values():
    """A misspelt rule would rule out nothing."""
    for one, ones, two, twos in _CLASHES:
        assert set(ones.split()) <= FACTORS[one].keys()
        assert set(twos.split()) <= FACTORS[two].keys()


def test_must_and_never_are_kept():
    """A late factor that must hold bends the ones drawn before it."""
    for seed in range(100):
        factors = draw_convention(
            Random(seed), must={"error_shape": "mcp_is_error"}, never={"syntax": ["openai", "react"]}
        ).factors

        assert factors["error_shape"] == "mcp_is_error"
        assert factors["envelope"] in ("mcp_content", "structured")
        assert factors["syntax"] == "mcp"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"must": {"sintax": "http"}}, "sintax"),
        ({"must": {"syntax": "soap"}}, "soap"),
        ({"never": {"syntax": ["soap"]}}, "soap"),
        ({"never": {"quote": list(FACTORS["quote"])}}, "quote"),
        ({"must": {"syntax": "http", "envelope": "structured"}}, "syntax"),
    ],
)
def test_impossible_wishes_are_named(asked, named):
    """Unknown factors and values, and wishes that leave nothing, are DomainErrors that name them."""
    with pytest.raises(DomainError, match=named):
        draw_convention(Random(1), **asked)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("snake", "harvest_all_honey"),
        ("camel", "harvestAllHoney"),
        ("pascal", "HarvestAllHoney"),
        ("kebab", "harvest-all-honey"),
        ("header", "Harvest-All-Honey"),
        ("dotted", "apiary.harvest_all_honey"),
    ],
)
def test_words_in_each_case(case, expected):
    """The prefix shows in dotted names only."""
    assert case_words("harvest_all_honey", case, "apiary") == expected


def test_page_words_follow_paging():
    """Only paging by cursor has a key for what follows."""
    factors = DRAWN[0].factors

    by_cursor = page_words({**factors, "paging": "cursor", "page_words": "short", "list_words": "results/count"})
    by_page = page_words({**factors, "paging": "page_size", "page_words": "long", "list_words": "items/total"})

    assert by_cursor == ("limit", "cursor", "results", "count", "next_cursor")
    assert by_page == ("page_size", "page_number", "items", "total", None)


def test_documentation_names_codes_words_and_forms():
    """A reader finds every code it may meet; the whole stays short (about four characters a token)."""
    for convention in DRAWN[:200]:
        factors, text = convention.factors, convention.documentation
        faults = set(WORD_FACTORS) - ({"unsigned"} if factors["auth"] == "none" else set())

        assert all(fault_code(factors, fault) in text for fault in faults)
        assert "{noun}" not in text
        assert len(text) < 1500


def test_documentation_of_one_convention_word_for_word():
    """What a model reads, as it stands."""
    plain = {factor: next(iter(values)) for factor, values in FACTORS.items()}

    assert document({**plain, "auth": "header"}) == (
        'Call: {"name": "<tool>", "acting_as": <name>, "arguments": {...}}; `acting_as` names an actor.\n'
        "Answers: compact JSON, the body itself; nulls are written.\n"
        'Errors: {"error":{"code":"<code>","message":"<message>","field":"<field>"}}\n'
        "missing_parameter: Missing required parameter '{field}'\n"
        "unknown_parameter: Unknown parameter '{field}'\n"
        "wrong_type: '{field}' must be of type {expected}, not {type}\n"
        "value_not_allowed: '{field}' must be one of: a, b, c\n"
        "out_of_range: '{field}' must be {bound}\n"
        "bad_format: '{field}' is not a valid {format}\n"
        "not_found: No {resource} with id '{id}'\n"
        "forbidden: Access denied for '{actor}'\n"
        "not_authenticated: The call does not say who makes it\n"
        "unknown_tool: Unknown tool '{tool}'\n"
        "malformed_call: The call could not be parsed\n"
        "Lists: pass limit, offset (records to skip); get items, total.\n"
        "Ids: prefix and number (ABC-0012); a new record takes the next number. Dates: 2024-05-03. "
        "Times: 2024-05-03T09:00:00Z. Create and update return the whole record; references are ids."
    )
