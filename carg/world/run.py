"""One execution under way: its values, the states before and after, and what each value rests on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from random import Random
from typing import Any

from carg.world.functions import DAY_S, Uncomputable
from carg.world.model import FieldSpec, Operation, Resource, Rule
from carg.world.outcome import UNKNOWN, Actor, Reads, Refusal, Refused, Trace
from carg.world.setting import Setting
from carg.world.state import Frame, Overlay, Read, Record, State
from carg.world.types import Expression
from carg.world.values import draw_value

_FAILING = re.compile(r"[/%]|\*\*|\b(?:sqrt|exp|log\d*|tan|asin|acos|sinh|cosh|total)\(")
"""Expressions that have no value for some cells: then whether the call succeeds rests on what they read."""
_CELL = re.compile(r"\w+(\.\w+)+")


@lru_cache(None)
def _can_fail(source: str) -> bool:
    return _FAILING.search(source) is not None


class Run:
    """One execution under way: its values, frames and overlay."""

    __slots__ = (
        "actor",
        "after",
        "frame",
        "operation",
        "overlay",
        "rests",
        "setting",
        "sources",
        "state",
        "touched",
        "trace",
        "values",
    )

    def __init__(
        self, setting: Setting, state: State, operation: Operation, arguments: Mapping[str, Any], actor: Actor
    ) -> None:
        self.setting = setting
        self.state = state
        self.operation = operation
        self.actor = actor
        self.overlay = Overlay()
        self.frame = Frame(state.tables)
        self.after = Frame(state.tables, self.overlay.over)
        self.trace = Trace()
        self.sources: dict[str, Reads] = {}
        """What the computed names (lets, was) rest on."""
        self.rests: dict[Read, Reads] = {}
        """What the cells written so far rest on."""
        self.touched: set[tuple[str, str]] = set()
        """The (resource, field) of what was written, made or removed."""
        self.values: dict[str, Any] = {
            **setting.base,
            "now": state.now,
            "today": state.now // DAY_S,
            "actor": actor.name,
            "role": actor.role,
        }
        for item in operation.inputs:
            value = arguments.get(item.name, item.spec.default)
            # What an update leaves out is null; elsewhere a list that is left out is empty.
            if value is None and item.spec.kind == "list" and operation.kind != "update":
                value = []
            self.values[item.name] = value

    def compute(self, expression: Expression, values: Mapping[str, Any] | None = None) -> Any:
        """A value of the state before, that the label rests on. Raises Uncomputable."""
        value = self.run(expression, self.frame, self.values if values is None else values)
        self.frame.reads += self._named(expression)
        return value

    def compute_apart(self, expression: Expression, values: Mapping[str, Any] | None = None) -> tuple[Any, Reads]:
        """A value of the state before with its reads; the label rests on them only if it might have had no value."""
        start = len(self.frame.reads)
        value = self.compute(expression, values)
        reads = tuple(self.frame.reads[start:])
        if not _can_fail(expression.source):
            del self.frame.reads[start:]
        return value, reads

    def compute_after(self, expression: Expression, values: Mapping[str, Any] | None = None) -> tuple[Any, Reads]:
        """A value of the state after, with the reads of the state before that it rests on."""
        start = len(self.after.reads)
        value = self.run(expression, self.after, self.values if values is None else values)
        reads = self.settle(start) + self._named(expression)
        if _can_fail(expression.source):
            self.frame.reads += reads
        return value, reads

    @staticmethod
    def run(expression: Expression, frame: Frame, values: Mapping[str, Any]) -> Any:
        try:
            return expression.run(frame.get, frame.scan, values)
        except KeyError as fault:
            raise Uncomputable(f"{fault} has no value") from fault

    def _named(self, expression: Expression) -> Reads:
        if expression.names.isdisjoint(self.sources) and not expression.was:
            return ()
        names = [*sorted(expression.names & self.sources.keys()), *(name for name, _ in expression.was)]
        return tuple(read for name in names for read in self.sources.get(name, ()))

    def settle(self, start: int) -> Reads:
        """The reads of the state after since `start`; a cell written by now counts as what its value rests on."""
        reads: list[Read] = []
        for read in self.after.reads[start:]:
            reads += self.rests.get(read, (read,))
        return tuple(reads)

    def refuse(self, rule: Rule, values: Mapping[str, Any] | None = None) -> Refused:
        """The refusal of a rule that failed; its words are rendered by whoever presents it."""
        shown: dict[str, Any] = {}
        start = len(self.frame.reads)
        for part in rule.words.parts:
            if isinstance(part, Expression):
                place = len(self.frame.reads)
                try:
                    shown[part.source] = self.compute(part, values)
                except Uncomputable:
                    shown[part.source] = None
                reads = self.frame.reads[place:]
                # Only a plain cell can be read off the words; part of an object or a sum of cells cannot.
                if reads and _CELL.fullmatch(part.source) and len(reads) == part.source.removesuffix(".id").count("."):
                    self.trace.tells.append((reads[-1], tuple(reads[:-1])))
        del self.frame.reads[start:]
        return Refused(Refusal(rule.code, rule.fault, rule.status, rule.field, rule.words, shown))

    def check(self, rules: Iterable[Rule], fault: str) -> None:
        """Refuse by the first rule of this class that does not hold."""
        for rule in rules:
            if rule.fault == fault:
                self.trace.rules.append(rule.code)
                if not self.holds(rule):
                    raise self.refuse(rule)

    def holds(self, rule: Rule) -> bool:
        """Whether the rule holds for the target, or for each of several. Raises Uncomputable with its lets."""
        operation = self.operation
        if not operation.each:
            return bool(self.compute(rule.that))
        for key in self.values[operation.inputs[0].name]:
            self.aim(key)
            if not self.compute(rule.that):
                return False
        return True

    def aim(self, key: str) -> None:
        """Make `key` the one target of an operation on several."""
        self.values[self.operation.subject] = key
        self.compute_lets(state=True)

    def compute_lets(self, *, state: bool) -> None:
        """Compute the lets: those of arguments only, or all. One without a value is left out of the names."""
        unknown: set[str] = set()
        for name, expression in self.operation.lets:
            reads_state = bool(expression.cells or expression.tables or expression.names & unknown)
            if reads_state and not state:
                unknown.add(name)
                continue
            try:
                self.values[name], self.sources[name] = self.compute_apart(expression)
            except Uncomputable:
                self.values.pop(name, None)

    def find_missing(self) -> Refusal | None:
        """The refusal of the first argument that names a record which does not exist; notes the reads."""
        for item in self.operation.inputs:
            spec, value = item.spec, self.values[item.name]
            inner = spec.item if spec.kind == "list" and spec.item is not None else spec
            if value is None or inner.kind != "ref" or inner.of is None:
                continue
            for key in value if isinstance(value, list) else (value,):
                self.frame.reads.append((inner.of, key, None))
                if key not in self.state.tables[inner.of]:
                    detail = {"id": key, "resource": inner.of}
                    return Refusal(f"{inner.of}_not_found", "state.not_found", 404, item.name, detail=detail)
        return None

    def check_forbidden(self, missing: Refusal | None) -> None:
        """Refuse what is forbidden; rules that read records stand back where one of those named is missing."""
        rules = self.operation.rules
        if missing is not None:
            lets = {name for name, _ in self.operation.lets} - self.values.keys()
            free = (rule for rule in rules if not (rule.that.cells or rule.that.tables or rule.that.names & lets))
            rules = tuple(free)
        self.check(rules, "state.forbidden")

    def check_role(self) -> None:
        """Refuse a caller whose role the operation is not for."""
        roles = self.operation.roles
        if roles:
            self.trace.rules.append("role_required")
            if self.actor.role not in roles:
                detail = {"role": self.actor.role, "roles": sorted(roles)}
                raise Refused(Refusal("role_required", "state.forbidden", 403, None, detail=detail))

    def write(self, resource: str, key: str, name: str, value: Any, reads: Reads) -> None:
        """Set one cell in the overlay; `reads` are of the state before."""
        record = self.after.find(resource, key)
        if record is None:
            return
        spec = self.setting.world.resources[resource].fields[name]
        self.overlay.put(resource, key, {**record, name: coerce(spec, value)})
        self.touched.add((resource, name))
        self._note(resource, key, name, reads)

    def spare(self, resource: str, key: str | None, name: str, reads: Reads) -> None:
        """Note a cell (id None: of any record) that was not written, but might have been had others been read.

        Where an invariant reads such a cell, the label rests on it that none was written.
        """
        if (resource, name) in self.setting.guarded:
            self.frame.reads += reads
        own = ((resource, key, name),) if key is not None else ()
        self._note(resource, key, name, (*reads, *own))

    def _note(self, resource: str, key: str | None, name: str, reads: Reads) -> None:
        self.trace.writes.append((resource, key, name, reads))
        if key is not None:
            self.rests[resource, key, name] = reads

    def make(self, resource: Resource, given: Mapping[str, tuple[Any, Reads]]) -> str:
        """Create a record from given cells; the rest from start, default or kind. Its id comes back."""
        made_here = sum(1 for table, _ in self.trace.created if table == resource.name)
        number = self.state.counters.get(resource.name, 0) + made_here + 1
        key = self.setting.mint(resource, number)
        rng = Random(f"{self.setting.salt}/{resource.name}/{number}")
        record: Record = {"id": key}
        values = {**self.values, "id": key}
        self.trace.created.append((resource.name, key))
        kept = self.sources
        # What a field rests on, so do the fields that start from it.
        self.sources = {name: reads for name, reads in kept.items() if name not in resource.fields}
        for name, spec in resource.fields.items():
            value, reads = given[name] if name in given else self._first_value(spec, rng, values, record)
            if spec.only_if is not None and value is not None:
                fits, more = self.compute_after(spec.only_if, values)
                value, reads = value if fits else None, reads + more
            record[name] = values[name] = coerce(spec, value)
            self.sources[name] = reads
            self.touched.add((resource.name, name))
            self._note(resource.name, key, name, reads)
        self.sources = kept
        self.overlay.put(resource.name, key, record)
        return key

    def _first_value(
        self, spec: FieldSpec, rng: Random, values: Mapping[str, Any], record: Record
    ) -> tuple[Any, Reads]:
        if spec.start is not None:
            return self.compute_after(spec.start, values)
        if spec.default is not None:
            return spec.default, ()
        if spec.kind in ("date", "time") and spec.low == spec.high == 0:
            return (self.state.now if spec.kind == "time" else self.state.now // DAY_S), ()
        if spec.kind in ("tally", "life"):
            return (0 if spec.kind == "tally" else spec.starts), ()
        if spec.optional or spec.kind == "ref":
            return None, ()
        world = self.setting.world
        return draw_value(spec, rng, world, self.state.now, lambda _: None, record), UNKNOWN


def coerce(spec: FieldSpec, value: Any) -> Any:
    """The value as the field stores it: rounded, whole, at full minutes."""
    if value is None or isinstance(value, bool):
        return value
    if spec.kind == "integer":
        return round(value)
    if spec.kind == "number" or (spec.tally is not None and spec.tally.field is not None):
        return round(float(value), spec.decimals) + 0.0
    if spec.kind == "time":
        return int(value) // 60 * 60
    return int(value) if spec.kind == "date" else value
