"""Growing an opening state: the world's own actions over a calendar, due things first, old finished records thinned."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from random import Random
from typing import Any

from carg.records import Instance, Json, Op, Opening, digest
from carg.world.caller import draw_arguments, draw_credential
from carg.world.executing import execute
from carg.world.functions import DAY_S, Uncomputable, month_of
from carg.world.model import Input, Operation, Resource, Tally, World
from carg.world.outcome import Actor, Refused
from carg.world.people import draw_person
from carg.world.run import Run, coerce
from carg.world.setting import Setting
from carg.world.state import Frame, State
from carg.world.upkeep import Own, check_always, keep_tallies, tally_over
from carg.world.view import patch_tables

MOST_LOGS = 28
"""Records kept of a resource that nothing refers to and nothing ends: logs would fill every prompt."""
TERMINAL_KEPT = 0.45
"""Share of finished records that stay."""
MOST_OPERATIONS = 300
"""Operations that make an opening, at most: by then every table is filled and every status met."""
LEFT_UNDONE = 20
"""In the last so many operations, due things are left for whoever calls."""
TRIES = 4
BARRED_DAYS = 6
"""How long a due thing that was refused is left alone at most, in days; else a third of its window."""


def grow_opening(setting: Setting, instance: Instance, seed: int) -> Opening:
    """An opening state of the instance, with its id by content."""
    rng = Random(f"opening/{instance.seed}/{seed}")
    state = grow_state(setting, rng)
    actor = draw_actor(setting.world, instance, rng)
    key = digest("opening", instance.id, seed, state.tables, state.now, actor)
    return Opening(key, instance.id, seed, state.now, actor, state.tables, state.counters)


def draw_actor(world: World, instance: Instance, rng: Random, role: str | None = None) -> dict[str, Json]:
    """Somebody who may call the service: name, role, and the credential calls carry."""
    roles = world.services[instance.service].roles
    name = draw_person(rng)
    by_key = instance.convention.factors["auth_word"] == "key_name"
    return {
        "name": name,
        "role": role or (roles[0] if rng.random() < 0.6 else rng.choice(roles)),
        "credential": draw_credential(name, by_key, rng),
    }


def grow_state(setting: Setting, rng: Random) -> State:
    """A state that the world's own operations made: seeded records, then `steps` steps over `days` days."""
    world = setting.world
    # Any day of the year: rules on months and seasons must be met on both sides.
    start = (world.start_day + rng.randrange(365)) * DAY_S + 8 * 3600
    state = State({name: {} for name in world.resources}, start)
    if not world.resources:
        state.now += rng.randint(0, world.days) * DAY_S + rng.randint(0, 10 * 60) * 60
        return state
    for resource in world.resources.values():
        for _ in range(rng.randint(*resource.initial)):
            seed_record(setting, state, resource, rng)
    steps = max(1, int(world.steps * rng.uniform(0.7, 1.2)))
    moves = [op for op in world.operations.values() if op.kind == "action"]
    dues = [op for op in moves if op.due is not None]
    makers = [
        (resource, world.operations[f"create_{resource.name}"])
        for resource in world.resources.values()
        if resource.pace > 0 and "create" in resource.offers
    ]
    barred: dict[tuple[str, str], int] = {}
    done = 0
    for step in range(steps):
        if done >= MOST_OPERATIONS:
            break
        state.now = _next_moment(state.now, world.days * DAY_S / steps, rng)
        left = step < steps * 0.93 and done < MOST_OPERATIONS - LEFT_UNDONE
        done += _step(setting, state, rng, moves, dues if left else [], makers, barred)
    thin(setting, state, rng)
    state.now += rng.randint(1, 6) * 3600 + rng.randrange(60) * 60
    return state


def _next_moment(now: int, stride: float, rng: Random) -> int:
    later = now + int(stride * rng.uniform(0.3, 1.7))
    if stride > 4 * 3600:
        later = later // DAY_S * DAY_S + rng.randint(7 * 60, 19 * 60) * 60
        later = max(later, now + 60)
    return later // 60 * 60


def _step(
    setting: Setting,
    state: State,
    rng: Random,
    moves: list[Operation],
    dues: list[Operation],
    makers: list[tuple[Resource, Operation]],
    barred: dict[tuple[str, str], int],
) -> int:
    """How many operations were done."""
    done = 0
    for operation in rng.sample(dues, len(dues)):
        ready = [
            key for key in due_records(setting, state, operation) if barred.get((operation.name, key), 0) <= state.now
        ]
        for key in rng.sample(ready, min(2, len(ready))):
            if try_operation(setting, state, operation, rng, focus={operation.subject: key}):
                done += 1
            else:
                assert operation.due is not None
                low, high = operation.due.days
                rest = min(BARRED_DAYS, max(0.25, (high - low) / 3))
                barred[(operation.name, key)] = state.now + int(rest * DAY_S)
    for resource, operation in makers:
        if rng.random() < resource.pace:
            done += try_operation(setting, state, operation, rng)
    for operation in rng.sample(moves, min(3, len(moves))):
        if operation.season and month_of(state.now // DAY_S) not in operation.season:
            continue
        if try_operation(setting, state, operation, rng):
            return done + 1
    return done


def _has_able(setting: Setting, state: State, operation: Operation) -> bool:
    life = setting.world.resources[operation.subject].life if operation.moves_from else None
    if life is None:
        return True
    return any(record[life] in operation.moves_from for record in state.tables[operation.subject].values())


def due_records(setting: Setting, state: State, operation: Operation) -> list[str]:
    """The records on which time has made the action due."""
    assert operation.due is not None
    resource = setting.world.resources[operation.subject]
    table, life = state.tables[resource.name], resource.life if operation.moves_from else None
    able = [key for key, record in table.items() if record[life] in operation.moves_from] if life else table
    if not able:
        return []
    frame, found = Frame(state.tables), []
    low, high = operation.due.days
    values = {**setting.base, "now": state.now, "today": state.now // DAY_S}
    for key in able:
        values[resource.name] = key
        after = operation.due.after.run(frame.get, frame.scan, values)
        if after is None:
            continue
        start = after * DAY_S if operation.due.after.type.kind == "date" else after
        if state.now < start + low * DAY_S:
            continue
        if state.now < start + high * DAY_S:
            wait = low + (high - low) * _patience(operation.name, key)
            if state.now < start + wait * DAY_S:
                continue
        found.append(key)
    return sorted(found)


@lru_cache(4096)
def _patience(action: str, key: str) -> float:
    """Where in its window, from 0 to 1, an action is done on this record."""
    return int(digest(key, action)[:4], 16) / 65536


def try_operation(
    setting: Setting, state: State, operation: Operation, rng: Random, focus: dict[str, str] | None = None
) -> bool:
    """Execute with drawn arguments, a few times over; whether it was done. Changes the state."""
    if not _has_able(setting, state, operation):
        return False
    role = sorted(operation.roles)[0] if operation.roles else _usual_role(setting.world, operation)
    for _ in range(TRIES):
        arguments = draw_arguments(setting, state, operation, rng, focus or {})
        if arguments is None:
            return False
        outcome = execute(setting, state, operation, arguments, Actor(draw_person(rng), role))
        if outcome.refusal is None:
            state.apply(outcome.changes)
            return True
    return False


def _usual_role(world: World, operation: Operation) -> str:
    service = world.services.get(operation.service)
    return service.roles[0] if service is not None else "user"


def seed_record(setting: Setting, state: State, resource: Resource, rng: Random) -> bool:
    """Add a record as it stands when the calendar starts; False where its invariants can't be met."""
    operation = Operation(f"seed_{resource.name}", "create", resource.name, "", ())
    for _ in range(TRIES):
        run = Run(setting, state, operation, {}, Actor("", ""))
        given: dict[str, Any] = {}
        filler = draw_arguments(setting, state, _all_fields(resource), rng, {})
        if filler is None:
            return False
        for name, value in filler.items():
            given[name] = (value, ())
        try:
            run.make(resource, given)
            keep_tallies(run)
            check_always(run)
        except (Refused, Uncomputable):
            continue
        if _is_unique(state, resource, run.overlay.changes()[0].record or {}):
            state.apply(run.overlay.changes())
            return True
    return False


def _is_unique(state: State, resource: Resource, record: dict[str, Any]) -> bool:
    return not any(
        spec.unique and any(other[name] == record[name] for other in state.tables[resource.name].values())
        for name, spec in resource.fields.items()
        if record.get(name) is not None
    )


def _all_fields(resource: Resource) -> Operation:
    inputs = tuple(
        Input(spec, not spec.optional)
        for spec in resource.fields.values()
        if spec.kind not in ("life", "tally")
        and spec.start is None
        and not (spec.kind in ("time", "date") and spec.low == spec.high == 0)
    )
    return Operation(f"seed_{resource.name}", "create", resource.name, "", inputs)


def thin(setting: Setting, state: State, rng: Random) -> None:
    """Remove most old finished records and all but the newest logs, with what refers to them; tallies are recounted."""
    world = setting.world
    for resource in world.resources.values():
        table = state.tables[resource.name]
        if resource.life is not None:
            finished = [key for key in sorted(table) if table[key][resource.life] in resource.terminal]
            for key in finished[: int(len(finished) * (1 - TERMINAL_KEPT))]:
                _remove_closure(setting, state, resource.name, key)
        elif not setting.refers.get(resource.name):
            # Logs that are counted or summed stay longer: less of what they explain is lost.
            most = MOST_LOGS * (2 if resource.name in setting.tallies else 1)
            for key in list(table)[: max(0, len(table) - most)]:
                del table[key]
    recount(setting, state)


def recount(setting: Setting, state: State, changed: set[str] | None = None) -> None:
    """Bring every count and sum of the state up to date; with `changed`, those that rest on these tables."""
    changed = set(state.tables) if changed is None else set(changed)
    values = {**setting.base, "now": state.now, "today": state.now // DAY_S}
    for owner in setting.world.resources.values():
        for name, spec in owner.fields.items():
            if spec.tally is None or not changed & _rests_on(spec.tally):
                continue
            frame, named = Frame(state.tables), dict[str, list[str]]()
            for key, record in frame.records(spec.tally.resource):
                if record[spec.tally.by] is not None:
                    named.setdefault(record[spec.tally.by], []).append(key)
            for key, record in state.tables[owner.name].items():
                value = coerce(spec, tally_over(frame, spec.tally, named.get(key, ()), values))
                if value != record[name]:
                    state.tables[owner.name][key] = {**record, name: value}
                    changed.add(owner.name)


def _rests_on(tally: Tally) -> set[str]:
    return {tally.resource, *(of for of, _ in (tally.where.cells if tally.where is not None else ()))}


def add_up(setting: Setting, opening: Opening, patch: Iterable[Op]) -> tuple[Op, ...]:
    """The patch with every count and sum that follows from it, so that the patched opening adds up, too."""
    ops = {(op.table, op.id): op for op in patch}
    state = State(patch_tables(opening.tables, ops.values()), opening.now)
    recount(setting, state, {op.table for op in ops.values()})
    for table, records in state.tables.items():
        for key, record in records.items():
            if record is not opening.tables[table].get(key):
                ops[table, key] = Op(table, key, record)
    return tuple(ops.values())


def _remove_closure(setting: Setting, state: State, table: str, key: str) -> None:
    gone: dict[tuple[str, str], None] = {(table, key): None}
    queue = [(table, key)]
    while queue:
        owner, target = queue.pop()
        for other, name in setting.refers.get(owner, ()):
            resource = setting.world.resources[other]
            for hit, record in state.tables[other].items():
                if record[name] != target or (other, hit) in gone:
                    continue
                if resource.life is not None and record[resource.life] not in resource.terminal:
                    return
                gone[(other, hit)] = None
                queue.append((other, hit))
        if len(gone) > 12:
            return
    for owner, target in gone:
        state.tables[owner].pop(target, None)


def broken_invariants(setting: Setting, tables: dict[str, Any], names: Iterable[str] | None = None) -> list[str]:
    """`resource id: code` for each invariant that does not hold somewhere in the state."""
    frame, found = Frame(tables), []
    for resource in setting.world.resources.values():
        if names is not None and resource.name not in names:
            continue
        for key in sorted(tables[resource.name]):
            for rule in resource.always:
                values = Own(frame, resource.name, key, setting.base)
                if not rule.that.run(frame.get, frame.scan, values):
                    found.append(f"{resource.name} {key}: {rule.code}")
    return found
