"""Calls of drawn services: each tool has a valid one, bodies fit their schema, invariants hold after each execution."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from carg.checks.views import leaves
from carg.domain_check.findings import Findings, entry_of
from carg.domain_check.trials import Trial, broken_rules
from carg.records import Json, canonical
from carg.schemas import validator
from carg.world.arguments import show_arguments
from carg.world.caller import draw_arguments
from carg.world.executing import execute
from carg.world.model import Operation, World
from carg.world.openings import draw_actor
from carg.world.outcome import Actor, Outcome
from carg.world.service import fault_detail
from carg.world.state import Change

VALID_LEAST = 0.6
"""Share of instances in which each tool should have a valid call."""
TRIES_VALID = 4
BODY_MEDIAN = (60, 400)
BODY_P95 = 1500
NULLS = (0.03, 0.20)


@dataclass(slots=True)
class Reached:
    """Which errors were reached and how often rules were tried, over all executions."""

    hits: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By operation and identity of the rule's words."""
    coded: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By operation and code."""
    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    """By class of fault, the codes."""

    def note(self, operation: Operation, outcome: Outcome) -> None:
        """Count one execution."""
        for code in outcome.trace.rules:
            self.tried[operation.name, code] += 1
        if (refusal := outcome.refusal) is not None:
            self.hits[operation.name, id(refusal.words)] += 1
            self.coded[operation.name, refusal.code] += 1
            self.classes.setdefault(refusal.fault, Counter())[refusal.code] += 1


def check_calls(found: Findings, world: World, trials: list[Trial], executions: int) -> Reached:
    """Valid calls of each tool, then random executions; the errors they reached."""
    reached = Reached()
    _check_valid(found, world, trials, reached)
    _Executions(found, world, reached).run(trials, executions)
    return reached


# Valid calls --------------------------------------------------------------------------------------------------------


def _check_valid(found: Findings, world: World, trials: list[Trial], reached: Reached) -> None:
    had: dict[str, list[bool]] = defaultdict(list)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in trials:
        for name in trial.service.tools:
            had[name].append(_has_valid(found, trial, name, reached, reasons[name]))
    rare = []
    for name, known in had.items():
        share, entry = sum(known) / len(known), entry_of(world.operations[name])
        reason = ", ".join(f"{text} ({count} times)" for text, count in reasons[name].most_common(3)) or "nothing drawn"
        elsewhere = (
            [trial for trial in trials if _is_valid_somewhere(trial, world.operations[name])] if share == 0 else []
        )
        if elsewhere:
            found.warn(
                entry,
                f"{name} has no valid call in any of its {len(known)} services, one in {len(elsewhere)} of all "
                f"{len(trials)} grown states; in the way: {reason}",
            )
        elif share == 0:
            found.fault(
                entry, f"{name} has no valid call in any of {len(known)} services; what stood in the way: {reason}"
            )
        elif share < VALID_LEAST:
            found.warn(entry, f"{name} has a valid call in {share:.0%} of {len(known)} services; in the way: {reason}")
        if share < 1:
            rare.append((share, name))
    for share, name in sorted(rare)[:15]:
        found.row("tools without a valid call everywhere", name, f"in {share:.0%} of services")


def _has_valid(found: Findings, trial: Trial, name: str, reached: Reached, reasons: Counter[str]) -> bool:
    operation = trial.service.tools[name].operation
    _take_role(trial, operation)
    for _ in range(TRIES_VALID):
        try:
            if trial.singles.valid_arguments(name) is not None:
                return True
        except Exception as fault:  # whatever an author's rules bring about is told, not raised
            _tell_crash(found, operation, fault)
            return False
    reasons.update(_obstacles(trial, operation, reached))
    return False


def _is_valid_somewhere(trial: Trial, operation: Operation) -> bool:
    """Whether the plain operation, no definition drawn, has a valid call in this state."""
    singles, roles = trial.singles, sorted(operation.roles)
    actor = Actor("Nobody", roles[0] if roles else trial.service.world.services[operation.service].roles[0])
    for _ in range(12):
        drawn = draw_arguments(trial.setting, singles.state, operation, singles.rng, {})
        if drawn is not None and execute(trial.setting, singles.state, operation, drawn, actor).refusal is None:
            return True
    return False


def _take_role(trial: Trial, operation: Operation) -> None:
    """Let somebody call who may."""
    singles, world = trial.singles, trial.service.world
    if not singles.able(operation):
        able = sorted(operation.roles & set(world.services[operation.service].roles))
        if able:
            singles.actor = draw_actor(world, trial.service.instance, singles.rng, able[0])


def _obstacles(trial: Trial, operation: Operation, reached: Reached) -> Iterable[str]:
    singles, tool = trial.singles, trial.service.tools[operation.name]
    for _ in range(8):
        drawn = draw_arguments(trial.setting, singles.state, operation, singles.rng, {})
        if drawn is None:
            yield "there is no record to name"
            return
        fitted = singles.fit(tool, drawn)
        if fitted is None:
            yield "the drawn arguments do not fit the definition"
            continue
        outcome = singles.try_out(operation, fitted)
        reached.note(operation, outcome)
        if outcome.refusal is not None:
            detail = outcome.refusal.detail.get("reason")
            yield f"{outcome.refusal.code}{f': {detail}' if detail else ''}"


def _tell_crash(found: Findings, operation: Operation, fault: Exception) -> None:
    found.fault(
        entry_of(operation), f"{operation.name} crashed: {type(fault).__name__}: {fault}; guard what can be null"
    )


# Random executions --------------------------------------------------------------------------------------------------


class _Executions:
    """Random calls of each trial in turn, each changing its state, and what they show."""

    def __init__(self, found: Findings, world: World, reached: Reached) -> None:
        self.found, self.world, self.reached = found, world, reached
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.sizes: list[int] = []
        self.all_sizes: list[int] = []
        self.leaves = self.nulls = 0

    def run(self, trials: list[Trial], executions: int) -> None:
        """Make the calls and write the tables."""
        for trial in trials:
            rng = Random(f"executions/{trial.opening.seed}/{trial.service.instance.seed}")
            for _ in range(-(-executions // len(trials))):
                self._call(trial, rng)
        self._write_tables()

    def _call(self, trial: Trial, rng: Random) -> None:
        singles, world = trial.singles, self.world
        roles = world.services[trial.service.instance.service].roles
        name = singles.next_operation() or ""
        tool = trial.service.tools[name]
        if rng.random() < 0.85:
            _take_role(trial, tool.operation)
        else:
            singles.actor = draw_actor(world, trial.service.instance, rng, rng.choice(roles))
        try:
            fitted = singles.valid_arguments(name) if rng.random() < 0.3 else None
            if fitted is None:
                drawn = draw_arguments(trial.setting, singles.state, tool.operation, rng, {})
                fitted = singles.fit(tool, drawn) if drawn is not None else None
            if fitted is not None:
                self._execute(trial, name, fitted)
        except Exception as fault:  # whatever an author's rules bring about is told, not raised
            _tell_crash(self.found, tool.operation, fault)

    def _execute(self, trial: Trial, name: str, arguments: dict[str, Any]) -> None:
        singles, service = trial.singles, trial.service
        tool = service.tools[name]
        operation, entry = tool.operation, entry_of(tool.operation)
        text = singles.write(tool, arguments)
        shown = show_arguments(service.surface, tool, arguments)
        answered = service.answer(singles.state, text, singles.actor, service.definitions)
        self.calls[name] += 1
        if answered.call.tool != tool.definition.name or canonical(answered.call.arguments) != canonical(shown):
            self.found.fault(entry, f"a call of {name} does not parse back: {text[:160]}")
            return
        outcome = answered.outcome
        if outcome is None:
            self.found.fault(
                entry, f"a drawn call of {name} was refused by its own schema: {answered.response.text[:160]}"
            )
            return
        self.reached.note(operation, outcome)
        if outcome.refusal is not None:
            self.refused[name] += 1
            if outcome.refusal.code == "not_computable" and operation.kind not in ("solve", "sweep"):
                reason = outcome.refusal.detail.get("reason")
                self.found.warn(entry, f"{name} could not be computed: {reason}; refuse it by a rule first")
            return
        body = answered.response.body
        schema = tool.definition.returns
        if schema is not None and (faults := validator(schema).faults(body)):
            where = f"{faults[0].field or 'the body'}, {fault_detail(schema, body, faults[0])},"
            self.found.fault(
                entry, f"{name}: {where} does not fit its returns schema ({faults[0].fault}): {str(body)[:160]}"
            )
        self._measure(operation, body, answered.response.text)
        self._judge_moves(trial, operation, outcome.changes)
        singles.state.apply(outcome.changes)
        self._judge_invariants(trial, operation, outcome.changes)

    def _judge_moves(self, trial: Trial, operation: Operation, changes: list[Change]) -> None:
        for change in changes:
            life = self.world.resources[change.table].life
            before = trial.singles.state.tables[change.table].get(change.id)
            if life is None or before is None or change.record is None:
                continue
            a, b = before[life], change.record[life]
            if a != b and b not in self.world.resources[change.table].fields[life].moves.get(a, ()):
                self.found.fault(
                    entry_of(operation),
                    f"{operation.name} takes a {change.table} from {a!r} to {b!r}, a step that its life "
                    f"cycle {life} does not have: add the step, or require another state",
                )

    def _judge_invariants(self, trial: Trial, operation: Operation, changes: list[Change]) -> None:
        touched = {change.table for change in changes}
        names = [
            resource.name
            for resource in self.world.resources.values()
            if resource.always
            and (
                resource.name in touched
                or any(
                    touched & ({table for table, _ in rule.that.cells} | rule.that.tables) for rule in resource.always
                )
            )
        ]
        for resource, code in broken_rules(trial.setting, trial.singles.state.tables, names) if names else ():
            self.found.fault(
                entry_of(operation),
                f"{operation.name} leaves a {resource} against its invariant {code}: refuse it by a rule",
            )

    def _measure(self, operation: Operation, body: Json, text: str) -> None:
        self.all_sizes.append(len(text) // 4)
        if operation.kind in ("get", "search", "action"):
            self.sizes.append(len(text) // 4)
            values = [value for _, value in leaves(body)]
            self.leaves += len(values)
            self.nulls += values.count(None)

    def _write_tables(self) -> None:
        found, records = self.found, self.world.kind == "records"
        if len(self.sizes) > 20:
            median, p95 = statistics.median(self.sizes), statistics.quantiles(self.sizes, n=20)[-1]
            share = self.nulls / max(1, self.leaves)
            found.row("bodies of get, search, actions", "tokens", f"median {median:.0f}, p95 {p95:.0f}")
            found.row("bodies of get, search, actions", "nulls", f"{share:.1%} of the values")
            if records and not BODY_MEDIAN[0] <= median <= BODY_MEDIAN[1]:
                more = "give records more fields, and let actions return the record" if median < 60 else "return less"
                found.warn(
                    "resources",
                    f"bodies have {median:.0f} tokens (median), {BODY_MEDIAN[0]} to {BODY_MEDIAN[1]} is wanted: {more}",
                )
            if records and not NULLS[0] <= share <= NULLS[1]:
                found.warn(
                    "resources", f"{share:.1%} of the values are null, 3 to 20 % is wanted: see `optional` and starts"
                )
        if len(self.all_sizes) > 20 and (p95 := statistics.quantiles(self.all_sizes, n=20)[-1]) > BODY_P95:
            found.warn(
                "file", f"5 % of the bodies have over {p95:.0f} tokens; {BODY_P95} is the most: shorter lists or series"
            )
        self._tell_refusals()

    def _tell_refusals(self) -> None:
        total = sum(self.calls.values())
        self.found.row(
            "random calls", "all", f"{total} executed, {sum(self.refused.values()) / max(1, total):.0%} refused"
        )
        for fault, codes in sorted(self.reached.classes.items()):
            often = ", ".join(f"{code} {count}" for code, count in codes.most_common(3))
            self.found.row("refusals by class", fault, f"{codes.total()} by {len(codes)} codes: {often}")
        rates = sorted(((self.refused[name] / count, name, count) for name, count in self.calls.items()), reverse=True)
        for share, name, count in rates[:12]:
            if share > 0.5:
                self.found.row("random calls", name, f"{share:.0%} of {count} refused")
