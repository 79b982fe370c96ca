"""What a caller is after: a goal of the world, the records it is about, the operations that it needs."""

from __future__ import annotations

from random import Random
from typing import Any

from carg.records import Opening
from carg.world.functions import Uncomputable
from carg.world.model import Goal
from carg.world.service import Service
from carg.world.state import Frame, State


def choose_aim(service: Service, opening: Opening, rng: Random) -> tuple[Goal | None, list[tuple[str, str]]]:
    world = service.world
    subjects = {tool.operation.subject for tool in service.tools.values() if tool.operation.kind == "action"}
    goals = [goal for goal in world.goals if goal.on in subjects and opening.tables.get(goal.on)]
    goal = rng.choice(goals) if goals else None
    pool = sorted(name for name in subjects if opening.tables.get(name))
    if not pool:
        touched = {tool.operation.subject for tool in service.tools.values()}
        pool = sorted(name for name in touched if opening.tables.get(name))
    if not pool:
        return None, []
    resource = goal.on if goal is not None else rng.choice(pool)
    ids = sorted(opening.tables[resource])
    entities = [(resource, key) for key in rng.sample(ids, min(len(ids), rng.choice((1, 2, 2, 3))))]
    if rng.random() < 0.4:
        other = rng.choice(pool)
        entities.append((other, rng.choice(sorted(opening.tables[other]))))
    return goal, entities


def choose_operations(service: Service, entities: list[tuple[str, str]], rng: Random) -> list[str]:
    subjects = dict.fromkeys(resource for resource, _ in entities)
    if not subjects:
        return rng.sample(list(service.tools), min(3, len(service.tools)))
    chosen: list[str] = []
    for place, subject in enumerate(subjects):
        own = [tool.operation for tool in service.tools.values() if tool.operation.subject == subject]
        reads = [operation.name for operation in own if operation.kind == "get"]
        finds = [operation.name for operation in own if operation.kind == "search"]
        acts = [operation.name for operation in own if operation.kind in ("action", "create", "update", "delete")]
        chosen += reads[:1] + finds[: 1 if rng.random() < 0.6 else 0]
        chosen += rng.sample(acts, min(len(acts), 3 if place == 0 else 1))
    return chosen[:7]


def goal_value(service: Service, state: State, goal: Goal, key: str) -> Any:
    if key not in state.tables[goal.on]:
        return None
    frame = Frame(state.tables)
    values = {**service.setting.base, goal.on: key, "now": state.now, "today": state.now // 86_400}
    try:
        return goal.reach.run(frame.get, frame.scan, {**values, "role": "", "actor": ""})
    except Uncomputable:
        return None


def is_nearer(before: Any, after: Any, goal: Goal) -> bool:
    if goal.grows:
        return before is not None and after is not None and after > before
    return after is True
