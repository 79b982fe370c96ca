"""What follows from what a model can read: which labels and values of a session are determined.

A session is judged exchange by exchange. What execution read must be known: shown by the view, written from known
values, or told by an earlier answer. A label that is not determined leaves its turn unsupervised; a value that is not
is marked invented. The twin (`twin`) is the test of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carg.world.service import OUTAGES, Answered
from carg.world.state import Read, Tables
from carg.world.view import View

Cell = tuple[str, str]


class Knowledge:
    """What a model knows of a state, from a view and then from each exchange."""

    def __init__(self, view: View, tables: Tables) -> None:
        self.hidden: dict[Cell, set[str]] = {}
        self.rule = view.rule
        self.counters = view.counters
        self.complete = {name for name, table in tables.items() if set(view.ids.get(name, ())) >= set(table)}
        if view.mode == "withheld":
            self.complete = set()
        self.listed = {(name, key) for name, table in tables.items() for key in table} if view.rule == "closed" else set()
        self.present: set[Cell] = set(self.listed)
        self.absent: set[Cell] = set()
        self.shown: set[Cell] = set()
        for name, keys in view.ids.items():
            for key in keys:
                self.shown.add((name, key))
                self.present.add((name, key))
        self.existing = {(name, key) for name, table in tables.items() for key in table}

    def knows(self, read: Read) -> bool:
        """Whether a model can know what was read."""
        table, key, name = read
        if table == "":
            return False
        if key is None:
            return table in self.complete
        cell = (table, key)
        if name is None:
            if cell in self.present or cell in self.absent or self.rule == "closed":
                return True
            # Ids that are neither listed nor deleted exist, says the open rule: true of those that do.
            return self.rule == "open" and cell in self.existing
        if cell in self.shown:
            return name not in self.hidden.get(cell, ())
        return False

    def knows_all(self, reads: tuple[Read, ...] | list[Read]) -> bool:
        """Whether all of it is known."""
        return all(self.knows(read) for read in reads)

    def judge(self, answered: Answered) -> tuple[bool, tuple[str, ...]]:
        """(whether the label is determined, JSON pointers of invented values); then the exchange is learned."""
        outcome, directive = answered.outcome, answered.directive
        if outcome is None or (directive is not None and directive.fault in OUTAGES):
            return True, ()
        determined = self.knows_all(outcome.trace.label)
        self._learn_label(answered)
        if outcome.refusal is not None:
            for read in outcome.trace.tells:
                self._reveal(read)
            return determined, ()
        self._write(answered)
        invented = self._invented(answered)
        if directive is None:
            self._learn_body(answered)
        return determined, invented

    def _learn_label(self, answered: Answered) -> None:
        outcome = answered.outcome
        assert outcome is not None
        refusal = outcome.refusal
        missing = refusal.detail.get("id") if refusal is not None and refusal.fault == "state.not_found" else None
        for table, key, name in outcome.trace.label:
            if key is None or name is not None:
                continue
            if key == missing:
                self.absent.add((table, key))
            elif (table, key) in self.existing:
                self.present.add((table, key))

    def _reveal(self, read: Read) -> None:
        table, key, name = read
        if key is None or name is None or table == "":
            return
        cell = (table, key)
        if cell not in self.shown:
            self.shown.add(cell)
            self.hidden[cell] = _Everything()
        self.hidden.setdefault(cell, set()).discard(name)

    def _write(self, answered: Answered) -> None:
        outcome = answered.outcome
        assert outcome is not None
        trace = outcome.trace
        for cell in trace.created:
            self.shown.add(cell)
            self.present.add(cell)
            self.existing.add(cell)
            self.hidden[cell] = set()
        news = [(table, key, name, self.knows_all(reads)) for table, key, name, reads in trace.writes]
        for table, key, name, known in news:
            if known:
                self._reveal((table, key, name))
            elif (table, key) in self.shown:
                self.hidden.setdefault((table, key), set()).add(name)
        for cell in trace.deleted:
            self.shown.discard(cell)
            self.present.discard(cell)
            self.existing.discard(cell)
            self.absent.add(cell)

    def _invented(self, answered: Answered) -> tuple[str, ...]:
        outcome, found = answered.outcome, []
        assert outcome is not None
        created = set(outcome.trace.created)
        lists = [pointer for pointer, reads in answered.shown.values if not self.knows_all(reads)]
        found += lists
        for pointer, resource, key, named in answered.shown.records:
            if any(pointer.startswith(f"{place}/") or pointer == place for place in lists):
                continue
            if (resource, key) in created and not self.counters:
                found.append(f"{pointer}/id")
            found += [f"{pointer}/{shown}" for name, shown in named if not self.knows((resource, key, name))]
        if created and not self.counters and not answered.shown.records:
            found.append("/id")
        return tuple(dict.fromkeys(found))

    def _learn_body(self, answered: Answered) -> None:
        for _, resource, key, named in answered.shown.records:
            self.present.add((resource, key))
            for name, _ in named:
                self._reveal((resource, key, name))


class _Everything(set[str]):
    """The hidden fields of a record of which nothing is shown: all but those that were revealed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def discard(self, name: str) -> None:
        self.seen.add(name)

    def add(self, name: str) -> None:
        self.seen.discard(name)

    def __contains__(self, name: object) -> bool:
        return name not in self.seen


def needed_records(answers: list[Answered]) -> list[Cell]:
    """The records of the opening that the exchanges read, in order of first reading; scans are not among them."""
    made: set[Cell] = set()
    order: dict[Cell, None] = {}
    for answered in answers:
        outcome = answered.outcome
        if outcome is None:
            continue
        reads: list[Read] = list(outcome.trace.label)
        reads += [(resource, key, None) for _, resource, key, _ in answered.shown.records]
        reads += [read for _, some in answered.shown.values for read in some]
        reads += [read for *_, some in outcome.trace.writes for read in some]
        made |= set(outcome.trace.created)
        for table, key, _ in reads:
            if key is not None and table != "" and (table, key) not in made:
                order[(table, key)] = None
    return list(order)


def scanned_tables(answers: list[Answered]) -> list[str]:
    """The tables that the exchanges looked through, in order."""
    order: dict[str, None] = {}
    for answered in answers:
        if answered.outcome is None:
            continue
        reads: list[Any] = list(answered.outcome.trace.label)
        reads += [read for _, some in answered.shown.values for read in some]
        for table, key, _ in reads:
            if key is None and table != "":
                order[table] = None
    return list(order)


def rules_tried(answers: list[Answered]) -> bool:
    """Whether any exchange rests on rules that only a list of errors tells."""
    return any(answered.outcome is not None and bool(answered.outcome.trace.rules) for answered in answers)


Values = Mapping[str, Any]
