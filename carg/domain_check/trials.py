"""Drawn services with their grown states, and what the states show: statuses, invariants, what is overdue."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from carg.domain_check.findings import Findings
from carg.records import Opening
from carg.stages.by_world import draw_instances, neutral_surface
from carg.world.definitions import tool_record
from carg.world.functions import DAY_S
from carg.world.model import Resource, World
from carg.world.openings import broken_invariants, due_records, grow_opening
from carg.world.service import Service
from carg.world.setting import Setting
from carg.world.singles import Singles
from carg.world.state import State

SEED = 20240301
"""Of every draw: the same file gives the same report."""
STATE_MOST = 0.85
TERMINAL_MOST = 0.90
SLACK_DAYS = 21
"""How long a due thing may wait: barred ones are tried again after 6 days, and several are due at once."""
UNDONE = 0.1
"""Share of the calendar at whose end openings leave due things undone, a little more than there."""


@dataclass(slots=True)
class Trial:
    """One drawn service with a state of its own that executions may change."""

    service: Service
    opening: Opening
    singles: Singles

    @property
    def setting(self) -> Setting:
        """The world as this service runs it."""
        return self.service.setting


def draw_trials(world: World, services: int) -> list[Trial]:
    """`services` drawn services over all services of the world, each with a grown state."""
    surface = neutral_surface(world)
    tools = [tool_record(surface, operation) for operation in world.operations.values()]
    each = max(1, -(-services // max(1, len(world.services))))
    made = []
    for instance in draw_instances(world, tools, each, SEED):
        service = Service(world, instance)
        opening = grow_opening(service.setting, instance, SEED)
        made.append(Trial(service, opening, Singles(service, opening, Random(f"trial/{instance.seed}"))))
        made[-1].singles.state = State(opening.tables, opening.now, dict(opening.counters)).fork()
    return made


def check_states(found: Findings, world: World, trials: list[Trial]) -> None:
    """Statuses, invariants and due actions over the grown states."""
    for resource in world.resources.values():
        counts = [len(trial.opening.tables[resource.name]) for trial in trials]
        if resource.life is not None:
            _check_statuses(found, resource, trials)
        else:
            found.row("records in grown states", resource.name, f"{sum(counts) / len(counts):.1f} a state")
        if not any(counts):
            found.fault(
                f"resources.{resource.name}", "no grown state holds one: set initial, pace, or let an action create it"
            )
    _check_invariants(found, trials)
    _check_due(found, world, trials)


def _check_statuses(found: Findings, resource: Resource, trials: list[Trial]) -> None:
    life = resource.life or ""
    counts = Counter(row[life] for trial in trials for row in trial.opening.tables[resource.name].values())
    total = sum(counts.values())
    entry = f"resources.{resource.name}.fields.{life}"
    text = ", ".join(f"{state} {counts[state]}" for state in resource.fields[life].options)
    found.row("records in grown states", f"{resource.name}.{life}", f"{text} ({total / len(trials):.1f} a state)")
    for state in resource.fields[life].options:
        if not counts[state]:
            found.warn(
                entry, f"{state!r} occurs in none of {len(trials)} grown states: are its actions' rules too strict?"
            )
        share, ends = counts[state] / max(1, total), state in resource.terminal
        if total and share > (TERMINAL_MOST if ends else STATE_MOST) and len(resource.fields[life].options) > 1:
            found.warn(
                entry,
                f"{share:.0%} of the {resource.plural} are {state!r}: "
                f"{'raise pace, or let fewer end' if ends else 'what leads out of it is refused or too rare'}",
            )


def _check_invariants(found: Findings, trials: list[Trial]) -> None:
    broken: Counter[tuple[str, str]] = Counter()
    for trial in trials:
        for resource, code in broken_rules(trial.setting, trial.opening.tables):
            broken[resource, code] += 1
    for (resource, code), count in broken.items():
        found.fault(
            f"resources.{resource}.always",
            f"{code} does not hold for {count} records of the grown states: an action, a "
            "start or time itself breaks it (rules over `now` cannot be invariants)",
        )


def broken_rules(setting: Setting, tables: dict[str, Any], names: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """(resource, code) for each record and invariant that does not hold."""
    found = []
    for text in broken_invariants(setting, tables, names):
        head, _, code = text.rpartition(": ")
        found.append((head.partition(" ")[0], code))
    return found


def _check_due(found: Findings, world: World, trials: list[Trial]) -> None:
    slack = SLACK_DAYS + round(UNDONE * world.days)
    late: dict[str, int] = defaultdict(int)
    able: dict[str, int] = defaultdict(int)
    for trial in trials:
        opening = trial.opening
        before = State(opening.tables, opening.now - slack * DAY_S, opening.counters)
        for name, operation in world.operations.items():
            if operation.due is None:
                continue
            resource = world.resources[operation.subject]
            late[name] += len(due_records(trial.setting, before, operation))
            able[name] += sum(
                not operation.moves_from or resource.life is None or row[resource.life] in operation.moves_from
                for row in opening.tables[resource.name].values()
            )
    for name, count in late.items():
        found.row(f"overdue by more than {slack} days", name, f"{count} of {able[name]}")
        if world.operations[name].moves_to is not None and count > 5 and count > 0.25 * able[name]:
            found.warn(
                f"actions.{name}.due",
                f"{count} of {able[name]} records are overdue by more than {slack} days: "
                "its rules refuse it (loosen them, or give due a later `after`)",
            )
