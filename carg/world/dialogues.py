"""Sessions: one caller with a goal, who looks before it acts, interleaves records, slips, mends, repeats, gives up.

The caller knows the state and the rules; what it does is drawn. Nothing is scripted and no status is steered: an
action is chosen among those the world allows, a slip among those it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from carg.records import Opening, Session
from carg.world.aims import choose_aim, choose_operations, goal_value, is_nearer
from carg.world.caller import draw_arguments
from carg.world.composing import Note, Take, choose_tools
from carg.world.executing import execute
from carg.world.failing import draw_crossed, draw_missing, draw_sibling
from carg.world.model import Goal, Operation
from carg.world.openings import draw_actor
from carg.world.outcome import Actor
from carg.world.service import Answered, Service
from carg.world.singles import Singles
from carg.world.state import State
from carg.world.tightening import ShownTool

LENGTHS = (2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10, 12)
SLIPS = (0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.45, 0.6)
"""Chance of a slip per turn, drawn once a session: error rates differ by session and stand at any position."""
MENDS_TRIED = 6


@dataclass(slots=True)
class _Caller:
    """A session under way."""

    take: Take
    singles: Singles
    rng: Random
    goal: Goal | None
    entities: list[tuple[str, str]]
    slip: float
    looked: set[tuple[str, str]] = field(default_factory=set)
    written: dict[tuple[str, str], int] = field(default_factory=dict)
    deleted: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[Operation, dict[str, Any], str]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    """Texts of reads that can be repeated."""


def draw_sessions(service: Service, opening: Opening, rng: Random, budget: int) -> list[Session]:
    """Sessions of about `budget` exchanges in all."""
    made, count, idle = list[Session](), 0, 0
    while count < budget and idle < 30:
        session = draw_session(service, opening, rng)
        idle = 0 if session else idle + 1
        if session is not None:
            made.append(session)
            count += len(session.exchanges)
    return made


def draw_session(service: Service, opening: Opening, rng: Random) -> Session | None:
    """One session of 2-12 exchanges; None where it came to fewer or nothing in it is determined."""
    world = service.world
    roles = world.services[service.instance.service].roles
    actor = opening.actor if rng.random() < 0.7 else draw_actor(world, service.instance, rng, rng.choice(roles))
    goal, entities = choose_aim(service, opening, rng)
    wanted = choose_operations(service, entities, rng)
    names = choose_tools(service, wanted, rng, least=4)
    take = Take(service, opening, actor, names)
    singles = Singles(service, opening, rng)
    singles.actor = actor
    singles.state = take.state
    singles.turn = [tool.operation.name for name, tool in service.by_name.items() if name in names]
    rng.shuffle(singles.turn)
    caller = _Caller(take, singles, rng, goal, entities, rng.choice(SLIPS))
    length = rng.choice(LENGTHS)
    for _ in range(length * 3):
        if len(take.answers) >= length:
            break
        _turn(caller)
    if len(take.answers) < 2:
        return None
    return take.close("session", rng, goal=goal.want if goal else None)


def _turn(caller: _Caller) -> None:
    rng = caller.rng
    # The state moves with the session; the drawer of calls must see it.
    caller.singles.state = caller.take.state
    resource, key = rng.choice(caller.entities) if caller.entities else ("", "")
    caller.singles.focus = {resource: key} if resource else {}
    if caller.refused and rng.random() < 0.5:
        _mend(caller)
        return
    if rng.random() < caller.slip and _slip(caller):
        return
    if resource and (resource, key) not in caller.looked and rng.random() < 0.55 and _look(caller, resource, key):
        return
    if rng.random() < 0.22 and _probe(caller):
        return
    if caller.goal is not None and rng.random() < 0.5 and _pursue(caller):
        return
    _do(caller)


def _say(caller: _Caller, text: str, note: Note | None = None) -> Answered:
    answered = caller.take.ask(text, note)
    if answered.outcome is not None and answered.outcome.refusal is None:
        named = {str(value) for value in (answered.arguments or {}).values() if isinstance(value, str)}
        for change in answered.outcome.changes:
            cell = (change.table, change.id)
            if change.record is None:
                caller.deleted.append(cell)
                caller.written.pop(cell, None)
            elif change.id in named or cell in answered.outcome.trace.created:
                caller.written[cell] = len(caller.take.answers)
        for cell in answered.outcome.trace.created:
            if cell[0] in {resource for resource, _ in caller.entities} and len(caller.entities) < 4:
                caller.entities.append(cell)
        caller.entities = [cell for cell in caller.entities if cell not in caller.deleted]
    return answered


def _tools(caller: _Caller, *kinds: str, subject: str | None = None) -> list[ShownTool]:
    shown = [caller.take.service.by_name[name] for name in caller.take.names]
    return [
        tool
        for tool in shown
        if tool.operation.kind in kinds and (subject is None or tool.operation.subject == subject)
    ]


def _look(caller: _Caller, resource: str, key: str) -> bool:
    found = _tools(caller, "get", subject=resource)
    if not found or not caller.singles.able(found[0].operation):
        return False
    operation = found[0].operation
    caller.looked.add((resource, key))
    text = caller.take.write(operation.name, {operation.inputs[0].name: key}, caller.rng)
    caller.said.append(text)
    _say(caller, text)
    return True


def _probe(caller: _Caller) -> bool:
    """Read what was written some exchanges ago, what was deleted, or what was read before."""
    rng, turn = caller.rng, len(caller.take.answers)
    if rng.random() < 0.6 and _read_deleted(caller):
        return True
    due = [cell for cell, when in caller.written.items() if turn - when >= rng.choice((0, 0, 1, 2, 3))]
    for resource, key in rng.sample(due, len(due)):
        if found := _tools(caller, "get", subject=resource):
            operation = found[0].operation
            text = caller.take.write(operation.name, {operation.inputs[0].name: key}, rng)
            _say(caller, text, Note(probe="read_after_write"))
            caller.said.append(text)
            return True
    if caller.said and rng.random() < 0.5:
        _say(caller, rng.choice(caller.said), Note(probe="repeat_read"))
        return True
    return False


def _read_deleted(caller: _Caller) -> bool:
    for resource, key in caller.deleted[-2:]:
        if found := _tools(caller, "get", subject=resource):
            operation = found[0].operation
            text = caller.take.write(operation.name, {operation.inputs[0].name: key}, caller.rng)
            _say(caller, text, Note(probe="delete_then_read"))
            return True
    return False


def _do(caller: _Caller) -> bool:
    """Something the world allows, on the record in focus if it can be."""
    item = caller.singles.valid()
    if item is None:
        return False
    _say(caller, item.text)
    kind = caller.take.service.tools[item.operation].operation.kind
    if kind in ("get", "search", "batch_get", "aggregate", "compute", "table"):
        caller.said.append(item.text)
    return True


def _slip(caller: _Caller) -> bool:
    """Something refused: by this definition, by this state, or a record that is not there."""
    rng, singles = caller.rng, caller.singles
    if caller.deleted and rng.random() < 0.3:
        resource, key = rng.choice(caller.deleted)
        for tool in _tools(caller, "get", "action", "update", "delete", subject=resource):
            arguments = singles.valid_arguments(tool.operation.name)
            if arguments is not None and singles.able(tool.operation):
                text = caller.take.write(tool.operation.name, {**arguments, tool.operation.inputs[0].name: key}, rng)
                _say(caller, text, Note(mutation="deleted"))
                return True
    chance = rng.random()
    if chance < 0.45:
        return _act_wrongly(caller)
    item = draw_sibling(singles) if chance < 0.8 else draw_missing(singles) if chance < 0.9 else draw_crossed(singles)
    if item is None:
        return _act_wrongly(caller)
    if item.patch and item.note.mutation == "sibling:removed":
        return False
    _say(caller, item.text, item.note)
    return True


def _act_wrongly(caller: _Caller) -> bool:
    """An action the state refuses; it is kept in mind, to be mended."""
    tools = _tools(caller, "action", "create", "update", "delete")
    caller.rng.shuffle(tools)
    for tool in tools[:4]:
        drawn = _draw(caller, tool)
        if drawn is None:
            continue
        refusal = caller.singles.try_out(tool.operation, drawn).refusal
        if refusal is None or refusal.fault in ("rule.cross_field",):
            continue
        text = caller.take.write(tool.operation.name, drawn, caller.rng)
        _say(caller, text, Note(mutation=f"slip:{refusal.fault}"))
        if refusal.fault in ("state.order", "state.conflict", "rule.limit"):
            caller.refused.append((tool.operation, drawn, text))
        return True
    return False


def _draw(caller: _Caller, tool: ShownTool) -> dict[str, Any] | None:
    singles = caller.singles
    drawn = draw_arguments(singles.service.setting, singles.state, tool.operation, caller.rng, singles.focus)
    return singles.fit(tool, drawn) if drawn is not None else None


def _mend(caller: _Caller) -> bool:
    """Do what makes the refused call pass, then repeat it; or fail to, and repeat it anyway or give up."""
    operation, arguments, text = caller.refused.pop()
    target = str(arguments.get(operation.inputs[0].name, "")) if operation.inputs else ""
    before = caller.singles.focus
    caller.singles.focus = {operation.subject: target}
    tools = _tools(caller, "action", "update")
    caller.rng.shuffle(tools)
    for tool in tools[:MENDS_TRIED]:
        if tool.operation.name == operation.name or not caller.singles.able(tool.operation):
            continue
        drawn = _draw(caller, tool)
        if drawn is None:
            continue
        outcome = caller.singles.try_out(tool.operation, drawn)
        if outcome.refusal is None and _passes_after(caller, outcome.changes, operation, arguments):
            _say(caller, caller.take.write(tool.operation.name, drawn, caller.rng))
            _say(caller, text)
            return True
    caller.singles.focus = before
    if caller.rng.random() < 0.3:
        _say(caller, text, Note(mutation="repeated"))
        return True
    return False


def _passes_after(caller: _Caller, changes: Any, operation: Operation, arguments: Mapping[str, Any]) -> bool:
    undo = caller.take.state.apply(changes)
    passed = caller.singles.try_out(operation, arguments).refusal is None
    _undo(caller.take.state, undo)
    return passed


def _undo(state: State, undo: Any) -> None:
    counters = dict(state.counters)
    for change in undo:
        if change.record is None:
            counters[change.table] = counters.get(change.table, 0) - 1
    state.apply(undo)
    state.counters.update(counters)


def _pursue(caller: _Caller) -> bool:
    """An allowed action on the goal's record that reaches the goal, or at least does something to it."""
    goal, take = caller.goal, caller.take
    assert goal is not None
    targets = [cell for cell in caller.entities if cell[0] == goal.on]
    if not targets:
        return False
    resource, key = caller.rng.choice(targets)
    if key not in take.state.tables[resource]:
        return False
    caller.singles.focus = {resource: key}
    best: tuple[str, dict[str, Any]] | None = None
    tools = _tools(caller, "action", "create")
    caller.rng.shuffle(tools)
    start = goal_value(take.service, take.state, goal, key)
    for tool in tools[:5]:
        if not caller.singles.able(tool.operation):
            continue
        drawn = _draw(caller, tool)
        if drawn is None:
            continue
        actor = Actor(str(take.actor["name"]), str(take.actor["role"]))
        outcome = execute(take.service.setting, take.state, tool.operation, drawn, actor)
        if outcome.refusal is not None:
            continue
        undo = take.state.apply(outcome.changes)
        reached = is_nearer(start, goal_value(take.service, take.state, goal, key), goal)
        _undo(take.state, undo)
        if reached:
            best = (tool.operation.name, drawn)
            break
        best = best or (tool.operation.name, drawn)
    if best is None:
        return False
    _say(caller, take.write(best[0], best[1], caller.rng))
    return True
