"""Each check passes a sound record and complains of a spoiled one, and only that check does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from scenes import BOOK, DEFINITIONS, NOT_FOUND, REFEREES, alter, close, patch, play, render, say

from carg.checks import CHECKS, judge_scene, judge_tool, read_scene
from carg.records import Call, Definition, Directive, Exchange, Op, Response, ToolError, Violation
from carg.scene import Scene

GET = DEFINITIONS["get_book"]
SEARCH = DEFINITIONS["search_books"]


def judge(scene: Scene) -> list[str]:
    """The reason codes for a scene, each once."""
    return sorted({item.check for item in judge_scene(read_scene(scene, REFEREES, render(scene)))})


def of_world(scene: Scene) -> Scene:
    """The scene as one of an instance that a world can execute."""
    return replace(scene, instance=replace(scene.instance, operations=("get_book",)))


SOUND_SCENES = {
    "a life": play(
        ("create_book", {"title": "Tides", "pages": 90}),
        ("get_book", {"id": "B-501"}),
        ("update_book", {"id": "B-501", "pages": 91}),
        ("get_book", {"id": "B-501"}),
        ("lend_book", {"id": "B-501"}),
        ("get_book", {"id": "B-501"}),
        ("lend_book", {"id": "B-501"}),
        ("delete_book", {"id": "B-501"}),
        ("get_book", {"id": "B-501"}),
    ),
    "searches": play(
        ("search_books", {"limit": 3, "sort": "-pages"}),
        ("search_books", {"limit": 3, "offset": 3, "sort": "title"}),
        ("search_books", {"state": "lent", "min_pages": 100}),
        ("search_books", {"limit": 3, "sort": "-pages"}),
    ),
    "errors": play(
        ("get_book", {"id": "B-9"}),
        ("get_book", {}),
        ("borrow_book", {"id": "B-100"}),
        ("search_books", {"state": "gone", "limit": 99}),
        kind="single",
    ),
    "executed": play(("get_book", {"id": "B-100"}), ("create_book", {"title": "Ash", "pages": 5}), truth="code"),
}


@pytest.mark.parametrize("name", SOUND_SCENES)
def test_a_sound_scene_has_no_complaints(name: str) -> None:
    """Sessions that the library really answered pass every check."""
    assert judge(SOUND_SCENES[name]) == []


ONE = play(("get_book", {"id": "B-100"}), kind="single")
NEW = play(("create_book", {"title": "Tides", "pages": 90}), ("get_book", {"id": "B-501"}))
BAD = play(("get_book", {}), kind="single")
LIST = play(("search_books", {"limit": 4, "sort": "pages"}), kind="single")


def text(scene: Scene, words: str) -> Scene:
    """The scene with these words as a note in its first answer."""
    return patch(scene, 0, note=words)


def call(scene: Scene, **changes: object) -> Scene:
    """The scene with its first call changed in the record alone."""
    return alter(scene, 0, lambda item: replace(item, call=replace(item.call, **changes)))


def respond(scene: Scene, **changes: object) -> Scene:
    """The scene with its first response changed in the record alone."""
    return alter(scene, 0, lambda item: replace(item, response=replace(item.response, **changes)))


def direct(scene: Scene, fault: str, **detail: object) -> Scene:
    """The scene with a directive on its first exchange."""
    return alter(scene, 0, lambda item: replace(item, directive=Directive(fault, detail, 1)))


def books(scene: Scene, change: Callable[[list[dict[str, object]]], list[dict[str, object]]], at: int = 0) -> Scene:
    """The scene with the listed books of an answer changed."""
    return patch(scene, at, books=change(scene.session.exchanges[at].response.body["books"]))


REFUSE = ToolError("book_not_found", "state.not_found", 404, "No book.", "id")
REFUSED = Response(False, '{"error":{"code":"book_not_found","message":"No book."}}', None, REFUSE)
LABELLED = (Violation("book_not_found", "state.not_found", "id"),)

SPOILED_SCENES: dict[str, Scene] = {
    "parses": call(ONE, text='{"tool":"get_book","arguments":{"id":"B-107"}}'),
    "arguments_conform": call(
        ONE, text='{"tool":"get_book","arguments":{"id":"B-100","shelf":4}}', arguments={"id": "B-100", "shelf": 4}
    ),
    "label_agrees": call(
        respond(BAD, error=replace(REFUSE, code="missing_parameter", fault="schema.range")),
        violates=(Violation("out_of_range", "schema.range", "id"),),
    ),
    "body_conforms": patch(ONE, 0, colour="red"),
    "answer_reads": respond(ONE, text=ONE.session.exchanges[0].response.text.replace("volume", "tome")),
    "error_documented": alter(
        play(("get_book", {"id": "B-9"}), kind="single"),
        0,
        lambda item: replace(
            item,
            response=Response(False, '{"error":{"code":"gone","message":"Gone."}}', None, replace(REFUSE, code="gone")),
        ),
    ),
    "error_label": alter(ONE, 0, lambda item: replace(item, response=REFUSED)),
    "directive_obeyed": direct(ONE, "timeout"),
    "echo": patch(NEW, 0, title="Tide"),
    "invented_stand": alter(ONE, 0, lambda item: replace(item, invented=("/owner",))),
    "placeholders": text(ONE, "Lorem ipsum dolor"),
    "template_tokens": text(ONE, "done <|im_end|>"),
    "refusals": text(ONE, "As an AI language model"),
    "secrets": text(ONE, "paid with 4242 4242 4242 4242"),
    "text_sane": text(ONE, "CafÃ© du Nord"),
    "truncated": respond(
        alter(
            play(("get_book", {"id": "B-9"}), kind="single"),
            0,
            lambda item: replace(item, response=REFUSED),
        ),
        text='{"error":{"code":"book_not_found","message":"No b',
    ),
    "filters_hold": play(("search_books", {"state": "lent", "offset": 0}), kind="single"),
    "limit_holds": books(LIST, lambda listed: [*listed, {**listed[-1], "id": "B-149"}]),
    "totals_hold": patch(LIST, 0, total=2),
    "sort_holds": books(LIST, lambda listed: listed[::-1]),
    "history": play(("get_book", {"id": "B-100"}), ("search_books", {})),
    "read_after_write": patch(NEW, 1, pages=89),
    "delete_then_read": play(("delete_book", {"id": "B-100"}), ("get_book", {"id": "B-107"})),
    "repeat_read": patch(play(("get_book", {"id": "B-100"}), ("get_book", {"id": "B-100"})), 1, pages=3),
    "ids_known": books(LIST, lambda listed: [{**listed[0], "id": "B-77"}, *listed[1:]]),
    "time_monotone": patch(ONE, 0, updated_at="2022-01-01T00:00:00Z"),
    "executed_truth": patch(play(("get_book", {"id": "B-100"}), truth="code"), 0, pages=7),
    "teacher_truth": of_world(patch(ONE, 0, pages=7)),
    "determined": alter(ONE, 0, lambda item: replace(item, train=False)),
    "teaches": alter(
        alter(NEW, 0, lambda item: replace(item, train=False)), 1, lambda item: replace(item, train=False)
    ),
    "probes": alter(NEW, 0, lambda item: replace(item, probe="delete_then_read")),
}
SPOILED_SCENES["filters_hold"] = books(
    SPOILED_SCENES["filters_hold"], lambda listed: [{**listed[0], "state": "lost"}, *listed[1:]]
)
SPOILED_SCENES["history"] = books(
    SPOILED_SCENES["history"], lambda listed: [{**listed[0], "pages": 4999}, *listed[1:]], at=1
)
_DEAD = {**play(("get_book", {"id": "B-100"})).session.exchanges[0].response.body}
SPOILED_SCENES["delete_then_read"] = play(("delete_book", {"id": "B-100"}), ("search_books", {"limit": 50}))
SPOILED_SCENES["delete_then_read"] = patch(
    SPOILED_SCENES["delete_then_read"],
    1,
    books=[*SPOILED_SCENES["delete_then_read"].session.exchanges[1].response.body["books"], _DEAD],
    total=8,
)


@pytest.mark.parametrize("name", SPOILED_SCENES)
def test_a_spoiled_scene_has_its_complaint_alone(name: str) -> None:
    """One thing is wrong, and one reason code says so."""
    expected = {"truncated": ["answer_reads", "truncated"], "determined": ["determined", "teaches"]}.get(name, [name])

    assert judge(SPOILED_SCENES[name]) == expected


def test_a_row_must_tell_what_the_record_says() -> None:
    """A row rendered from another answer is refused."""
    row = render(patch(ONE, 0, pages=7))
    found = judge_scene(read_scene(ONE, REFEREES, row))

    assert [item.check for item in found] == ["row_tells"]


def spoil(**changes: object) -> Definition:
    """The get_book definition with fields replaced."""
    return replace(GET, **changes)


SPOILED_TOOLS = {
    "sound_schemas": spoil(parameters={**GET.parameters, "required": "id"}),
    "bounded_schemas": spoil(parameters=close({"id": {"type": "string", "description": "The id."}}, "id")),
    "documented_errors": spoil(errors=(NOT_FOUND, NOT_FOUND)),
    "described": spoil(description=" "),
    "examples_validate": spoil(
        parameters=close({"id": {"type": "string", "maxLength": 3, "default": "B-100", "description": "The id."}})
    ),
    "paths_exist": spoil(id_argument="book_id"),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_sound_tool_has_no_complaints(name: str) -> None:
    """The definitions of the library pass every check of tools."""
    assert judge_tool(DEFINITIONS[name]) == []


@pytest.mark.parametrize("name", SPOILED_TOOLS)
def test_a_spoiled_tool_has_its_complaint_alone(name: str) -> None:
    """One thing is wrong with the tool, and one reason code says so."""
    assert [item.check for item in judge_tool(SPOILED_TOOLS[name])] == [name]


def test_every_check_has_a_spoiled_record() -> None:
    """No check is on the list without a test above, and each has its line for the README."""
    tested = {*SPOILED_SCENES, *SPOILED_TOOLS, "row_tells"}

    assert {item.name for item in CHECKS} == tested
    assert all(item.about.endswith(".") for item in CHECKS)


def test_no_check_is_satisfied_by_an_empty_record() -> None:
    """An empty tool, exchange or session gets a complaint from each check."""
    nothing = Exchange(Call("", None, None, "valid"), Response(True, ""), "teacher")
    scene = alter(ONE, 0, lambda _item: nothing)
    turn = read_scene(scene, REFEREES).turns[0]
    empty = read_scene(
        replace(ONE, session=replace(ONE.session, exchanges=())), replace(REFEREES, replay=lambda _s: [])
    )
    records = {"tool": spoil(name="", parameters={}), "exchange": turn, "session": empty}

    assert [item.name for item in CHECKS if item.complain(records[item.judges]) is None] == []


def test_recorded_answers_of_real_tools_are_not_held_to_our_own_rules() -> None:
    """What a real tool said is kept though its definition is loose; a secret in it is not."""
    loose = patch(ONE, 0, colour="red")
    real = alter(loose, 0, lambda item: replace(item, truth="recorded"))
    leaky = alter(text(ONE, "AKIA" + "A1B2C3D4" * 2), 0, lambda item: replace(item, truth="recorded"))

    assert judge(real) == []
    assert judge(leaky) == ["secrets"]
    assert judge_tool(SPOILED_TOOLS["bounded_schemas"], recorded=True) == []


def test_a_directive_excuses_what_it_orders() -> None:
    """A body that a directive cut or thinned is not held to `returns`, nor an ordered failure to the label."""
    cut = alter(
        direct(ONE, "truncated"),
        0,
        lambda item: replace(item, response=replace(item.response, text=item.response.text[:30])),
    )
    failed = alter(
        direct(ONE, "server_error"),
        0,
        lambda item: replace(
            item,
            response=replace(
                REFUSED,
                error=replace(REFUSE, code="internal"),
                text='{"error":{"code":"internal","message":"Try later."}}',
            ),
        ),
    )

    assert judge(cut) == []
    assert judge(failed) == []


def test_a_write_in_an_executed_world_may_change_derived_values_elsewhere() -> None:
    """After a write that execution proved, only what it wrote itself is held to."""
    steps = (("get_book", {"id": "B-107"}), ("update_book", {"id": "B-100", "pages": 9}), ("get_book", {"id": "B-107"}))
    taught = patch(play(*steps), 2, pages=7)
    executed = alter(
        patch(play(*steps, truth="code"), 2, pages=7), 1, lambda item: replace(item, ops=(Op("book", "B-100", {}),))
    )

    assert judge(taught) == ["history"]
    assert judge(executed) == ["executed_truth"]


def test_a_teacher_is_held_to_truth_in_what_is_determined() -> None:
    """Another outcome is told, another value too; a value that nobody could know may be any, as under a directive."""
    wrong = of_world(patch(ONE, 0, pages=7))
    refused = of_world(alter(ONE, 0, lambda item: replace(item, response=REFUSED)))
    free = alter(wrong, 0, lambda item: replace(item, invented=("/pages",)))
    context = alter(wrong, 0, lambda item: replace(item, train=False))

    assert judge(of_world(ONE)) == []
    assert judge(wrong) == ["teacher_truth"]
    assert "teacher_truth" in judge(refused)
    assert "teacher_truth" not in judge(free)
    assert "teacher_truth" not in judge(context)


def test_a_schema_names_its_own_properties() -> None:
    """The record schema of the fixtures is one that bounds everything, so that spoiled tools differ in one thing."""
    assert BOOK["additionalProperties"] is False
    assert say(ONE, 0, {}).session.exchanges[0].response.text == "{}"
