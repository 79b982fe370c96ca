"""Sessions of one caller: lengths, goals, probes, slips and mends, over a state that moves."""

from collections import Counter
from random import Random

import pytest
from worlds import WORLD, draw_instance, grow, open_scene, service_of

from carg.world.dialogues import _undo, draw_sessions
from carg.world.replay import replay, start_state
from carg.world.singles import Singles


@pytest.fixture(scope="module")
def talks():
    """Sessions of several instances of both services."""
    made = []
    for seed in range(1, 13):
        for name in ("counter", "workshop"):
            instance = draw_instance(seed, name)
            opening = grow(instance)
            sessions = draw_sessions(service_of(instance), opening, Random(seed), 60)
            made += [open_scene(session, instance, opening) for session in sessions]
    return made


def exchanges(talks):
    """Every exchange with its session."""
    return [(scene, exchange) for scene in talks for exchange in scene.session.exchanges]


def test_sessions_have_two_to_twelve_exchanges(talks):
    """Give or take one that is repeated after its mending."""
    lengths = Counter(len(scene.session.exchanges) for scene in talks)

    assert min(lengths) >= 2
    assert max(lengths) <= 13
    assert len(lengths) >= 9


def test_sessions_replay_to_the_same_answers(talks):
    """From opening, patch and calls alone."""
    for scene in talks:
        assert replay(scene) == [exchange.response for exchange in scene.session.exchanges]


def test_the_recorded_operations_lead_from_state_to_state(talks):
    """Applied in turn they keep every count and id."""
    for scene in talks:
        there = start_state(scene.opening, scene.session)
        for exchange in scene.session.exchanges:
            for op in exchange.ops:
                if op.record is None:
                    del there.tables[op.table][op.id]
                else:
                    there.tables[op.table][op.id] = op.record
            assert all(record["id"] == key for table in there.tables.values() for key, record in table.items())


def test_one_label_at_least_is_supervised(talks):
    """The others stay as context."""
    for scene in talks:
        assert any(exchange.train for exchange in scene.session.exchanges)
    masked = sum(not exchange.train for _, exchange in exchanges(talks))
    assert 0 < masked < 0.3 * len(exchanges(talks))


def test_goals_are_those_of_the_world(talks):
    """Each is pursued by somebody."""
    assert {scene.session.goal for scene in talks} == {goal.want for goal in WORLD.goals}


def test_probes_read_what_was_written_deleted_or_read(talks):
    """Each kind is what it says."""
    kinds = Counter()
    for scene in talks:
        texts: list[str] = []
        written: set[str] = set()
        deleted: set[str] = set()
        for exchange in scene.session.exchanges:
            kinds[exchange.probe] += 1
            values = str(exchange.call.arguments)
            if exchange.probe == "repeat_read":
                assert exchange.call.text in texts
            elif exchange.probe == "read_after_write":
                assert any(key in values for key in written)
            elif exchange.probe == "delete_then_read":
                assert any(key in values for key in deleted)
                assert exchange.call.violates[0].fault == "state.not_found"
            texts.append(exchange.call.text)
            written |= {op.id for op in exchange.ops if op.record is not None}
            deleted |= {op.id for op in exchange.ops if op.record is None}
    assert kinds.keys() >= {"repeat_read", "read_after_write", "delete_then_read"}


def test_errors_come_at_any_place_and_at_rates_that_differ(talks):
    """Half the sessions have none; some are full of them."""
    rates = [
        sum(exchange.call.label == "invalid" for exchange in scene.session.exchanges) / len(scene.session.exchanges)
        for scene in talks
    ]
    places = Counter(
        place
        for scene in talks
        for place, exchange in enumerate(scene.session.exchanges)
        if exchange.call.label == "invalid"
    )

    assert 0.2 < sum(rate == 0 for rate in rates) / len(rates) < 0.8
    assert max(rates) > 0.4
    assert len(places) >= 5


def test_some_refusals_are_mended(talks):
    """A refused call passes later, word for word."""
    mended = 0
    for scene in talks:
        refused: set[str] = set()
        for exchange in scene.session.exchanges:
            if exchange.call.label == "valid" and exchange.call.text in refused:
                mended += 1
            if exchange.call.label == "invalid" and (exchange.call.mutation or "").startswith("slip:"):
                refused.add(exchange.call.text)
    assert mended >= 3


def test_the_same_seed_talks_the_same():
    """To the id."""
    instance = draw_instance(3)
    opening = grow(instance)
    one, again = (draw_sessions(service_of(instance), opening, Random(5), 30) for _ in range(2))

    assert [session.id for session in one] == [session.id for session in again]


def test_looking_ahead_leaves_no_trace():
    """A change tried out and undone restores tables and counters."""
    instance = draw_instance(3)
    opening = grow(instance)
    singles = Singles(service_of(instance), opening, Random(1))
    there = singles.state.fork()
    for _ in range(30):
        item = singles.valid()
        answered = service_of(instance).answer(there, item.text, opening.actor, service_of(instance).definitions)
        before = there.fork()
        if answered.outcome is not None:
            _undo(there, there.apply(answered.outcome.changes))
        assert (there.tables, there.counters) == (before.tables, before.counters)
