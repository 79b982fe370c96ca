"""Searches, directives and documented rules in detail: what each check lets pass and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import DEFINITIONS, REFEREES, alter, patch, play, say

from carg.checks import judge_scene, read_scene
from carg.records import Directive, ErrorSpec, Json, ToolError, Violation
from carg.scene import Scene

BOOKS = [
    {"id": f"B-{100 + number}", "title": title, "state": "lent", "pages": pages}
    for number, (title, pages) in enumerate((("Alps", 50), ("Bays", 70), ("Capes", 90)))
]


def judge(scene: Scene) -> list[str]:
    """The reason codes for a scene, each once."""
    return sorted({item.check for item in judge_scene(read_scene(scene, REFEREES))})


def search(arguments: dict[str, Json], body: Json, **parameters: Json) -> list[str]:
    """The reason codes for a search with this body; further parameters are added to the definition."""
    scene = play(("get_book", {"id": "B-100"}), kind="single")
    tool = DEFINITIONS["search_books"]
    schema = {**tool.parameters, "properties": {**tool.parameters["properties"], **parameters}}
    text = '{"tool":"search_books","arguments":{}}'
    scene = replace(scene, definitions={"search_books": replace(tool, parameters=schema, returns=None)})
    call = replace(scene.session.exchanges[0].call, text=text, tool="search_books", arguments=arguments)
    codes = judge(say(alter(scene, 0, lambda item: replace(item, call=call)), 0, body))
    return [code for code in codes if code != "parses"]


ANY = {"type": ["string", "number", "boolean"]}


@pytest.mark.parametrize(
    ("arguments", "fails"),
    [
        ({"state": "lent"}, False),
        ({"state": "lost"}, True),
        ({"min_pages": 50}, False),
        ({"min_pages": 51}, True),
        ({"maxPages": 90}, False),
        ({"maxPages": 89}, True),
        ({"pages_min": 60}, True),
        ({"title": "alps"}, True),
        ({"title": "a"}, False),
        ({"title_contains": "AP"}, True),
        ({"title_contains": "a"}, False),
        ({"owner": "nobody"}, False),
        ({"min_title": "B"}, False),
    ],
)
def test_filters(arguments: dict[str, Json], fails: bool) -> None:
    """A record outside a filter is found; filters on what records do not show are not judged."""
    found = search(arguments, {"books": BOOKS, "total": 3}, **dict.fromkeys(arguments, ANY))

    assert found == (["filters_hold"] if fails else [])


@pytest.mark.parametrize(
    ("arguments", "total", "fails"),
    [
        ({}, 3, None),
        ({}, 4, "totals_hold"),
        ({}, 2, "totals_hold"),
        ({"offset": 3}, 6, None),
        ({"limit": 3}, 9, None),
        ({"limit": 2}, 9, "limit_holds"),
        ({"limit": 4}, 9, "totals_hold"),
    ],
)
def test_limits_and_totals(arguments: dict[str, Json], total: int, fails: str | None) -> None:
    """Three records are listed: what limit, offset and total can stand with them."""
    assert search(arguments, {"books": BOOKS, "total": total}) == ([fails] if fails else [])


@pytest.mark.parametrize(
    ("arguments", "fails"),
    [
        ({"sort": "pages"}, False),
        ({"sort": "-pages"}, True),
        ({"sort": "pages:desc"}, True),
        ({"sortBy": "pages", "order": "asc"}, False),
        ({"sortBy": "title", "direction": "desc"}, True),
        ({"sort": "owner"}, False),
    ],
)
def test_sorting(arguments: dict[str, Json], fails: bool) -> None:
    """Order is read from the name, a sign, a suffix or a second parameter."""
    found = search(arguments, {"books": BOOKS, "total": 3}, **dict.fromkeys(arguments, ANY))

    assert found == (["sort_holds"] if fails else [])


def test_sorting_leaves_what_definitions_do_not_tell() -> None:
    """Nulls may stand anywhere, and letters beyond ASCII go by rules of their own."""
    odd = [{**BOOKS[0], "title": "Öland"}, {**BOOKS[1], "title": "Paros"}, {**BOOKS[2], "title": None}]

    assert search({"sort": "title"}, {"books": [odd[2], *odd[:2]], "total": 3}) == []
    assert search({"sort": "title"}, {"books": [odd[1], odd[0]], "total": 2}) == []


LIST = play(("search_books", {"limit": 4}), kind="single")


@pytest.mark.parametrize(
    ("fault", "detail", "obeyed"),
    [
        ("missing_field", {"pointer": "/count"}, True),
        ("missing_field", {"pointer": "/books/0/title"}, False),
        ("missing_field", {"pointer": None}, True),
        ("partial", {"kept": 4}, True),
        ("partial", {"kept": 3}, False),
        ("stale", {"body": {"books": [], "total": 0}}, False),
        ("stale", {"body": LIST.session.exchanges[0].response.body}, True),
        ("truncated", {"share": 0.5}, False),
        ("rate_limit", {}, False),
    ],
)
def test_directives(fault: str, detail: dict[str, Json], obeyed: bool) -> None:
    """An answer as it is, under an order that it follows or not."""
    scene = alter(LIST, 0, lambda item: replace(item, directive=Directive(fault, detail, 1)))

    assert judge(scene) == ([] if obeyed else ["directive_obeyed"])


def test_a_documented_rule_over_arguments_refutes_a_valid_label() -> None:
    """A rule that was proved fires on a call labelled valid; of a world's own rules execution is the judge."""
    rule = ErrorSpec("too_greedy", "rule.cross_field", 422, "Too many.", "limit", {"rule": "limit >= 4"})
    tool = replace(DEFINITIONS["search_books"], errors=(rule,))
    scene = replace(LIST, definitions={"search_books": tool})
    referees = replace(
        REFEREES, rule_holds=lambda source, _schema, given: source == "limit >= 4" and given["limit"] >= 4
    )
    world = replace(scene, instance=replace(scene.instance, domain_digest="d1"))

    assert [item.check for item in judge_scene(read_scene(scene, referees))] == ["arguments_conform"]
    assert judge_scene(read_scene(world, referees)) == []


def test_the_first_fault_is_what_counts() -> None:
    """Of two faults the answer must name the first in order, at its own field."""
    scene = play(("search_books", {"limit": 99, "sort": 5}), kind="single")
    faults = scene.session.exchanges[0].call.violates
    swapped = alter(scene, 0, lambda item: replace(item, call=replace(item.call, violates=faults[::-1])))

    assert [item.fault for item in faults] == ["schema.type", "schema.range"]
    assert judge(scene) == []
    assert judge(swapped) == ["error_label", "label_agrees"]


def test_a_value_that_looks_like_a_placeholder_may_stand_in_a_world() -> None:
    """A model that answers just "string" copied the schema; a table that a person wrote means it."""
    taught = patch(play(("get_book", {"id": "B-100"})), 0, note="String")
    executed = alter(taught, 0, lambda item: replace(item, truth="code"))

    assert judge(taught) == ["placeholders"]
    assert judge(executed) == ["executed_truth"]


def test_a_date_that_does_not_exist_is_for_the_world_to_refuse() -> None:
    """The schema lets 31 February pass where its pattern does; without a world nobody can prove such a label."""
    scene = play(("get_book", {"id": "B-9"}), kind="single")
    fault = Violation("bad_format", "schema.format", "id")
    error = ToolError("book_not_found", "schema.format", 400, "No book B-9.", "id")
    late = alter(
        scene,
        0,
        lambda item: replace(
            item, call=replace(item.call, violates=(fault,)), response=replace(item.response, error=error)
        ),
    )
    world = replace(late, instance=replace(late.instance, domain_digest="d1"))

    assert judge(late) == ["label_agrees"]
    assert judge(world) == []


def test_labels_look_alikes_and_unknown_tools() -> None:
    """A label and its faults go together; a look-alike is valid; an unparsable or unknown call is not."""
    scene = play(("get_book", {"id": "B-100"}), ("borrow_book", {}), kind="single")
    call = scene.session.exchanges[0].call
    lost = scene.session.exchanges[1].call

    def relabel(at: int, **changes: object) -> list[str]:
        return judge(alter(scene, at, lambda item: replace(item, call=replace(item.call, **changes))))

    assert judge(scene) == []
    assert relabel(0, lookalike="ok.boundary") == []
    assert relabel(0, lookalike="ok.whatever") == ["label_agrees"]
    assert relabel(0, violates=lost.violates) == ["label_agrees"]
    assert relabel(0, label="invalid") == ["error_label", "label_agrees"]
    assert relabel(0, text="get book", violates=(Violation("", "call.unparsable"),), label="invalid") == ["error_label"]
    assert relabel(0, text="get book", arguments=call.arguments) == ["label_agrees", "parses"]
    assert relabel(1, label="valid", violates=()) == ["error_label", "label_agrees"]
