"""Single rows: what each kind of item is, minimal pairs that differ in one thing, and that labels are proved."""

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from worlds import draw_instance, grow, open_scene, plain_service, service_of, state

from carg.records import FAULT_ORDER, LOOKALIKES, Directive, Op, Opening
from carg.world.composing import Note
from carg.world.failing import (
    draw_blunt,
    draw_broken,
    draw_crossed,
    draw_missing,
    draw_refused,
    draw_sibling,
    draw_unsigned,
    misspell,
    near_id,
)
from carg.world.openings import add_up, recount
from carg.world.replay import replay, replay_answers, start_state
from carg.world.rows import _is_odd, draw_singles, make_rows
from carg.world.singles import Item, Singles, narrow
from carg.world.state import State

SEEDS = range(1, 9)


def rows(seed, service="workshop", budget=60):
    instance = draw_instance(seed, service)
    opening = grow(instance)
    return instance, opening, draw_singles(service_of(instance), opening, Random(seed), budget)


@pytest.fixture(scope="module")
def drawn():
    """Rows of several instances of both services."""
    return [rows(seed, service) for seed in SEEDS for service in ("counter", "workshop")]


def singles_of(service, seed=1, role="chief"):
    """A drawer over the small state."""
    actor = {"name": "Ann Lee", "role": role, "credential": "ann"}
    opening = Opening("o", "i", 0, state().now, actor, state().tables, state().counters)
    return Singles(service, opening, Random(seed))


def ask(singles, item, *, loose=False, patched=False):
    """The answer to an item, under its definition and state or under its siblings."""
    service = singles.service.with_siblings({item.operation: [item.without]}) if loose else singles.service
    there = State({name: dict(table) for name, table in singles.opening.tables.items()}, singles.opening.now)
    for op in item.patch if patched else ():
        if op.record is None:
            del there.tables[op.table][op.id]
        else:
            there.tables[op.table][op.id] = op.record
    return service.answer(there, item.text, singles.actor, service.definitions, item.directive)


def draws(draw, service="workshop", count=60, **kinds):
    """Items of one kind."""
    for seed in range(count):
        singles = singles_of(plain_service(service, seed % 6 + 1, **kinds), seed)
        item = draw(singles)
        if item is not None:
            yield singles, item


def test_a_valid_item_is_accepted():
    """By definition, rules and state."""
    answered = [ask(singles, item) for singles, item in draws(Singles.valid)]

    assert len(answered) > 40
    assert {item.call.label for item in answered} == {"valid"}


def test_a_sibling_item_is_refused_here_and_accepted_there():
    """The schema's class; one fault."""
    pairs = list(draws(draw_sibling, count=30))
    for singles, item in pairs:
        tight = ask(singles, item)
        assert [violation.fault[:7] for violation in tight.call.violates] == ["schema."]
        assert ask(singles, item, loose=True).call.label == "valid"
    assert len(pairs) > 10


def test_a_refused_item_passes_in_the_patched_state_or_the_reverse():
    """One cell decides."""
    seen = Counter()
    for singles, item in draws(draw_refused):
        here = ask(singles, item)
        if item.patch:
            there = ask(singles, item, patched=True)
            assert {here.call.label, there.call.label} == {"valid", "invalid"}
            fault = (here if here.call.label == "invalid" else there).call.violates[0].fault
            assert fault in ("state.order", "state.conflict", "rule.limit", "state.forbidden")
            assert add_up(singles.service.setting, singles.opening, item.patch) == item.patch
        seen[bool(item.patch)] += 1
    assert seen[True] > 5


def test_a_missing_item_names_what_is_not_there():
    """Removed in the sibling state, or one character off."""
    kinds = Counter()
    for singles, item in draws(draw_missing, "counter"):
        kinds[item.note.mutation] += 1
        answered = ask(singles, item, patched=True)
        assert answered.call.violates[0].fault == "state.not_found"
        if item.patch:
            assert ask(singles, item).call.label == "valid"
            assert add_up(singles.service.setting, singles.opening, item.patch) == item.patch
    assert kinds.keys() == {"sibling:removed", "near_id"}


def test_crossed_unsigned_broken_and_blunt_items_are_refused():
    """Each by its classes."""
    assert {ask(*pair).call.violates[0].fault for pair in draws(draw_crossed)} <= {
        "rule.cross_field",
        "state.forbidden",
    }
    unsigned = {ask(*pair).call.violates[0].fault for pair in draws(draw_unsigned, auth="argument")}
    assert "state.forbidden" in unsigned
    assert list(draws(draw_unsigned, auth="none", count=5)) == []
    broken = [ask(*pair).call for pair in draws(draw_broken)]
    assert {call.violates[0].fault for call in broken} == {"call.unparsable", "tool.unknown"}
    blunt = [ask(*pair).call for pair in draws(draw_blunt)]
    assert {call.violates[0].fault for call in blunt} <= {"schema.missing", "schema.unknown", "schema.type"}
    assert len(blunt) > 10


def test_lookalikes_are_accepted():
    """At a bound, without what is optional, in another order, with nothing found."""
    kinds = Counter()
    for singles, item in draws(Singles.lookalike, count=120):
        answered = ask(singles, item)
        assert answered.call.label == "valid"
        kinds[item.note.lookalike] += 1
        if item.note.lookalike == "ok.empty_result":
            assert 0 in answered.response.body.values()
    assert kinds.keys() == set(LOOKALIKES)


def test_disturbed_items_carry_a_directive():
    """And their answers show it."""
    faults = Counter()
    for singles, item in draws(Singles.disturbed):
        answered = ask(singles, item)
        faults[answered.directive.fault] += 1
        if answered.directive.fault in ("timeout", "rate_limit", "server_error"):
            assert not answered.response.ok
            assert answered.outcome.changes == []
    assert len(faults) == 6


def test_rows_are_supervised_throughout(drawn):
    """A single exchange that is not determined is dropped."""
    exchanges = [exchange for _, _, made in drawn for session in made for exchange in session.exchanges]

    assert all(exchange.train for exchange in exchanges)
    assert {session.kind for _, _, made in drawn for session in made} == {"single"}


def test_rows_replay_to_the_same_answers(drawn):
    """Labels, bodies, texts and changes are what executing again gives."""
    for instance, opening, made in drawn:
        for session in made:
            scene = open_scene(session, instance, opening)
            assert replay(scene) == [exchange.response for exchange in session.exchanges]
            for exchange, answered in zip(session.exchanges, replay_answers(scene), strict=True):
                assert (exchange.call.label, exchange.call.violates) == (answered.call.label, answered.call.violates)


def test_a_patched_state_adds_up_and_answers_within_its_schemas(drawn):
    """Counts and sums follow what was patched, however many items of a row patch; no body breaks its `returns`."""
    patched = 0
    for instance, opening, made in drawn:
        service = service_of(instance)
        for session in made:
            there = start_state(opening, session)
            counted = there.fork()
            recount(service.setting, counted)
            assert counted.tables == there.tables
            loose = service.with_siblings(session.siblings)
            for exchange in session.exchanges if session.patch else ():
                assert not _is_odd(loose, exchange)
                patched += exchange.response.ok
    assert patched > 20


def test_two_items_may_patch_what_one_count_is_of():
    """Each took one tool out of the shed; where both do, the shed lacks two."""
    counts = set()
    for seed in range(12):
        singles = singles_of(plain_service("workshop"), seed)
        items = []
        for key in ("T1", "T3"):
            gone = Op("tool", key, {**singles.opening.tables["tool"][key], "status": "scrapped"})
            text = singles.write(singles.service.tools["get_tool"], {"tool": key})
            patch = add_up(singles.service.setting, singles.opening, [gone])
            items.append(Item("get_tool", text, Note(), patch=patch))
        for row in make_rows(singles, items):
            shed = {op.id: op.record for op in row.patch if op.table == "shed"}.get("S1", {"tools": 2})
            n_gone = sum(op.table == "tool" for op in row.patch)
            assert shed["tools"] == 2 - n_gone
            counts.add(n_gone)
    assert counts == {0, 1, 2}


def test_an_answer_that_its_tool_could_not_give_is_odd(drawn):
    """A body without what `returns` asks for; a directive may break the shape."""
    instance, _, made = drawn[0]
    service = service_of(instance)
    sound = next(e for row in made for e in row.exchanges if e.response.ok and e.directive is None and not row.siblings)
    spoiled = replace(sound, response=replace(sound.response, body=None))
    cut = replace(spoiled, directive=Directive("truncated", {}, 1))

    assert [_is_odd(service, exchange) for exchange in (sound, spoiled, cut)] == [False, True, False]


def test_pairs_ask_the_same_and_differ_in_their_labels(drawn):
    """Same calls behind the same tools in the same order, half refused here and half there."""
    pairs: dict[str, list] = {}
    for _, _, made in drawn:
        for session in made:
            if session.pair:
                pairs.setdefault(session.pair, []).append(session)
    full = [pair for pair in pairs.values() if len(pair) == 2]
    differing = 0
    for one, other in full:
        assert one.tools == other.tools
        labels = {exchange.call.text: exchange.call.label for exchange in one.exchanges}
        both = [(labels[e.call.text], e.call.label) for e in other.exchanges if e.call.text in labels]
        differing += any(a != b for a, b in both)
    assert len(full) > 20
    assert differing > 0.8 * len(full)


def test_the_first_fault_is_the_one_reported(drawn):
    """Where a call has several, they stand in the order of faults."""
    for _, _, made in drawn:
        for session in made:
            for exchange in session.exchanges:
                order = [FAULT_ORDER.index(violation.fault) for violation in exchange.call.violates]
                assert order == sorted(order)


def test_the_mix_has_all_kinds(drawn):
    """Labels, classes, look-alikes, faults."""
    exchanges = [exchange for _, _, made in drawn for session in made for exchange in session.exchanges]
    invalid = [exchange for exchange in exchanges if exchange.call.label == "invalid"]

    assert 0.2 < len(invalid) / len(exchanges) < 0.6
    assert {exchange.call.violates[0].fault for exchange in invalid} >= set(FAULT_ORDER[:-1]) - {"rule.cross_field"}
    assert {exchange.directive.fault for exchange in exchanges if exchange.directive} > {"timeout", "partial"}
    assert {exchange.call.lookalike for exchange in exchanges if exchange.call.lookalike} == set(LOOKALIKES)


def test_the_same_seed_draws_the_same_rows():
    """To the id."""
    assert [session.id for session in rows(1)[2]] == [session.id for session in rows(1)[2]]


def test_near_ids_and_names_are_near():
    """One character off; another name."""
    for key in ("TOL-0004", "1004", "tol_00ab12cd34", "K7MNQRS", "5b0c7f5e-0e6e-4a57-a111-2b36c1a0f9d3"):
        for seed in range(20):
            other = near_id(key, Random(seed))
            assert len(other) == len(key)
            assert sum(a != b for a, b in zip(key, other, strict=True)) == 1
    for name in ("get_tool", "searchTools", "move"):
        assert all(misspell(name, Random(seed)) != name for seed in range(20))


def test_narrow_brings_a_value_inside_the_tight_schema():
    """Enum, bounds, whole numbers, length, items."""
    for seed in range(1, 30):
        service = plain_service("workshop", seed)
        for tool in service.tools.values():
            for tightening in tool.tightenings:
                kind, _, name = tightening.partition(":")
                schema = tool.params[name].schema if name in tool.params else {}
                if kind in ("high", "low", "whole"):
                    value = narrow(Random(seed), tool.params[name], kind, 1e6)
                    assert schema.get("minimum", value) <= value <= schema.get("maximum", value)
                elif kind == "enum" and not tool.params[name].shift:
                    assert narrow(Random(seed), tool.params[name], kind, "nothing") in schema["enum"]
                elif kind == "short":
                    assert len(narrow(Random(seed), tool.params[name], kind, "x" * 200)) <= schema["maxLength"]
                elif kind == "few":
                    assert len(narrow(Random(seed), tool.params[name], kind, ["a"] * 9)) <= schema["maxItems"]
