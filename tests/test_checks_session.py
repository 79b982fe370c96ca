"""Probes, times, known ids, replay and rows of whole sessions; errors and words of tools."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import DEFINITIONS, REFEREES, alter, patch, play, render

from carg.checks import judge_scene, judge_tool, read_scene
from carg.records import Message, Op
from carg.scene import Scene

GET, NEW = ("get_book", {"id": "B-501"}), ("create_book", {"title": "Tides", "pages": 90})
OTHER, DROP = ("get_book", {"id": "B-107"}), ("delete_book", {"id": "B-501"})


def judge(scene: Scene) -> list[str]:
    """The words of each complaint, by its code."""
    return [f"{item.check}: {item.words}" for item in judge_scene(read_scene(scene, REFEREES, render(scene)))]


@pytest.mark.parametrize(
    ("steps", "probe", "sound"),
    [
        ((NEW, GET), "read_after_write", True),
        ((NEW, GET), "read-after-write:1", True),
        ((NEW, OTHER), "read_after_write", False),
        ((GET, GET), "repeat_read", True),
        ((OTHER, GET), "repeat_read", False),
        ((NEW, DROP, GET), "delete_then_read", True),
        ((NEW, GET), "delete_then_read", False),
        ((NEW, ("search_books", {})), "total_after_write", True),
        ((OTHER, ("search_books", {})), "total_after_write", False),
    ],
)
def test_a_probe_has_what_it_probes_before_it(
    steps: tuple[tuple[str, dict[str, object]], ...], probe: str, sound: bool
) -> None:
    """The last call of each session is marked as a probe."""
    scene = alter(play(*steps), len(steps) - 1, lambda item: replace(item, probe=probe))
    name = probe.replace("-", "_").partition(":")[0]

    assert judge(scene) == ([] if sound else [f"probes: turn {len(steps) - 1}: nothing before it to {name}"])


def test_a_probe_may_read_what_an_action_made_unnamed() -> None:
    """Its write is known by the changes of state alone; those of another record do not count."""
    action = ("create_book", {"title": "Tides", "pages": 90})
    scene = alter(play(action, OTHER), 1, lambda item: replace(item, probe="read_after_write"))

    def judged(key: str) -> list[str]:
        return judge(alter(scene, 0, lambda item: replace(item, ops=(Op("book", key, {}),))))

    assert judged("B-107") == []
    assert judged("B-108") == ["probes: turn 1: nothing before it to read_after_write"]


def test_records_made_later_bear_later_times() -> None:
    """Creation times of one kind rise through a session; numbers and ISO texts are compared, other styles are not."""
    scene = play(NEW, NEW)
    early = "2023-11-14T22:20:00Z"
    back = patch(scene, 1, created_at=early)
    other = patch(patch(scene, 1, created_at=3), 0, created_at=5, updated_at=5)

    assert judge(scene) == []
    assert judge(back) == [f"time_monotone: turn 1: 'B-502' was created at '{early}', after a later one"]
    assert "time_monotone" in {line.partition(":")[0] for line in judge(other)}
    assert "time_monotone" not in " ".join(judge(patch(scene, 1, created_at="14.11.2023", updated_at="13.11.2023")))


def test_ids_are_judged_only_where_all_are_shown() -> None:
    """A partial view says nothing of ids that it does not list; what an earlier answer told is known."""
    stray = patch(play(("get_book", {"id": "B-100"})), 0, id="B-77")
    partial = replace(stray, session=replace(stray.session, view={"mode": "partial"}))

    assert [line.partition(":")[0] for line in judge(stray)] == ["echo", "ids_known"]
    assert [line.partition(":")[0] for line in judge(partial)] == ["echo"]
    assert judge(play(NEW, ("search_books", {"limit": 50}))) == []


def test_what_execution_made_can_be_executed_again() -> None:
    """A session of truth "code" without a world, or whose replay ends early, proves nothing."""
    scene = play(OTHER, OTHER, truth="code")
    short = replace(REFEREES, replay=lambda scene: REFEREES.replay(scene)[:1])
    words = [item.words for item in judge_scene(read_scene(scene, replace(REFEREES, replay=lambda _scene: None)))]

    assert judge(scene) == []
    assert words == ["it cannot be executed again"]
    assert [item.words for item in judge_scene(read_scene(scene, short))] == ["it cannot be executed again"]


@pytest.mark.parametrize("spoil", ["role", "call", "train", "user"])
def test_a_row_is_the_session_message_by_message(spoil: str) -> None:
    """Roles alternate, calls are told as they are and never trained on, answers as their exchange says."""
    scene = play(OTHER)
    row = render(scene)
    system, said, answered = row.messages
    spoiled = {
        "role": (system, said),
        "call": (system, Message("user", said.content + " ", False), answered),
        "train": (system, said, replace(answered, train=False)),
        "user": (system, replace(said, train=True), answered),
    }[spoil]
    found = judge_scene(read_scene(scene, REFEREES, replace(row, messages=spoiled)))

    assert [item.check for item in found] == ["row_tells"]


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("documented_errors", {"fault": "state.missing"}),
        ("documented_errors", {"status": 200}),
        ("documented_errors", {"status": 600}),
        ("documented_errors", {"message": " "}),
        ("documented_errors", {"code": ""}),
    ],
)
def test_errors_are_documented_in_full(check: str, changes: dict[str, object]) -> None:
    """Class, status, code and words of each."""
    tool = DEFINITIONS["get_book"]
    spoiled = replace(tool, errors=(replace(tool.errors[0], **changes),))

    assert [item.check for item in judge_tool(spoiled)] == [check]
    assert judge_tool(replace(tool, errors=(replace(tool.errors[0], status=599),))) == []


def test_tools_are_described_and_callable() -> None:
    """A name without blanks, and words for each parameter."""
    tool = DEFINITIONS["get_book"]
    silent = {**tool.parameters, "properties": {"id": {"type": "string", "maxLength": 9}}}

    assert [item.check for item in judge_tool(replace(tool, name="get book"))] == ["described"]
    assert [item.words for item in judge_tool(replace(tool, parameters=silent))] == [
        "get_book: parameter 'id' is not described"
    ]


def test_places_may_lie_inside_lists() -> None:
    """A path goes through the items of an array."""
    tool = DEFINITIONS["search_books"]

    assert judge_tool(replace(tool, id_result="books.id")) == []
    assert [item.check for item in judge_tool(replace(tool, id_result="books.key"))] == ["paths_exist"]
