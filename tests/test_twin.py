"""What is determined: the twin agrees on all of it, and finds what is not; and what a model knows, case by case."""

from dataclasses import replace
from random import Random

import pytest
from worlds import draw_instance, grow, loan, member, open_scene, plain_service, service_of, state, tool, untightened

from carg.comparing import leaves
from carg.records import Directive
from carg.stages.by_world import make_sessions
from carg.world.knowledge import Knowledge, needed_records, scanned_tables
from carg.world.playing import answers_of_twin, compare
from carg.world.replay import replay_answers, start_state
from carg.world.twin import twin_of
from carg.world.view import MODES, View, draw_view, service_tables, view_of

ACTOR = {"name": "Ann Lee", "role": "keeper", "credential": "ann"}


def scenes(service, seed, budget=24):
    """The generated sessions of an instance."""
    instance = draw_instance(seed, service)
    opening, sessions = make_sessions(instance, budget, seed)
    return [open_scene(session, instance, opening) for session in sessions]


def under(scene, mode):
    """The scene with another view."""
    service, answers = service_of(scene.instance), replay_answers(scene)
    start = start_state(scene.opening, scene.session)
    tables = service_tables(service.world, scene.instance.service)
    if mode == "full":
        view = View("full", {name: tuple(sorted(start.tables[name])) for name in tables}, "closed")
    else:
        needed, scanned = needed_records(answers), scanned_tables(answers)
        view = draw_view(service.surface, start, tables, needed, scanned, Random(scene.session.id), mode=mode)
    return replace(scene, session=replace(scene.session, view=view.to_json()))


CASES = [(service, seed) for service in ("counter", "workshop") for seed in range(1, 5)]


@pytest.mark.parametrize(("service", "seed"), CASES)
def test_what_is_determined_is_the_same_in_the_twin(service, seed):
    """Every label with train and every value not marked as invented, in the view drawn and in every other."""
    for scene in scenes(service, seed):
        assert compare(scene, 1) == []
        for mode in MODES:
            assert compare(under(scene, mode), 2) == []


def test_the_twin_finds_what_is_not_determined(monkeypatch):
    """Were everything taken for known, labels and values would disagree."""
    monkeypatch.setattr(Knowledge, "knows", lambda self, read: True)
    played = [under(scene, "summary") for seed in (1, 2, 3) for scene in scenes("workshop", seed)]
    found = [item for scene in played for item in compare(scene, 1)]

    assert "label" in {item.place for item in found}
    assert len(found) > 20


def test_the_masks_of_sessions_are_what_the_answers_prove():
    """train and invented follow from view and execution alone."""
    for scene in scenes("counter", 2):
        view, start = view_of(scene.session.view), start_state(scene.opening, scene.session)
        knowledge = Knowledge(view, start.tables)
        for exchange, answered in zip(scene.session.exchanges, replay_answers(scene), strict=True):
            determined, invented = knowledge.judge(answered)
            assert exchange.train == determined
            assert set(exchange.invented) <= set(invented)


def test_the_twin_agrees_with_the_view_and_differs_in_the_rest():
    """Shown records, counts, closed ids; hidden records are others."""
    scene = under(scenes("workshop", 3)[0], "partial")
    start, hidden, other = start_state(scene.opening, scene.session), 0, 0
    closed = replace(scene, session=replace(scene.session, view={**scene.session.view, "rule": "closed"}))
    twin = twin_of(closed, 1).state

    for name, keys in scene.session.view["ids"].items():
        assert twin.tables[name].keys() == start.tables[name].keys()
        for key in start.tables[name]:
            if key in keys:
                assert twin.tables[name][key] == start.tables[name][key]
            else:
                hidden, other = hidden + 1, other + (twin.tables[name][key] != start.tables[name][key])
    assert hidden > 4
    assert other == hidden


def test_references_of_the_twin_lead_somewhere():
    """A record that takes over an id is referred to by it."""
    scene = under(scenes("workshop", 3)[0], "withheld")
    service, twin = service_of(scene.instance), twin_of(scene, 1)
    for resource in service.world.resources.values():
        for record in twin.state.tables[resource.name].values():
            for name, spec in resource.fields.items():
                if spec.kind == "ref" and record[name] is not None:
                    assert record[name] in twin.state.tables[spec.of]


def test_twins_are_deterministic_and_differ_by_seed():
    """The same seed answers the same."""
    scene = next(scene for scene in scenes("counter", 3) if len(scene.session.exchanges) > 4)
    hidden = under(scene, "withheld")
    texts = [[answered.response.text for answered in answers_of_twin(hidden, seed)] for seed in (1, 1, 2)]

    assert texts[0] == texts[1] != texts[2]


def test_a_service_without_records_has_nothing_to_hide():
    """No opening, no disagreement."""
    scene = scenes("counter", 1)[0]

    assert compare(replace(scene, opening=None), 1) == []


def test_leaves_are_the_parts_that_hold_no_other():
    """Empty lists and objects are leaves."""
    body = {"a": [{"b": 1}, 2], "c": [], "d": {}}

    assert dict(leaves(body, "")) == {"/a/0/b": 1, "/a/1": 2, "/c": [], "/d": {}}


# What a model knows ---------------------------------------------------------------------------------------------------

NOTHING = View("withheld", {}, "open")


def judge(view, *calls, on=None, service="counter", directive=None, **must):
    """(train, invented) of each call, over the small state."""
    there, made = on or state(), []
    one = untightened(plain_service(service, **must))
    knowledge = Knowledge(view, there.tables)
    for operation, arguments in calls:
        text = one.write_call(operation, arguments, None)
        answered = one.answer(there, text, ACTOR, one.definitions, directive)
        assert answered.outcome is not None, answered.response.text
        made.append(knowledge.judge(answered))
        there.apply(answered.outcome.changes)
    return made


def see(rule="closed", counters=False, **ids):
    """A partial view."""
    every = {"tool": (), "member": (), "loan": (), "shed": (), "inspection": ()}
    return View("partial", {**every, **{name: tuple(keys) for name, keys in ids.items()}}, rule, counters)


def test_ids_not_listed_exist_under_the_open_rule():
    """So an answer is sure to come, its values are not; an unknown id may or may not be there."""
    found, missing = judge(NOTHING, ("get_member", {"member": "M1"}), ("get_member", {"member": "M9"}))

    assert found[0] and "/name" in found[1] and "/id" not in found[1]
    assert missing == (False, ())


def test_under_the_closed_rule_everybody_is_listed():
    """What is not listed is not there."""
    assert judge(see(), ("get_member", {"member": "M9"})) == [(True, ())]


def test_what_was_answered_is_known():
    """Reading it again is determined; so is what was found missing."""
    calls = [("get_member", {"member": "M1"})] * 2 + [("get_member", {"member": "M9"})] * 2

    assert [(train, bool(invented)) for train, invented in judge(NOTHING, *calls)] == [
        (True, True),
        (True, False),
        (False, False),
        (True, False),
    ]


def test_the_same_question_has_the_same_answer_until_something_changes():
    """What a search found nobody can know, but twice the same is the same; in other words, too."""
    find, other = ("search_members", {}), ("search_loans", {})
    rename = ("update_member", {"member": "M1", "name": "Bo"})
    found = judge(NOTHING, find, find, other, rename, find)

    assert [bool(invented) for _, invented in found] == [True, False, True, False, True]


def test_a_new_id_is_known_only_where_the_next_one_is_shown():
    """Else it is invented, and known from then on."""
    lend = ("lend_tool", {"tool": "T1", "member": "M2", "days": 3})
    seen = {"tool": ["T1"], "member": ["M2"]}

    assert judge(see(counters=True, **seen), lend) == [(True, ())]
    first, again = judge(see(**seen), lend, ("get_loan", {"loan": "LON-0002"}))
    assert first == (True, ("/loan",))
    assert again == (True, ())


def test_a_record_nobody_was_told_of_stays_unknown():
    """Made while its id was neither shown nor said."""
    inspect = ("inspect_tools", {"tools": ["T1"]})
    get = ("get_inspection", {"inspection": "INS-0001"})
    quiet = Directive("missing_field", {"pointer": "/inspection"}, 1)
    train, invented = judge(see(tool=["T1"]), inspect, get, service="workshop", directive=quiet)[1]

    assert not train
    assert "/kind" in invented


def test_drawn_values_are_invented_and_computed_ones_are_not():
    """The verdict is drawn; the kind is the tool's."""
    view = see(tool=["T1"], counters=True)
    calls = ("inspect_tools", {"tools": ["T1"]}), ("get_inspection", {"inspection": "INS-0001"})

    assert judge(view, *calls, service="workshop") == [(True, ()), (True, ("/verdict",))]


def test_a_value_written_from_the_unknown_is_unknown():
    """A swap with a hidden member, read again from the one that is shown."""
    calls = ("swap_points", {"member": "M1", "other": "M2"}), ("get_member", {"member": "M1"})

    assert judge(see(member=["M1"]), *calls) == [(True, ("/mine",)), (True, ("/points",))]


def test_an_effect_on_an_unknown_record_spoils_all_that_are_shown():
    """T3 goes back to a shed that is not shown to be its own."""
    hidden = see(tool=[], shed=["S1", "S2"], loan=["L1"])
    there = state()
    knowledge = Knowledge(hidden, there.tables)
    one = untightened(plain_service())
    answered = one.answer(there, one.write_call("return_tool", {"tool": "T3"}, None), ACTOR, one.definitions)
    knowledge.judge(answered)

    assert not knowledge.knows(("shed", "S2", "open"))
    assert knowledge.knows(("shed", "S2", "capacity"))


def test_counts_change_by_what_is_known():
    """One loan more is one more, whoever else has loans; a hidden loan closed may be anybody's."""
    view = see(tool=["T1", "T3"], member=["M1", "M2"], counters=True)
    lend = ("lend_tool", {"tool": "T1", "member": "M2", "days": 3})
    back = ("return_tool", {"tool": "T3"})
    look = ("get_member", {"member": "M2"})

    assert judge(view, lend, look) == [(True, ()), (True, ())]
    assert judge(view, back, look) == [(True, ()), (True, ("/loans",))]


def test_what_goes_with_a_deleted_record_may_be_anything():
    """Loans whose member is not known: nobody can say whether they are left."""
    get = ("get_loan", {"loan": "L2"})
    there = state(loan=[loan("L2", "T3", "M2")])

    assert judge(see(member=["M1"]), ("delete_member", {"member": "M1"}), get, on=there)[1][0] is False
    assert judge(see(member=["M1"], loan=["L2"]), ("delete_member", {"member": "M1"}), get, on=there)[1] == (True, ())
    gone = ("get_loan", {"loan": "L1"})
    assert judge(see(member=["M1"], loan=["L1"]), ("delete_member", {"member": "M1"}), gone)[1] == (True, ())


def test_behind_an_unknown_reference_nothing_is_known():
    """Not even the name of a record that is shown."""
    view = see(rule="open", member=["M1"])
    _, invented = judge(view, ("get_loan", {"loan": "L1"}), embed="brief")[0]

    assert "/member" in invented


def test_words_of_a_refusal_tell_the_cells_they_show():
    """And only where one can say whose they are."""
    there = state(member=[member("M1", tier="barred")])
    refused = ("lend_tool", {"tool": "T1", "member": "M1"})
    _, invented = judge(NOTHING, refused, ("get_member", {"member": "M1"}), on=there)[1]
    assert "/name" not in invented
    assert "/tier" in invented
    there = state(tool=[tool("T4", shed="S2")])
    moved = ("move_tools", {"tools": ["T4"], "to": "S2"})
    _, invented = judge(NOTHING, moved, ("get_shed", {"shed": "S2"}), on=there, service="workshop")[1]
    assert "/name" in invented


def test_searches_rest_on_whole_tables():
    """A table shown whole, and nothing less."""
    search = ("search_members", {"tier": "plain"})

    assert judge(see(member=["M1", "M2"]), search) == [(True, ())]
    assert judge(see(member=["M1"]), search) == [(True, ("/items", "/total"))]
    empty = state(member=[])
    empty.tables["member"].clear()
    assert judge(View("summary", {"member": ()}, "open"), search, on=empty) == [(True, ())]


def test_an_outage_is_determined_whatever_the_state():
    """It strikes before the tool looks."""
    outage = Directive("timeout", {"after_s": 5}, 1)

    assert judge(NOTHING, ("lend_tool", {"tool": "T1", "member": "M1"}), directive=outage) == [(True, ())]


def test_a_value_taken_is_settled_by_the_one_who_has_it():
    """Refused for a record that is shown; accepted only over the whole table."""
    taken = ("update_member", {"member": "M1", "email": "M2@post.example"})
    free = ("update_member", {"member": "M1", "email": "new@post.example"})

    assert judge(see(member=["M1", "M2"]), taken, free) == [(True, ()), (True, ())]
    there = state(member=[member("M3")])
    assert [train for train, _ in judge(see(member=["M1", "M2"]), taken, free, on=there)] == [True, False]


def test_grown_openings_are_stored_by_content():
    """The helper grows one opening an instance."""
    instance = draw_instance(5, "workshop")

    assert grow(instance) == grow(instance)


def test_counts_of_what_is_not_shown_may_change_with_it():
    """A set over loans that are not all known, a cascade over them: anybody's count."""
    look = ("get_member", {"member": "M2"})
    shown = {"tool": ["T1", "T3"], "member": ["M1", "M2"]}
    back = ("return_tool", {"tool": "T3"})

    assert judge(see(loan=["L1"], **shown), back, look)[1] == (True, ())
    assert judge(see(**shown), back, look)[1] == (True, ("/loans",))
    lone = state()
    lone.tables["loan"].clear()
    lone.tables["tool"]["T1"]["status"] = "lent"
    assert judge(see(rule="open", **shown), ("return_tool", {"tool": "T1"}), look, on=lone)[1] == (True, ())
