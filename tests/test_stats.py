"""Statistics find a leak that was put in and none where there is none; tables hold exact numbers on small corpora."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from scenes import DEFINITIONS, play

from carg.records import Exchange, Tool
from carg.stats import Table, share
from carg.stats.leaks import BOUNDS, Sample, leaks, match_samples, sample_calls, sequences
from carg.stats.realism import MEASURES, compare_realism
from carg.stats.tools import count_tools, is_generic, skeleton


def look(table: Table, key: object, column: str) -> object:
    """One cell of a table, by the first column."""
    return next(row[table.columns.index(column)] for row in table.rows if row[0] == key)


def calls(n_calls: int, fault: str, rng: Random, *, sign: str = "", kinds: tuple[str, ...] = ()) -> list[Sample]:
    """Random calls of ten tools and thirty instances; tools fail at very different rates."""
    out = []
    for _ in range(n_calls):
        tool = int(10 * (rng.random() ** (3 if fault else 0.5)))
        text = f'{{"tool":"tool{tool}","id":"B-{rng.randrange(1000)}","kg":{rng.randrange(100)}{sign}}}'
        out.append(Sample(text, f"t{tool}", f"i{rng.randrange(30)}", fault, frozenset(kinds)))
    return out


def test_a_planted_leak_is_found_and_the_tool_name_is_none() -> None:
    """A sign in invalid calls gives them away; that one tool fails more often than another does not."""
    rng = Random(1)
    samples = [
        *calls(1_500, "", rng),
        *calls(700, "state.order", rng),
        *calls(700, "state.not_found", rng, sign=',"old":1'),
        *calls(100, "rule.limit", rng),
    ]
    table = leaks(samples, least=300)
    auc = look(table, "state.order", "auc")

    assert isinstance(auc, float)
    assert 0.4 < auc < 0.6
    assert look(table, "state.order", "verdict") == "ok"
    assert look(table, "state.not_found", "auc") == 1.0
    assert look(table, "state.not_found", "verdict") == "leaks"
    assert look(table, "rule.limit", "verdict") == "not measured"
    assert look(table, "rule.limit", "auc") is None
    assert [row[0] for row in table.rows] == list(BOUNDS)
    assert table == leaks(samples, least=300)


def test_negatives_come_from_the_same_tool_and_carry_the_same_kind_of_parameter() -> None:
    """For faults in a value, a valid call without such a parameter is no fair comparison."""
    rng = Random(2)
    samples = [
        *calls(200, "", rng, kinds=("enum",)),
        *calls(400, "", rng, kinds=("string",)),
        *calls(100, "schema.enum", rng, kinds=("enum",)),
    ]
    chosen = match_samples(samples, "schema.enum", rng)
    by_tool = [sorted(item.tool for item in chosen if bool(item.fault) == bad) for bad in (False, True)]

    assert {item.kinds for item in chosen} == {frozenset({"enum"})}
    assert by_tool[0] == by_tool[1]
    assert match_samples(samples, "schema.range", rng) == []


def test_samples_tell_fault_and_kinds() -> None:
    """A valid call has the kinds of all it carries, an invalid one that of the parameter at fault."""
    scene = play(
        ("search_books", {"state": "lent", "limit": 3}),
        ("search_books", {"limit": 99}),
        ("get_book", {"id": "B-9"}),
        ("borrow", {}),
        kind="single",
    )
    found = [(item.tool.rpartition("/")[2], item.fault, sorted(item.kinds)) for item in sample_calls([scene])]

    assert found == [
        ("search_books", "", ["bounded integer", "enum"]),
        ("search_books", "schema.range", ["bounded integer"]),
        ("get_book", "state.not_found", []),
    ]


def test_common_sequences_are_found() -> None:
    """The share is of sessions that have the run; short sessions and independent calls are not counted."""
    read = ("get_book", {"id": "B-100"})
    same = [play(*[read] * 6, seed=seed) for seed in range(3)]
    other = [play(*[("get_book", {"id": f"B-{number}"}) for number in range(5)])]
    ignored = [play(read), play(*[read] * 6, kind="single")]
    table = sequences([*same, *other, *ignored], least=4)

    assert table.rows[:2] == (
        ("read other ok, read same ok, read same ok, read same ok, read same ok", 3, 0.75, "leaks"),
        ("read same ok, read same ok, read same ok, read same ok, read same ok", 3, 0.75, "leaks"),
    )
    assert table.notes.startswith("4 sessions")
    assert {row[-1] for row in sequences(same).rows} == {"not measured"}


def tool(name: str, kind: str, domain: str = "library", **changes: object) -> Tool:
    """A tool from the definition of that name in the library."""
    definition = DEFINITIONS[name]
    made = Tool(
        id=f"{domain}/{name}",
        domain=domain,
        service="desk",
        name=name,
        title=definition.title,
        description=definition.description,
        parameters=definition.parameters,
        returns=definition.returns,
        effect=definition.effect,
        errors=definition.errors,
        binding={"kind": kind},
    )
    return replace(made, **changes)


def test_tools_are_counted_by_domain() -> None:
    """Generic share, skeletons and duplicates of a corpus of five."""
    tools = [
        tool("get_book", "get"),
        tool("update_book", "update"),
        tool("lend_book", "action"),
        tool("lend_book", "action", "archive"),
        tool("search_books", "search", "archive", description="Find what the archive keeps in its rooms by period."),
    ]
    whole, domains = count_tools(tools)

    assert dict(whole.rows) == {
        "tools": 5,
        "domains": 2,
        "services": 2,
        "names": 4,
        "generic share": 0.6,
        "skeletons": 4,
        "variants": 0,
        "exact duplicates share": 0.2,
        "near duplicates share": 0.2,
    }
    assert domains.rows == (
        ("archive", 1, 2, 0.5, 2, 1.0, "ok"),
        ("library", 1, 3, 0.6667, 3, 1.3, "too generic"),
    )


def test_a_skeleton_has_no_names() -> None:
    """Renamed parameters are the same shape; another type, bound or effect is another."""
    base = tool("get_book", "get")
    schema = base.parameters
    renamed = {**schema, "properties": {"key": schema["properties"]["id"]}, "required": ["key"]}
    optional = {**schema, "required": []}

    assert skeleton(replace(base, name="x", parameters=renamed)) == skeleton(base)
    assert skeleton(replace(base, parameters=optional)) != skeleton(base)
    assert skeleton(replace(base, effect="delete")) != skeleton(base)
    assert not is_generic(replace(base, binding=None))


def test_realism_puts_ours_beside_the_real() -> None:
    """Every measure has a value or None for each side."""
    ours = [tool("get_book", "get"), tool("search_books", "search")]
    bare = replace(tool("get_book", "get"), parameters={"type": "object", "properties": {}}, returns=None)
    exchanges: list[Exchange] = list(play(("get_book", {"id": "B-100"}), ("get_book", {"id": "B-9"})).session.exchanges)
    table = compare_realism(ours, [bare], our_exchanges=exchanges)
    found = {row[0]: row[1:] for row in table.rows}

    assert list(found) == list(MEASURES)
    assert found["tools"] == (2, 1)
    assert found["parameters, 90 %"] == (5, 0)
    assert found["optional parameters"] == (0.8333, None)
    assert found["depth of returns, 90 %"] == (3, None)
    assert found["parameters with enum"] == (0.3333, None)
    assert found["nulls among values"] == (0.1429, None)
    assert found["error share"] == (0.5, None)
    assert found["body, median"] == (len(exchanges[0].response.text) / 4, None)


@pytest.mark.parametrize(("part", "whole", "expected"), [(1, 3, 0.3333), (0, 5, 0.0), (3, 0, 0.0)])
def test_shares(part: int, whole: int, expected: float) -> None:
    """Four digits, and nothing of nothing is nothing."""
    assert share(part, whole) == expected
