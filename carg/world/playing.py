"""A session played on the world and on its twin at once, and where the two come apart.

The twin takes up what the world's answers tell: records a call named, values a body showed, ids that are gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from carg.comparing import is_covered, leaves
from carg.records import Json
from carg.scene import Scene
from carg.world.knowledge import Knowledge, question_of
from carg.world.model import Operation
from carg.world.replay import service_of, start_state
from carg.world.service import OUTAGES, Answered
from carg.world.state import Change
from carg.world.twin import Twin, twin_of
from carg.world.view import view_of


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What was said to be determined, and came out otherwise in the twin. `place` is "label" or a JSON pointer."""

    session: str
    number: int
    """Of the exchange, from 0."""
    operation: str
    place: str
    world: Json
    twin: Json


def answers_of_twin(scene: Scene, seed: int) -> list[Answered]:
    """What the twin answers to each call of the session; after each it takes up what the world's answer told."""
    return [other for _, other in _play(scene, seed)]


def compare(scene: Scene, seed: int) -> list[Disagreement]:
    """Each label and each value that is said to be determined, but is another in the twin."""
    opening = scene.opening
    if opening is None or not opening.tables:
        return []
    knowledge = Knowledge(view_of(scene.session.view), start_state(opening, scene.session).tables)
    found: list[Disagreement] = []
    for number, (answered, other) in enumerate(_play(scene, seed)):
        determined, invented = knowledge.judge(answered)
        if not determined:
            continue
        operation = answered.tool.operation.name if answered.tool is not None else ""
        for place, one, two in _differences(answered, other, invented):
            found.append(Disagreement(scene.session.id, number, operation, place, one, two))
    return found


def _differences(answered: Answered, other: Answered, invented: tuple[str, ...]) -> Iterator[tuple[str, Json, Json]]:
    one, two = _label(answered), _label(other)
    if one != two:
        yield "label", one, two
        return
    here, there = (dict(leaves(item.response.body, "")) for item in (answered, other))
    for pointer in sorted(here.keys() | there.keys()):
        if not is_covered(pointer, invented) and here.get(pointer) != there.get(pointer):
            yield pointer, here.get(pointer), there.get(pointer)


def _label(answered: Answered) -> list[Json]:
    if answered.directive is not None and answered.directive.fault in OUTAGES:
        return [answered.response.text]
    fault = answered.call.violates[0] if answered.call.violates else None
    return [answered.call.label, fault and fault.fault, fault and fault.code, fault and fault.field]


def _play(scene: Scene, seed: int) -> Iterator[tuple[Answered, Answered]]:
    session, opening = scene.session, scene.opening
    assert opening is not None
    service = service_of(scene.instance).with_siblings(session.siblings)
    state, twin = start_state(opening, session), twin_of(scene, seed)
    actor = session.actor or opening.actor
    told: dict[str, Answered] = {}
    for exchange in session.exchanges:
        text, directive = exchange.call.text, exchange.directive
        answered = service.answer(state, text, actor, scene.definitions, directive)
        _meet(twin, answered)
        # Which records a search found is not put into the twin's tables: what was answered, it repeats.
        again = told.get(question_of(answered)) if directive is None else None
        other = again or twin.service.answer(twin.state, text, actor, scene.definitions, directive)
        yield answered, other
        _follow(twin, answered, other)
        if answered.outcome is not None:
            state.apply(answered.outcome.changes)
            if answered.outcome.changes:
                told.clear()
            elif directive is None:
                told[question_of(answered)] = answered


def _meet(twin: Twin, answered: Answered) -> None:
    """Under the open rule every id that a call names exists, unless it was told otherwise."""
    if answered.tool is None or twin.view.rule != "open":
        return
    for table, key in named_records(answered.tool.operation, answered.arguments or {}):
        if table not in twin.whole:
            twin.admit(table, key)


def named_records(operation: Operation, arguments: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(table, id) of each record that canonical arguments name."""
    for item in operation.inputs:
        spec, value = item.spec, arguments.get(item.name)
        if value is None:
            continue
        if spec.kind == "ref" and spec.of is not None:
            yield spec.of, value
        elif spec.item is not None and spec.item.kind == "ref" and spec.item.of is not None:
            yield from ((spec.item.of, key) for key in value)


def _follow(twin: Twin, answered: Answered, other: Answered) -> None:
    """What happened in the twin, and what the world's answer told, once both have answered."""
    outcome, directive = answered.outcome, answered.directive
    if outcome is None or (directive is not None and directive.fault in OUTAGES):
        return
    if outcome.refusal is not None:
        if outcome.refusal.fault == "state.not_found" and answered.tool is not None:
            detail = outcome.refusal.detail
            if detail["resource"] in twin.state.tables:
                twin.banish(detail["resource"], detail["id"])
        for (table, key, name), _ in outcome.trace.tells if directive is None else ():
            if key is not None and name is not None:
                twin.put(table, key, name, outcome.frame.find(table, key)[name])  # type: ignore[index]
        return
    if other.outcome is not None and other.outcome.refusal is None:
        _apply_own(twin, answered, other)
    else:
        _apply_foreign(twin, answered)
    if directive is None:
        for _, (table, key) in answered.shown.named:
            twin.admit(table, key)
        for _, table, key, named in answered.shown.records:
            record = outcome.frame.find(table, key)
            for name, _ in named if record is not None else ():
                twin.put(table, key, name, record[name])  # type: ignore[index]


def _apply_own(twin: Twin, answered: Answered, other: Answered) -> None:
    """The twin's own changes; what it created goes by the world's ids."""
    assert answered.outcome is not None and other.outcome is not None
    _bury(twin, other.outcome.changes)
    twin.state.apply(other.outcome.changes)
    ours: dict[str, list[str]] = {}
    for table, key in other.outcome.trace.created:
        ours.setdefault(table, []).append(key)
    for table, key in answered.outcome.trace.created:
        if ours.get(table):
            old = ours[table].pop(0)
            if old != key:
                twin.rename(table, old, key)


def _apply_foreign(twin: Twin, answered: Answered) -> None:
    """The world's changes, where the twin refused what the world did."""
    outcome = answered.outcome
    assert outcome is not None
    written = {(table, key, name) for table, key, name, _ in outcome.trace.writes}
    changes = []
    for change in outcome.changes:
        record, mine = change.record, None
        if (change.table, change.id) not in outcome.trace.created:
            twin.admit(change.table, change.id)
            mine = twin.state.tables[change.table].get(change.id)
        if record is not None and mine is not None:
            adopted = {name: value for name, value in record.items() if (change.table, change.id, name) in written}
            record = {**mine, **adopted}
        changes.append(Change(change.table, change.id, record))
    _bury(twin, changes)
    twin.state.apply(changes)


def _bury(twin: Twin, changes: list[Change]) -> None:
    for change in changes:
        if change.record is None:
            twin.gone.add((change.table, change.id))
            if change.id in twin.own[change.table]:
                twin.own[change.table].remove(change.id)
