"""Grown openings: sound, alive, thinned, and the same for the same seed."""

from random import Random

import pytest
from worlds import NOW, WORLD, draw_instance, grow, load, loan, plain_service, service_of, setting, shed, state, tool

from carg.records import Instance, Op, Opening
from carg.world.functions import DAY_S
from carg.world.openings import (
    MOST_LOGS,
    add_up,
    broken_invariants,
    draw_actor,
    due_records,
    grow_opening,
    grow_state,
    recount,
    seed_record,
    thin,
    try_operation,
)
from carg.world.state import State

SEEDS = range(12)
RECALL = """
[actions.recall_tool]
about = "Call a tool back."
on = "tool"
moves = "lent -> ready"
due = { after = "tool.seen", days = [2, 4] }
[services.recalls]
about = "Calls tools back."
offers = ["recall_tool"]
"""


@pytest.fixture(scope="module")
def grown():
    """A dozen grown states."""
    return [grow_state(setting(), Random(seed)) for seed in SEEDS]


def test_the_same_seed_grows_the_same_opening():
    """Its id is its content's; another seed, another one."""
    instance = draw_instance(1, "workshop")

    assert grow(instance, 3) == grow(instance, 3)
    assert grow(instance, 3).id != grow(instance, 4).id


def test_invariants_hold_and_counts_are_right(grown):
    """In every grown state."""
    for there in grown:
        assert broken_invariants(setting(), there.tables) == []
        counted = there.fork()
        recount(setting(), counted)
        assert counted.tables == there.tables


def test_a_patch_carries_the_counts_that_follow_from_it():
    """A tool scrapped in one shed and one moved to another: both sheds are counted again, nothing else is touched."""
    there = state()
    opening = Opening("o", "i", 0, there.now, {}, there.tables, there.counters)
    ops = [Op("tool", "T1", tool("T1", status="scrapped")), Op("tool", "T3", tool("T3", status="lent", shed="S2"))]

    assert add_up(setting(), opening, ops[:1]) == (
        ops[0],
        Op("shed", "S1", {**there.tables["shed"]["S1"], "tools": 1}),
    )
    counts = {op.id: (op.record["tools"], op.record["worth"]) for op in add_up(setting(), opening, ops)[2:]}
    assert counts == {"S1": (0, 100.0), "S2": (2, 160.0)}
    assert add_up(setting(), opening, add_up(setting(), opening, ops)) == add_up(setting(), opening, ops)
    assert add_up(setting(), opening, [Op("loan", "L1", None)])[1].record["loans"] == 0


def test_invariants_that_are_broken_are_named():
    """By resource, id and code."""
    crowded = state(shed=[shed("S2", capacity=0)])

    assert broken_invariants(setting(), crowded.tables) == ["shed S2: shed_full"]
    assert broken_invariants(setting(), crowded.tables, ["tool"]) == []


def test_ids_are_unique_and_references_stand(grown):
    """Nothing refers to what is not there; unique fields are."""
    for there in grown:
        for resource in WORLD.resources.values():
            table = there.tables[resource.name]
            for name, spec in resource.fields.items():
                values = [record[name] for record in table.values() if record[name] is not None]
                if spec.unique:
                    assert len(set(values)) == len(values)
                if spec.kind == "ref":
                    assert set(values) <= there.tables[spec.of].keys()
            assert all(record["id"] == key for key, record in table.items())


def test_new_ids_go_on_from_those_ever_minted(grown):
    """Deleted and thinned records leave their numbers behind."""
    for there in grown:
        for name, table in there.tables.items():
            assert there.counters.get(name, 0) >= len(table)


def test_the_calendar_moves_and_nothing_is_dated_after_it(grown):
    """Times of the system lie before now."""
    for there in grown:
        assert WORLD.start_day * DAY_S < there.now < (WORLD.start_day + 366 + WORLD.days * 2) * DAY_S
        assert all(record["seen"] <= there.now for record in there.tables["tool"].values())


def test_states_are_alive(grown):
    """Every status is met, and loans are had by some more than by others."""
    statuses = {record["status"] for there in grown for record in there.tables["tool"].values()}

    assert statuses == {"ready", "lent", "scrapped"}
    assert any(record["loans"] > 0 for there in grown for record in there.tables["member"].values())


def test_a_lent_tool_has_an_open_loan(grown):
    """The world's own actions made it so; no independent draws."""
    for there in grown:
        opened = [record["tool"] for record in there.tables["loan"].values() if record["status"] == "open"]
        lent = [key for key, record in there.tables["tool"].items() if record["status"] == "lent"]
        assert sorted(opened) == sorted(lent)


def test_old_finished_records_and_logs_are_thinned(grown):
    """Few of what nothing ends."""
    for there in grown:
        assert len(there.tables["inspection"]) <= MOST_LOGS
    crowded = state(
        tool=[tool(f"X{number:02}", status="scrapped") for number in range(40)],
        loan=[loan(f"K{number:02}", f"X{number:02}", "M1", status="closed") for number in range(40)],
    )
    thin(setting(), crowded, Random(1))
    left = [key for key in crowded.tables["tool"] if key.startswith("X")]
    assert 15 <= len(left) <= 20
    assert {f"K{key[1:]}" for key in left} >= {key for key in crowded.tables["loan"] if key.startswith("K")}
    counted = crowded.fork()
    recount(setting(), counted)
    assert counted.tables == crowded.tables


def test_a_seeded_record_meets_the_invariants():
    """It is drawn again, or left out."""
    empty = State({name: {} for name in WORLD.resources}, NOW)
    assert not seed_record(setting(), empty, WORLD.resources["tool"], Random(1))
    assert seed_record(setting(), empty, WORLD.resources["shed"], Random(1))
    assert seed_record(setting(), empty, WORLD.resources["tool"], Random(1))
    assert len(empty.tables["tool"]) == 1


def test_an_operation_nothing_allows_is_not_done():
    """The state stays."""
    there = state(tool=[tool("T1", status="scrapped"), tool("T2", status="scrapped"), tool("T3", status="scrapped")])
    before = there.fork()

    assert not try_operation(setting(), there, WORLD.operations["lend_tool"], Random(1))
    assert there.tables == before.tables


def test_time_makes_things_due():
    """After the moment and some days, by record; only where the move is open."""
    recall, one = load(RECALL).operations["recall_tool"], setting()
    there = state(tool=[tool("T1", seen=NOW - 9 * DAY_S), tool("T3", status="lent", seen=NOW - 5 * DAY_S)])

    assert due_records(one, there, recall) == ["T3"]
    early = state(tool=[tool("T3", status="lent", seen=NOW - DAY_S)])
    assert due_records(one, early, recall) == []


def test_actors_are_people_of_the_service():
    """A name, a role of the service, and how calls name them."""
    instance: Instance = draw_instance(1)
    actors = [draw_actor(WORLD, instance, Random(seed)) for seed in range(40)]

    assert {actor["role"] for actor in actors} == set(WORLD.services["counter"].roles)
    assert len({actor["credential"] for actor in actors}) > 30
    assert draw_actor(WORLD, instance, Random(1), "chief")["role"] == "chief"


def test_openings_of_instances_have_ids_in_their_style():
    """The convention's."""
    service = plain_service("workshop", id_style="integer")
    opening = grow_opening(service.setting, service.instance, 1)

    assert all(key.isdigit() for table in opening.tables.values() for key in table)
    assert service_of(service.instance) is service
