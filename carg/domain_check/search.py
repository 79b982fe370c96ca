"""Looking for a call that a rule refuses, or lets pass: arguments at their bounds, cells that the rule reads changed,
records added or taken away, the clock put forward; always in a state that keeps the invariants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any

from carg.domain_check.trials import Trial
from carg.world.caller import draw_argument, draw_arguments
from carg.world.executing import execute
from carg.world.failing import other_values
from carg.world.functions import DAY_S
from carg.world.model import FieldSpec, Operation, Resource, Rule, World
from carg.world.openings import broken_invariants, draw_actor, recount
from carg.world.outcome import Actor
from carg.world.state import State
from carg.world.types import Expression

ATTEMPTS = 360
ATTEMPTS_INVARIANT = 120
"""Fewer: an invariant that nothing reaches is a warning only, and common."""
TRIALS = 8
CALLS = 12
"""Tries to draw arguments at all, before a state is given up: it may hold no record to name."""
CLONES = (2, 24)
REPAIRS = 30


def find_case(trials: list[Trial], operation: Operation, rule: Rule, owner: Resource | None, *, hit: bool) -> bool:
    """Whether a call of the operation was found that the rule refuses (`hit`), or that passes it."""
    mine = [trial for trial in trials if operation.name in trial.service.tools]
    rng, attempts = (
        Random(f"search/{operation.name}/{rule.code}/{hit}"),
        ATTEMPTS if owner is None else ATTEMPTS_INVARIANT,
    )
    for trial in rng.sample(mine, min(TRIALS, len(mine))):
        search = _Search(trial, operation, rule, owner, rng)
        if not any(search.arguments(trial.singles.state) for _ in range(CALLS)):
            continue
        if any(search.attempt(hit) for _ in range(attempts)):
            return True
    return False


@dataclass(slots=True)
class _Reach:
    """What a rule reads, its lets included: inputs, cells, tables."""

    names: set[str] = field(default_factory=set)
    cells: set[tuple[str, str]] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)

    def add(self, expression: Expression, lets: Mapping[str, Expression]) -> None:
        """Add an expression with what its names stand for."""
        self.cells |= expression.cells
        self.tables |= expression.tables
        for name in expression.names - self.names:
            self.names.add(name)
            if name in lets:
                self.add(lets[name], lets)


def _reach(world: World, operation: Operation, rule: Rule, owner: Resource | None) -> _Reach:
    reach = _Reach()
    reach.add(rule.that, dict(operation.lets))
    if owner is not None:
        reach.cells |= {(owner.name, name) for name in rule.that.names if name in owner.fields}
        for table, name, value in operation.writes():
            if (table, name) in reach.cells:
                reach.add(value, dict(operation.lets))
    for table, name in sorted(reach.cells):
        spec = world.resources[table].fields.get(name)
        if spec is not None and spec.tally is not None:
            reach.tables.add(spec.tally.resource)
            reach.cells |= {(spec.tally.resource, spec.tally.by)}
            reach.cells |= {(spec.tally.resource, spec.tally.field)} if spec.tally.field else set()
            reach.cells |= spec.tally.where.cells if spec.tally.where is not None else set()
    return reach


@dataclass(frozen=True, slots=True)
class _Case:
    """A call in a state; `near` counts the rules it came past."""

    state: State
    arguments: dict[str, Any]
    actor: Actor
    near: int


class _Search:
    """One rule of one operation in one trial."""

    def __init__(self, trial: Trial, operation: Operation, rule: Rule, owner: Resource | None, rng: Random) -> None:
        self.trial, self.operation, self.rule, self.rng = trial, operation, rule, rng
        self.world = trial.service.world
        self.reach = _reach(self.world, operation, rule, owner)
        self.cells = sorted(cell for cell in self.reach.cells if cell[1] != "id" and self._spec(*cell).kind != "tally")
        self.tables = sorted(self.reach.tables)
        self.best: _Case | None = None
        self.broken = set(broken_invariants(trial.setting, trial.singles.state.tables))

    def _spec(self, table: str, name: str) -> FieldSpec:
        return self.world.resources[table].fields[name]

    def attempt(self, hit: bool) -> bool:
        """One random call in one changed state; whether it is what was looked for."""
        rng, best = self.rng, self.best
        if best is not None and rng.random() < 0.6:
            state, arguments, actor = best.state.fork(), best.arguments, best.actor
            if rng.random() < 0.3:
                arguments = self.arguments(state) or arguments
        else:
            state = self.trial.singles.state.fork()
            actor, drawn = self._actor(state), self.arguments(state)
            if drawn is None:
                return False
            arguments = drawn
        moves = rng.choice((0, 1, 1, 2, 2, 3, 4))
        try:
            for _ in range(moves):
                self._change(state, arguments, actor)
            if moves and self.trial.setting.tallies:
                recount(self.trial.setting, state)
            case = _Case(state, arguments, actor, 0)
            return self._is_case(case, hit) and self._mend(case, hit)
        except Exception:  # crashes are told by the random executions; here they are no find
            return False

    def _is_case(self, case: _Case, hit: bool) -> bool:
        """Whether the call is what was looked for. Notes it where it came nearer than all before."""
        outcome = execute(self.trial.setting, case.state, self.operation, case.arguments, case.actor)
        refused = outcome.refusal is not None and outcome.refusal.words is self.rule.words
        near = len(outcome.trace.rules) + (outcome.refusal is None)
        if self.best is None or near >= self.best.near:
            self.best = _Case(case.state.fork(), case.arguments, case.actor, near)
        return refused if hit else self.rule.code in outcome.trace.rules and not refused

    def _mend(self, case: _Case, hit: bool) -> bool:
        """Whether the case still stands once the changed state keeps its invariants, after a few repairs."""
        for _ in range(REPAIRS):
            broken = [
                text for text in broken_invariants(self.trial.setting, case.state.tables) if text not in self.broken
            ]
            if not broken:
                return self._is_case(case, hit)
            self._repair(case.state, broken[0], case.actor)
            recount(self.trial.setting, case.state)
        return False

    def _repair(self, state: State, broken: str, actor: Actor) -> None:
        head, _, code = broken.rpartition(": ")
        table, _, key = head.partition(" ")
        clones = [(name, other) for name in self.tables for other in state.tables[name] if "~" in other]
        if clones and self.rng.random() < 0.7:
            name, other = clones[-1]
            del state.tables[name][other]
            return
        resource = self.world.resources[table]
        fields = sorted({name for rule in resource.always if rule.code == code for name in rule.that.names})
        fields = [name for name in fields if name in resource.fields]
        if fields:
            self._set(state, table, key, self.rng.choice(fields), actor)

    def _actor(self, state: State) -> Actor:
        world, service = self.world, self.trial.service
        roles = world.services[self.operation.service].roles
        able = [role for role in roles if not self.operation.roles or role in self.operation.roles]
        role = self.rng.choice(able or list(roles))
        name = str(draw_actor(world, service.instance, self.rng, role)["name"])
        people = [cell for cell in self.cells if self._spec(*cell).kind in ("person", "text")]
        if "actor" in self.reach.names and people and self.rng.random() < 0.5:
            table, field_name = self.rng.choice(people)
            named = [row[field_name] for row in state.tables[table].values() if row[field_name]]
            name = self.rng.choice(named) if named else name
        return Actor(name, role)

    def arguments(self, state: State) -> dict[str, Any] | None:
        """Drawn arguments that fit the definition, at bounds and like what is there more often than by chance."""
        setting, rng, singles = self.trial.setting, self.rng, self.trial.singles
        drawn = draw_arguments(setting, state, self.operation, rng, {}, optional=rng.choice((0.0, 0.5, 1.0)))
        if drawn is None:
            return None
        for item in self.operation.inputs:
            if item.name not in self.reach.names or (item.role in ("target", "targets") and rng.random() < 0.7):
                continue
            chance = rng.random()
            if not item.required and chance < 0.15:
                drawn.pop(item.name, None)
            elif item.spec.kind in ("integer", "number") and chance < 0.5:
                bound = rng.choice((item.spec.low, item.spec.high))
                if bound is not None:
                    drawn[item.name] = int(bound) if item.spec.kind == "integer" else bound
            elif chance < 0.75:
                value = draw_argument(setting, state, self.operation, item, rng, {}, drawn)
                if value is not None:
                    drawn[item.name] = value
        self._echo(state, drawn)
        return singles.fit(self.trial.service.tools[self.operation.name], drawn)

    def _echo(self, state: State, drawn: dict[str, Any]) -> None:
        """Let an argument be what a record already has, or two references be the same."""
        refs = [
            i for i in self.operation.inputs if i.spec.kind == "ref" and i.name in self.reach.names and i.name in drawn
        ]
        for one, other in pairwise(refs):
            if one.spec.of == other.spec.of and self.rng.random() < 0.3:
                drawn[other.name] = drawn[one.name]
        for item in self.operation.inputs:
            if item.name not in self.reach.names or item.role != "value" or self.rng.random() < 0.7:
                continue
            same = [
                (t, n) for t, n in self.cells if self._spec(t, n).kind == item.spec.kind and item.spec.kind != "ref"
            ]
            if same:
                table, name = self.rng.choice(same)
                values = [row[name] for row in state.tables[table].values() if row[name] is not None]
                if values:
                    drawn[item.name] = self.rng.choice(values)

    # Changes of the state ------------------------------------------------------------------------------------------

    def _change(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        options = [self._change_cell] * 4 * bool(self.cells)
        options += [self._crowd, self._crowd, self._clone, self._empty] if self.tables else []
        options += [self._change_barrier, *([self._wait] if self.reach.names & {"now", "today"} else [])]
        self.rng.choice(options)(state, arguments, actor)

    def _named(self, arguments: Mapping[str, Any], table: str) -> list[str]:
        """The records of a table that the call names."""
        found: list[str] = []
        for item in self.operation.inputs:
            value = arguments.get(item.name)
            if item.spec.kind == "ref" and item.spec.of == table and value is not None:
                found.append(value)
            elif item.spec.item is not None and item.spec.item.of == table and value:
                found += value
        return found

    def _change_cell(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        table, name = self.rng.choice(self.cells)
        keys = [key for key in self._named(arguments, table) if key in state.tables[table]]
        if not keys or self.rng.random() < 0.3:
            keys = self._read(state, arguments, actor, table) or sorted(state.tables[table])
        if keys:
            self._set(state, table, self.rng.choice(keys), name, actor)

    def _change_barrier(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        """Change a cell that decided the call as it stands: another rule may stand before this one."""
        outcome = execute(self.trial.setting, state, self.operation, arguments, actor)
        cells = [
            (t, k, n) for t, k, n in outcome.trace.label if n is not None and n != "id" and k in state.tables.get(t, {})
        ]
        if cells:
            table, key, name = self.rng.choice(cells)
            self._set(state, table, str(key), str(name), actor)

    def _read(self, state: State, arguments: Mapping[str, Any], actor: Actor, table: str) -> list[str]:
        outcome = execute(self.trial.setting, state, self.operation, arguments, actor)
        return sorted({str(k) for t, k, _ in outcome.trace.label if t == table and k in state.tables[table]})

    def _set(self, state: State, table: str, key: str, name: str, actor: Actor) -> None:
        record, spec = state.tables[table][key], self._spec(table, name)
        if spec.kind != "tally":
            state.tables[table][key] = {**record, name: self._value(state, spec, record[name], actor)}

    def _value(self, state: State, spec: FieldSpec, value: Any, actor: Actor) -> Any:
        rng = self.rng
        if value is not None and (spec.optional or spec.only_if is not None) and rng.random() < 0.2:
            return None
        if spec.kind == "person" and rng.random() < 0.5:
            return actor.name
        if spec.kind in ("integer", "number") and rng.random() < 0.4:
            return rng.choice((spec.low, spec.high)) if spec.low is not None and spec.high is not None else value
        usual = {"ref": None, "date": state.now // DAY_S, "time": state.now}
        options = other_values(self.trial.singles, spec, usual.get(spec.kind) if value is None else value)
        if spec.kind == "ref" and value is None:
            options = sorted(state.tables[spec.of or ""])
        if not options:
            options = [row[spec.name] for rows in state.tables.values() for row in rows.values() if spec.name in row][
                :40
            ]
        return rng.choice(options) if options else value

    def _crowd(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        """Give many records of a table the same reference or status."""
        table = self.rng.choice(self.tables)
        fields = [
            n for t, n in self.cells if t == table and self._spec(t, n).kind in ("ref", "choice", "life", "boolean")
        ]
        for name in fields:
            value = self._common(state, arguments, table, name, actor)
            for key, record in sorted(state.tables[table].items()):
                if value is not None and self.rng.random() < 0.8:
                    state.tables[table][key] = {**record, name: value}

    def _common(self, state: State, arguments: Mapping[str, Any], table: str, name: str, actor: Actor) -> Any:
        spec = self._spec(table, name)
        named = self._named(arguments, spec.of or "") if spec.kind == "ref" else []
        return self.rng.choice(named) if named else self._value(state, spec, None, actor)

    def _clone(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        """Add copies of a record, most of them about what the call names."""
        table = self.rng.choice(self.tables)
        rows = state.tables[table]
        if not rows:
            return
        record = dict(rows[self.rng.choice(sorted(rows))])
        for name in [n for t, n in self.cells if t == table and self._spec(t, n).kind in ("ref", "choice", "life")]:
            record[name] = self._common(state, arguments, table, name, actor) or record[name]
        for number in range(self.rng.randint(*CLONES)):
            key = f"{record['id']}~{number}"
            rows[key] = {**record, "id": key}

    def _empty(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        """Take the records of a table away, but for those the call names or others refer to."""
        table = self.rng.choice(self.tables)
        kept = set(self._named(arguments, table))
        for other, name in self.trial.setting.refers.get(table, ()):
            kept |= {row[name] for row in state.tables[other].values() if row[name] is not None}
        for key in [key for key in state.tables[table] if key not in kept]:
            del state.tables[table][key]

    def _wait(self, state: State, arguments: Mapping[str, Any], actor: Actor) -> None:
        state.now += self.rng.choice(
            (3600, 6 * 3600, DAY_S, 10 * DAY_S, 60 * DAY_S, 400 * DAY_S, -30 * DAY_S, -2 * DAY_S)
        )
