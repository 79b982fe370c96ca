"""Executing operations: bodies, changes, refusals in their order, tallies and invariants, and what was read."""

import re
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import NOW, TODAY, WORLD, loan, member, records_after, run, setting, shed, state, tool

from carg.records import FAULT_ORDER
from carg.world.caller import draw_arguments
from carg.world.executing import execute
from carg.world.openings import recount
from carg.world.outcome import UNKNOWN, Actor, Rec, Refusal
from carg.world.setting import mint_id
from carg.world.state import State


def refusal(outcome):
    """(code, class, field) of a refusal."""
    assert outcome.refusal is not None
    assert outcome.changes == []
    return outcome.refusal.code, outcome.refusal.fault, outcome.refusal.field


# Generic operations ---------------------------------------------------------------------------------------------------


def test_get_gives_the_record_and_changes_nothing():
    """A read."""
    outcome = run("get_tool", {"tool": "T1"})

    assert (outcome.body, outcome.changes) == (Rec("tool", "T1"), [])


@pytest.mark.parametrize(
    ("arguments", "found", "total"),
    [
        ({}, ["T1", "T2", "T3"], 3),
        ({"kind": "saw"}, ["T1", "T3"], 2),
        ({"status": "lent"}, ["T3"], 1),
        ({"min_price": 60.0, "max_price": 99.99}, ["T2"], 1),
        ({"has_uses": "stone"}, [], 0),
        ({"shed": "S2"}, ["T2"], 1),
        ({"bought_to": TODAY - 31}, [], 0),
        ({"sort_by": "price"}, ["T2", "T1", "T3"], 3),
        ({"sort_by": "battery", "order": "desc"}, ["T2", "T1", "T3"], 3),
        ({"limit": 1, "offset": 1}, ["T2"], 3),
        ({"offset": 3}, [], 3),
    ],
)
def test_search_filters_sorts_and_pages(arguments, found, total):
    """All filters hold, in the order of ids or of the field asked for; nulls last; total counts all pages."""
    body = run("search_tools", arguments).body

    assert [item.id for item in body["items"]] == found
    assert body["total"] == total


def test_batch_get_lists_what_is_missing():
    """In the order of the call, each once."""
    body = run("get_tools_by_id", {"ids": ["T3", "T9", "T1", "T3"]}).body

    assert [item.id for item in body["items"]] == ["T3", "T1"]
    assert body["missing"] == ["T9"]


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [
        ({}, [(None, 3, 3)]),
        ({"group_by": "kind"}, [("drill", 1, 1), ("saw", 2, 2)]),
        ({"metric": "sum", "field": "price", "group_by": "shed"}, [("S1", 200.0, 2), ("S2", 60.0, 1)]),
        ({"metric": "avg", "field": "price"}, [(None, 86.6667, 3)]),
        ({"metric": "max", "field": "battery", "status": "lent"}, [(None, None, 0)]),
        ({"metric": "sum", "field": "battery", "status": "lent"}, [(None, 0, 0)]),
    ],
)
def test_aggregate_counts_and_computes_in_groups(arguments, groups):
    """Nulls are left out; a sum of nothing is 0, an extreme of nothing is nothing."""
    body = run("summarize_tools", arguments).body

    assert [(item["value"], item["result"], item["count"]) for item in body["groups"]] == groups


def test_create_fills_what_the_caller_left_out():
    """start, default, now and null; only_if empties a field; the id is the next one."""
    arguments = {"label": "Sander", "code": "SN-000", "shed": "S1", "kind": "sander", "maker": "Stihl", "price": 45.5}
    outcome = run("create_tool", {**arguments, "bought": TODAY, "uses": [], "size": {"length": 20}, "battery": 18})

    made = records_after(outcome)["tool/TOL-0004"]
    assert made["deposit"] == 4.55
    assert made["battery"] is None
    assert made["seen"] == NOW // 60 * 60
    assert (made["status"], made["spare"], made["note"]) == ("ready", None, None)
    assert records_after(outcome)["shed/S1"]["tools"] == 3
    assert records_after(outcome)["shed/S1"]["worth"] == 245.5


def test_create_draws_what_nobody_says_and_calls_it_unknown():
    """A drawn cell rests on what no one can see; the same state draws the same."""
    outcome = run("inspect_tools", {"tools": ["T1", "T2"]})

    rests = {(key, name): reads for _, key, name, reads in outcome.trace.writes}
    assert rests["INS-0001", "verdict"] == UNKNOWN
    assert rests["INS-0001", "by"] == ()
    assert rests["INS-0002", "kind"] == (("tool", "T2", "kind"),)
    assert records_after(outcome) == records_after(run("inspect_tools", {"tools": ["T1", "T2"]}))


def test_update_writes_only_what_is_given():
    """Other fields stay; what is not given is no null."""
    outcome = run("update_tool", {"tool": "T1", "price": 80.0})

    assert records_after(outcome)["tool/T1"] == tool("T1", price=80.0)
    assert records_after(outcome)["shed/S1"]["worth"] == 180.0
    assert run("update_tool", {"tool": "T1"}).refusal.code == "nothing_to_update"
    assert records_after(run("update_tool", {"tool": "T1", "uses": []}))["tool/T1"]["uses"] == []


def test_a_life_cycle_cannot_be_updated_past():
    """No generic operation takes a status, a count or a field of the system."""
    for operation in ("create_tool", "update_tool"):
        assert not {"status", "deposit", "seen"} & {item.name for item in WORLD.operations[operation].inputs}


@pytest.mark.parametrize(
    ("operation", "arguments", "code"),
    [
        ("delete_shed", {"shed": "S1"}, "shed_in_use_by_tool"),
        ("delete_tool", {"tool": "T3"}, "tool_in_use_by_loan"),
    ],
)
def test_restrict_keeps_what_is_referred_to(operation, arguments, code):
    """The rule of the policy refuses."""
    assert refusal(run(operation, arguments)) == (code, "state.conflict", next(iter(arguments)))


def test_cascade_and_nullify_follow_references():
    """What referred to it goes too, or forgets it; counts follow."""
    there = state(tool=[tool("T2", shed="S2", spare="T1")], inspection=[{"id": "I1", "tool": "T1", "verdict": "sound"}])
    outcome = run("delete_tool", {"tool": "T1"}, on=there)

    after = records_after(outcome)
    assert (after["tool/T1"], after["inspection/I1"]) == (None, None)
    assert after["tool/T2"]["spare"] is None
    assert after["shed/S1"]["tools"] == 1
    assert records_after(run("delete_member", {"member": "M1"}))["loan/L1"] is None


def test_unique_fields_are_taken_once():
    """Another record may not have the value; the record itself may keep it."""
    assert refusal(run("update_tool", {"tool": "T1", "code": "SA-222"})) == (
        "tool_code_taken",
        "state.conflict",
        "code",
    )
    assert run("update_tool", {"tool": "T1", "code": "SA-111"}).refusal is None


def test_tallies_count_only_what_their_condition_takes():
    """A closed loan counts no more, but its fee stays in the sum."""
    outcome = run("return_tool", {"tool": "T3"})

    after = records_after(outcome)["member/M1"]
    assert (after["loans"], after["fees"]) == (0, 2.0)


def test_invariants_hold_after_generic_operations_too():
    """Full sheds take no tool: by creation, by update of either side, or by moving one."""
    full = state(shed=[shed("S1", capacity=3), shed("S2", capacity=3)], tool=[tool("T4"), tool("T5", shed="S2")])

    arguments = {"label": "X", "code": "XX-000", "shed": "S1", "kind": "sander", "maker": "Stihl", "price": 45.0}
    created = run("create_tool", {**arguments, "bought": TODAY, "uses": [], "size": {"length": 20}}, on=full)
    assert refusal(created)[:2] == ("shed_full", "rule.limit")
    assert refusal(run("update_tool", {"tool": "T2", "shed": "S1"}, on=full))[0] == "shed_full"
    assert refusal(run("move_tools", {"tools": ["T5"], "to": "S1"}, on=full))[0] == "shed_full"
    assert refusal(run("update_shed", {"shed": "S1", "capacity": 2}, on=full)) == (
        "shed_full",
        "rule.limit",
        "capacity",
    )
    assert run("update_shed", {"shed": "S1", "capacity": 4}, on=full).refusal is None


# Actions --------------------------------------------------------------------------------------------------------------


def test_an_action_moves_sets_creates_and_returns():
    """returns see the state after, was.x the one before; lets were computed before."""
    outcome = run("lend_tool", {"tool": "T1", "member": "M2", "days": 4})

    after = records_after(outcome)
    assert after["tool/T1"]["status"] == "lent"
    assert (after["member/M2"]["points"], after["member/M2"]["loans"], after["member/M2"]["fees"]) == (9, 1, 2.0)
    made = loan("LON-0002", "T1", "M2", since=NOW // 60 * 60, due=TODAY + 4)
    assert after["loan/LON-0002"] == made
    assert outcome.body == {"loan": "LON-0002", "due": TODAY + 4, "points": 9, "before": 5, "open": 1}


def test_all_sets_happen_at_once():
    """A swap swaps."""
    outcome = run("swap_points", {"member": "M1", "other": "M2"})

    assert outcome.body == {"mine": 5, "theirs": 20}


def test_set_each_touches_every_record_that_fits():
    """And no other one."""
    there = state(loan=[loan("L2", "T3", "M2"), loan("L3", "T1", "M2"), loan("L4", "T3", "M2", status="closed")])
    after = records_after(run("return_tool", {"tool": "T3"}, on=there))

    assert {key for key in after if key.startswith("loan/")} == {"loan/L1", "loan/L2"}


def test_an_action_on_each_checks_and_changes_every_target():
    """One bad target refuses all; a target named twice is one."""
    assert refusal(run("move_tools", {"tools": ["T1", "T2"], "to": "S2"})) == (
        "there_already",
        "state.conflict",
        "tools",
    )
    outcome = run("move_tools", {"tools": ["T1", "T1"], "to": "S2"})
    assert outcome.body == {"there": 2, "tools": ["T1", "T1"]}
    assert records_after(outcome)["shed/S1"]["tools"] == 1


def test_create_for_each_item_makes_one_record_each():
    """Ids go on from the last."""
    assert run("inspect_tools", {"tools": ["T1", "T2"]}).body == {"inspection": ["INS-0001", "INS-0002"]}


# Faults and their order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "arguments", "more", "expected"),
    [
        ("swap_points", {"member": "M1", "other": "M1"}, {}, ("same_member", "rule.cross_field", "other")),
        ("scrap_tool", {"tool": "T1", "share": 1}, {"role": "helper"}, ("role_required", "state.forbidden", None)),
        ("get_tool", {"tool": "T9"}, {}, ("tool_not_found", "state.not_found", "tool")),
        ("lend_tool", {"tool": "T3", "member": "M2"}, {}, ("tool_not_ready", "state.order", "tool")),
        ("lend_tool", {"tool": "T1", "member": "M1"}, {"most_loans": 1}, ("too_many_loans", "rule.limit", "member")),
    ],
)
def test_each_class_of_fault(operation, arguments, more, expected):
    """Code, class and field."""
    assert refusal(run(operation, arguments, **more)) == expected


def test_the_first_fault_in_the_order_wins():
    """cross-field, forbidden, not found, order, conflict, limit: mending the first shows the next."""
    barred = state(member=[member("M2", tier="barred")], loan=[loan("L2", "T3", "M2")], tool=[tool("T4", price=500.0)])
    lend = {"tool": "T3", "member": "M2"}

    classes = [
        run("swap_points", {"member": "M9", "other": "M9"}).refusal.fault,
        run("scrap_tool", {"tool": "T9", "share": 1}, role="helper").refusal.fault,
        run("scrap_tool", {"tool": "T4", "share": 1}, on=barred).refusal.fault,
        run("lend_tool", {**lend, "member": "M9"}).refusal.fault,
        run("lend_tool", lend, on=barred, most_loans=1).refusal.fault,
        run("lend_tool", {**lend, "tool": "T1"}, on=barred, most_loans=1).refusal.fault,
        run("lend_tool", {"tool": "T1", "member": "M1"}, on=barred, most_loans=1).refusal.fault,
    ]

    assert classes == [
        "rule.cross_field",
        "state.forbidden",
        "state.forbidden",
        "state.not_found",
        "state.order",
        "state.conflict",
        "rule.limit",
    ]
    assert classes == sorted(classes, key=FAULT_ORDER.index)


def test_what_is_forbidden_of_a_record_cannot_be_told_of_a_missing_one():
    """A rule that reads the target stands back; the target is not found."""
    assert refusal(run("scrap_tool", {"tool": "T9", "share": 1}))[1] == "state.not_found"


def test_a_caller_who_is_not_who_he_should_be_is_barred_before_roles():
    """After rules over arguments."""
    barred = Refusal("unsigned", "state.forbidden", 401, None)
    actor = Actor("Ann", "helper")
    scrap = WORLD.operations["scrap_tool"]

    assert execute(setting(), state(), scrap, {"tool": "T1", "share": 1}, actor, barred).refusal.code == "unsigned"


def test_what_has_no_value_is_refused_and_changes_nothing():
    """Division by zero: in a formula and in an action's answer."""
    assert refusal(run("ratio", {"above": 1.0, "below": 0.0})) == ("not_computable", "rule.cross_field", None)
    outcome = run("scrap_tool", {"tool": "T1", "share": 0})
    assert refusal(outcome) == ("not_computable", "rule.cross_field", None)
    assert outcome.trace.writes == []


# Formulas and tables --------------------------------------------------------------------------------------------------


def test_compute_rounds_each_output_before_the_next_uses_it():
    """As the definition says."""
    assert run("cutting_speed", {"diameter": 10.0, "turns": 1000.0}).body == {"speed": 31.42, "fast": False}
    assert refusal(run("cutting_speed", {"diameter": 100.0, "turns": 2000.0}))[0] == "too_fast"


def test_a_sweep_is_the_formula_over_a_range():
    """Evenly spaced, ends included; a rule of the formula refuses; so does an empty range."""
    sweep = {"diameter": 10.0, "turns_from": 100.0, "turns_to": 300.0, "steps": 3}
    rows = run("cutting_speed_by_turns", sweep).body["results"]

    assert [(row["turns"], row["speed"]) for row in rows] == [(100, 3.14), (200, 6.28), (300, 9.42)]
    assert run("cutting_speed_by_turns", {**sweep, "turns_to": 50.0}).refusal.code == "empty_range"
    assert run("cutting_speed_by_turns", {**sweep, "diameter": 100.0, "turns_to": 5000.0}).refusal.code == "too_fast"


def test_a_solve_finds_the_input_or_says_there_is_none():
    """To the digits of the input."""
    assert run("find_turns_for_cutting_speed", {"diameter": 10.0, "target_speed": 31.42}).body == {"turns": 1000.1297}
    refused = run("find_turns_for_cutting_speed", {"diameter": 10.0, "target_speed": 1e6})
    assert refusal(refused) == ("no_solution", "rule.cross_field", "target_speed")
    assert "no_solution" in refused.trace.rules


def test_tables_are_looked_up_or_searched():
    """By key in any case of letters, or by filters."""
    assert run("lookup_bits", {"material": "Oak"}).body == {"material": "oak", "bit": "HSS", "turns": 900}
    assert refusal(run("lookup_bits", {"material": "pine"}))[:2] == ("material_not_found", "state.not_found")
    found = run("search_screws", {"head": "round"}).body
    assert [row["size"] for row in found["rows"]] == [5.0, 6.0]
    assert found["total"] == 2


# What was read --------------------------------------------------------------------------------------------------------


def test_the_label_rests_on_what_the_rules_read_and_not_on_what_is_set():
    """Points are written, not judged."""
    trace = run("lend_tool", {"tool": "T1", "member": "M2"}).trace

    assert {("tool", "T1", "status"), ("member", "M2", "tier"), ("member", "M2", "loans")} <= set(trace.label)
    assert ("member", "M2", "points") not in trace.label
    assert ("member", "M2", "points", (("member", "M2", "points"),)) in trace.writes


def test_values_of_the_state_after_rest_on_the_state_before():
    """Through writes, creations, counts and was."""
    values = dict(run("lend_tool", {"tool": "T1", "member": "M2"}).trace.values)

    assert values["/due"] == ()
    assert set(values["/points"]) == {("member", "M2", "points")}
    assert set(values["/before"]) == {("member", "M2", "points")}
    assert set(values["/open"]) == {("member", "M2", "loans")}


def test_records_that_might_have_been_written_are_noted():
    """By set_each where the condition failed, by a path to a record that must be known, by deletes that follow."""
    back = run("return_tool", {"tool": "T3"}, on=state(loan=[loan("L2", "T1", "M2")])).trace
    assert ("loan", "L2", "status", (("loan", "L2", "tool"), ("loan", "L2", "status"))) in back.writes
    assert ("shed", None, "open", (("tool", "T3", "shed"),)) in back.writes
    gone = run("delete_member", {"member": "M1"}).trace
    assert gone.deleted == [("member", "M1", ()), ("loan", "L1", (("loan", "L1", "member"),))]
    assert gone.cascades == [("loan", "member")]


def test_a_refusal_tells_the_cells_that_its_words_show():
    """Each with what one must know to say whose it is; not those that decided only."""
    told = run("move_tools", {"tools": ["T2"], "to": "S2"}).trace.tells
    assert told == [(("shed", "S2", "name"), (("tool", "T2", "shed"),))]
    taken = run("update_tool", {"tool": "T1", "code": "SA-333"}).trace
    assert taken.label == [("tool", "T1", None), ("tool", "T3", "code")]


# Ids and states -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("style", "pattern"),
    [
        ("integer", r"10\d\d"),
        ("prefixed_sequence", r"TOL-00\d\d"),
        ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}"),
        ("short_code", r"[2-9A-Z]{7}"),
        ("prefixed_random", r"tol_[0-9a-f]{10}"),
    ],
)
def test_ids_are_unique_in_every_style(style, pattern):
    """And of one form."""
    ids = [mint_id(style, "TOL", number, "salt") for number in range(1, 80)]

    assert len(set(ids)) == 79
    assert all(re.fullmatch(pattern, key) for key in ids)


def test_changes_can_be_undone():
    """What apply gives back, applied, restores the tables."""
    there = state()
    before = there.fork()
    undo = there.apply(run("lend_tool", {"tool": "T1", "member": "M2"}).changes)
    assert there.tables != before.tables
    assert there.counters["loan"] == 2
    there.apply(undo)
    assert there.tables == before.tables


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_any_history_keeps_tallies_and_invariants(seed):
    """Whatever is called, counts are what a recount gives, execution is pure, and the same call does the same."""
    rng, there = Random(seed), state()
    one = setting()
    names = [name for name, operation in WORLD.operations.items() if operation.subject in WORLD.resources]
    for _ in range(12):
        operation = WORLD.operations[rng.choice(names)]
        arguments = draw_arguments(one, there, operation, rng, {})
        if arguments is None:
            continue
        kept = there.fork()
        outcome = execute(one, there, operation, arguments, Actor("Ann", "chief"))
        assert there.tables == kept.tables
        again = execute(one, there, operation, arguments, Actor("Ann", "chief"))
        assert (again.refusal, again.changes) == (outcome.refusal, outcome.changes)
        there.apply(outcome.changes)
        counted = State({name: dict(table) for name, table in there.tables.items()}, there.now)
        recount(one, counted)
        assert counted.tables == there.tables
