"""Messages of a session: what stands in the system text and in which order, turns, masks, definition levels."""

from dataclasses import replace

import orjson
import pytest
from worlds import NOW, draw_instance, open_scene, plain_service, state

from carg.records import Directive, Exchange, Opening, Session
from carg.render import RULES, render_row, show_definition, system_text, user_text
from carg.scene import Scene
from carg.stages.by_world import make_sessions
from carg.world.view import View

VIEW = View("partial", {"shed": (), "tool": ("T1",), "member": ("M1", "M2"), "loan": ()}, "closed", True)


def small_scene(level="full", **must):
    """A swap of points and a read, over the small state."""
    service = plain_service(**must)
    opening = Opening("o", service.instance.id, 0, NOW, ACTOR, state().tables, state().counters)
    there, exchanges = state(), []
    for operation, arguments in (
        ("swap_points", {"member": "M1", "other": "M2"}),
        ("get_member", {"member": "M1"}),
    ):
        text = service.write_call(operation, arguments, ACTOR["credential"])
        answered = service.answer(there, text, ACTOR, service.definitions)
        there.apply(answered.outcome.changes)
        exchanges.append(Exchange(answered.call, answered.response, "code", operation == "get_member"))
    names = ("swap_points", service.tools["get_member"].definition.name)
    session = Session(
        "s", "session", service.instance.id, names, tuple(exchanges), level, opening="o", view=VIEW.to_json()
    )
    return open_scene(session, service.instance, opening)


ACTOR = {"name": "Ann Lee", "role": "keeper", "credential": "ann.lee"}


def parts(text):
    """The system text by its headings."""
    rules, *rest = text.split("\n\n# ")
    return {"": rules, **{part.partition("\n")[0]: part.partition("\n")[2] for part in rest}}


def test_the_messages_of_a_small_session():
    """Exactly so: what trainers, evaluation and servers all see."""
    scene = small_scene()
    row = render_row(scene)

    system, first, one, _, two = row.messages
    assert system.content == "\n\n".join(
        [
            RULES,
            f"# Convention\n{scene.instance.convention.documentation}",
            "# Tools\n"
            + "\n".join(orjson.dumps(show_definition(d, "full")).decode() for d in scene.definitions.values()),
            "# Now\n2024-06-03T07:34:00Z; calls come from Ann Lee, role keeper.",
            "# State\n"
            "sheds: 2, next id SHD-0003, not shown: S1, S2\n"
            "tools: 3, next id TOL-0004, not shown: T2, T3\n"
            "id | " + " | ".join(name for _, name, _ in plain_service().surface.fields("tool")) + "\n"
            "T1 | Saw T1 | SA-111 | S1 | saw | Bosch | 100.0 | 10.0 | - | 2024-05-04 | 2024-06-03T06:34:00Z | "
            '["wood"] | {"length":40,"cord":null} | - | - | ready\n'
            "members: 2, next id MEM-0003\n"
            "id | name | email | phone | tier | points | joined | loans | fees\n"
            "M1 | Kim M1 | M1@post.example | - | plain | 20 | 2024-03-05 | 1 | 2.0\n"
            "M2 | Kim M2 | M2@post.example | - | plain | 5 | 2024-03-05 | 0 | 0.0\n"
            "loans: 1, next id LON-0002, not shown: L1\n"
            "Every id that exists is listed.",
        ]
    )
    id_name, other_name = (param.path[0] for param in plain_service().tools["swap_points"].params.values())
    assert orjson.loads(first.content) == {"name": "swap_points", "arguments": {id_name: "M1", other_name: "M2"}}
    assert orjson.loads(one.content) == {"mine": 5, "theirs": 20}
    assert orjson.loads(two.content)["points"] == 5
    assert [message.role for message in row.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert [message.train for message in row.messages] == [False, False, False, False, True]


def test_what_changes_least_comes_first():
    """So that prefixes are shared: rules, convention, tools, now, state."""
    assert list(parts(system_text(small_scene()))) == ["", "Convention", "Tools", "Now", "State"]


def test_rows_of_one_instance_share_their_prefix():
    """Up to the tools."""
    instance = draw_instance(2, "workshop")
    opening, sessions = make_sessions(instance, 20, 1)
    texts = [system_text(open_scene(session, instance, opening)) for session in sessions]
    assert len({text.partition("\n# Tools\n")[0] for text in texts}) == 1


@pytest.mark.parametrize(
    ("level", "keys"),
    [
        ("full", {"parameters", "returns", "errors"}),
        ("no_errors", {"parameters", "returns"}),
        ("no_returns", {"parameters", "errors"}),
        ("bare", {"parameters"}),
    ],
)
def test_levels_hide_parts_of_definitions(level, keys):
    """Name, description and parameters always stand."""
    shown = orjson.loads(parts(system_text(small_scene(level)))["Tools"].splitlines()[0])

    assert shown.keys() - {"http"} == {"name", "description"} | keys


def test_errors_are_shown_with_their_condition():
    """Code, status, words, field, when."""
    shown = orjson.loads(parts(system_text(small_scene()))["Tools"].splitlines()[0])
    error = next(item for item in shown["errors"] if item["code"] == "same_member")

    assert error["status"] == 422
    assert error["message"] == "Nobody swaps with himself."
    assert error["when"].startswith("not (")


def test_a_directive_is_shown_with_its_call():
    """As JSON; without one, the call as it came."""
    assert user_text("call") == "call"
    directive = Directive("rate_limit", {"retry_after_s": 5}, 1)
    assert orjson.loads(user_text("call", directive)) == {
        "call": "call",
        "directive": {"fault": "rate_limit", "retry_after_s": 5},
    }
    stale = user_text("call", Directive("stale", {"body": {"a": 1}}, 1))
    assert orjson.loads(stale)["directive"] == {"fault": "stale", "body": {"a": 1}}


def test_a_caller_is_named_where_calls_name_one():
    """By the credential that calls carry."""
    assert parts(system_text(small_scene(auth="argument")))["Now"].endswith(", named ann.lee in calls.")
    assert "named" not in parts(system_text(small_scene()))["Now"]


def test_a_withheld_state_says_so():
    """And that ids exist."""
    scene = small_scene()
    hidden = replace(scene, session=replace(scene.session, view=View("withheld", {}, "open").to_json()))

    assert parts(system_text(hidden))["State"] == "Records are not shown. Ids that were not deleted exist."


def test_a_row_says_what_it_is_made_of():
    """Kind, truth, label, tools, and for each exchange what a trainer may ask."""
    row = render_row(small_scene())
    meta = orjson.loads(row.meta)

    assert (row.kind, row.truth, row.label, row.domain, row.service) == (
        "session",
        "code",
        "valid",
        "tool_sheds",
        "counter",
    )
    assert (meta["view"], meta["level"], meta["syntax"]) == ("partial", "full", "openai")
    assert [exchange["tool"] for exchange in meta["exchanges"]] == [
        "tool_sheds/counter/swap_points",
        "tool_sheds/counter/get_member",
    ]
    assert len(orjson.loads(row.tool_definitions)) == 2


def test_mixed_rows_say_so():
    """Of labels and of truths."""
    scene = small_scene()
    bad = replace(
        scene.session.exchanges[0], call=replace(scene.session.exchanges[0].call, label="invalid"), truth="teacher"
    )
    mixed = render_row(replace(scene, session=replace(scene.session, exchanges=(bad, scene.session.exchanges[1]))))

    assert (mixed.label, mixed.truth) == ("mixed", "teacher")


def test_a_scene_without_an_opening_shows_the_state_of_its_view():
    """As sessions of an LLM have it."""
    scene = small_scene()
    told = replace(scene.session, opening=None, view={"mode": "told", "state": "members: 2"})
    bare = Scene(told, scene.instance, scene.definitions, None)

    assert system_text(bare).endswith("# State\nmembers: 2")
