"""What follows from changes before they are made: counts and sums brought up to date, invariants checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from carg.world.model import Tally
from carg.world.outcome import Reads, Refusal, Refused
from carg.world.run import Run
from carg.world.state import Frame
from carg.world.types import Expression


def keep_tallies(run: Run) -> None:
    """Bring the counts and sums up to date with the changes: less what each record was worth, plus what it is."""
    for table in list(run.overlay.over):
        for owner, name, tally in run.setting.tallies.get(table, ()):
            counts = _counted(tally)
            for key in list(run.overlay.over[table]):
                record = run.overlay.over[table][key]
                fresh = key not in run.state.tables[table]
                if fresh or record is None or any((table, key, cell) in run.rests for cell in counts):
                    _retally(run, owner, name, tally, key)


def _counted(tally: Tally) -> set[str]:
    """The fields of a record that its worth in the tally rests on."""
    cells = tally.where.cells if tally.where is not None else ()
    return {tally.by, tally.field or tally.by, *(cell for of, cell in cells if of == tally.resource)}


def spare_tallies(run: Run, table: str, names: set[str], reads: Reads) -> None:
    """Note that some records of the table, who knows which, might have changed in these fields: counts too, then."""
    for owner, name, tally in run.setting.tallies.get(table, ()):
        if names & _counted(tally):
            run.spare(owner, None, name, ((table, None, None), *reads))


def _retally(run: Run, owner: str, name: str, tally: Tally, key: str) -> None:
    before = worth(run.frame, tally, key, run.values)
    after = worth(run.after, tally, key, run.values)
    by = (*before.by, *_settled(run, after.by))
    reads = (*by, *before.reads, *_settled(run, after.reads))
    run.spare(owner, None, name, by)
    if (before.owner, before.amount) == (after.owner, after.amount):
        if before.owner is not None:
            run.spare(owner, before.owner, name, reads)
        return
    for place, amount in ((before.owner, -before.amount), (after.owner, after.amount)):
        current = run.after.find(owner, place) if place is not None else None
        if current is not None and place is not None:
            rests = run.rests.get((owner, place, name), ((owner, place, name),))
            run.write(owner, place, name, current[name] + amount, rests + reads)


def _settled(run: Run, reads: Reads) -> Reads:
    return tuple(rest for read in reads for rest in run.rests.get(read, (read,)))


def check_always(run: Run) -> None:
    """Refuse changes that leave a written record, or one it refers to, against what must always hold."""
    resources = run.setting.world.resources
    seen: dict[tuple[str, str], None] = {}
    for table, rows in run.overlay.over.items():
        refs = [(spec.of, spec.name) for spec in resources[table].fields.values() if spec.kind == "ref" and spec.of]
        for key, record in rows.items():
            if record is not None:
                seen[table, key] = None
                seen |= {(of, record[name]): None for of, name in refs if record.get(name) is not None}
    for table, key in seen:
        for rule, read in run.setting.always[table]:
            if not read & run.touched:
                continue
            values = Own(run.after, table, key, run.values)
            run.trace.rules.append(rule.code)
            start = len(run.after.reads)
            held = run.run(rule.that, run.after, values)
            run.frame.reads += run.settle(start)
            if not held:
                shown = {
                    part.source: part.run(run.after.get, run.after.scan, values)
                    for part in rule.words.parts
                    if isinstance(part, Expression)
                }
                at = rule.field if rule.field in run.values else None
                raise Refused(Refusal(rule.code, rule.fault, rule.status, at, rule.words, shown))


class Own(dict[str, Any]):
    """Names inside a resource's own rules: its fields are read through a frame, the rest are the run's values."""

    __slots__ = ("frame", "key", "scope", "table")

    def __init__(self, frame: Frame, table: str, key: str, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.frame, self.table, self.key, self.scope = frame, table, key, values

    def __missing__(self, name: str) -> Any:
        record = self.frame.find(self.table, self.key)
        if record is not None and name in record:
            return self.frame.get(self.table, self.key, name)
        return self.scope[name]


@dataclass(frozen=True, slots=True)
class Worth:
    """What one record adds to the tally of which owner, the reads that name the owner, and those of the amount."""

    owner: str | None
    amount: float
    by: Reads
    reads: Reads


def worth(frame: Frame, tally: Tally, key: str, values: Mapping[str, Any]) -> Worth:
    """The worth of a record in a tally; its reads are taken off the frame."""
    record = frame.find(tally.resource, key)
    if record is None:
        return Worth(None, 0, (), ())
    start = len(frame.reads)
    by = ((tally.resource, key, tally.by),)
    counts = tally.where is None or tally.where.run(frame.get, frame.scan, {**values, tally.resource: key})
    amount: float = 1
    if tally.field is not None:
        amount = frame.get(tally.resource, key, tally.field) or 0
    reads = tuple(frame.reads[start:])
    del frame.reads[start:]
    return Worth(record.get(tally.by), amount if counts else 0, by, reads)


def tally_over(frame: Frame, tally: Tally, keys: Iterable[str], values: Mapping[str, Any]) -> float:
    """The count or sum over those of these records that the tally takes in."""
    reads = len(frame.reads)
    total: float = 0
    scope = dict(values)
    for key in sorted(keys):
        scope[tally.resource] = key
        if tally.where is not None and not tally.where.run(frame.get, frame.scan, scope):
            continue
        total += 1 if tally.field is None else ((frame.find(tally.resource, key) or {}).get(tally.field) or 0)
    del frame.reads[reads:]
    return total
