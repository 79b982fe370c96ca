"""What follows from what a model can read: which labels and values of a session are determined.

A session is judged exchange by exchange. What execution read must be known: shown by the view, written from known
values, or told by an earlier answer. A label that is not determined leaves its turn unsupervised; a value that is not
is marked invented. The twin (`twin`) is the test of this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from carg.records import canonical
from carg.world.outcome import Trace, reference_read
from carg.world.service import OUTAGES, Answered
from carg.world.state import Read, Tables
from carg.world.view import View

Cell = tuple[str, str]


class Knowledge:
    """What a model knows of a state, from a view and then from each exchange."""

    def __init__(self, view: View, tables: Tables) -> None:
        self.rule = view.rule
        self.counted = set(view.ids) if view.counters else set()
        """Tables whose next id is known."""
        self.complete = {name for name, keys in view.ids.items() if set(keys) >= set(tables[name])}
        self.complete |= {reference_read(name)[0] for name in view.references}
        self.hidden: dict[Cell, set[str]] = {}
        """Of the records that are shown, the fields that are not known."""
        self.shown: dict[Cell, None] = {(name, key): None for name, keys in view.ids.items() for key in keys}
        self.existing: dict[Cell, None] = {(name, key): None for name, table in tables.items() for key in table}
        self.present: set[Cell] = set(self.shown)
        self.absent: set[Cell] = set()
        self.doubtful: set[Cell] = set()
        """Records of which it is not known whether they were deleted, or which id they were given."""
        self.answered: set[str] = set()
        """Questions answered in full since the last change: asked again, they have the same answer."""

    def knows(self, read: Read) -> bool:
        """Whether a model can know what was read."""
        table, key, name = read
        if table == "":
            return False
        if key is None:
            return table in self.complete
        cell = (table, key)
        if name is not None:
            return cell in self.shown and name not in self.hidden.get(cell, ())
        if cell in self.doubtful:
            return False
        if cell in self.present or cell in self.absent or self.rule == "closed":
            return True
        # Ids that are neither listed nor deleted exist, says the open rule: true of those that do.
        return self.rule == "open" and cell in self.existing

    def knows_all(self, reads: Iterable[Read]) -> bool:
        """Whether all of it is known."""
        return all(self.knows(read) for read in reads)

    def judge(self, answered: Answered) -> tuple[bool, tuple[str, ...]]:
        """(whether the label is determined, JSON pointers of invented values); then the exchange is learned.

        A pointer covers what lies below it. Of a call that an outage met, the label is the outage: always determined.
        """
        outcome, directive = answered.outcome, answered.directive
        if outcome is None or (directive is not None and directive.fault in OUTAGES):
            return True, ()
        is_known = directive is None and question_of(answered) in self.answered
        judged = self._judge(answered)
        if outcome.changes:
            self.answered.clear()
        elif directive is None:
            self.answered.add(question_of(answered))
        return (True, ()) if is_known else judged

    def _judge(self, answered: Answered) -> tuple[bool, tuple[str, ...]]:
        outcome, directive = answered.outcome, answered.directive
        assert outcome is not None
        determined = self.knows_all(outcome.trace.label)
        if directive is None:
            self._learn_label(answered)
        if outcome.refusal is not None:
            return determined, ()
        # Values are said by reads of the state before, records by the cells as they are after.
        unknown = [pointer for pointer, reads in answered.shown.values if not self.knows_all(reads)]
        self._write(answered)
        invented = _tops([*unknown, *self._invented(answered)])
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
                self.doubtful.discard((table, key))
            elif (table, key) in self.existing:
                self._meet((table, key))
        for cell, path in outcome.trace.tells:
            if self.knows_all(path):
                self._reveal(cell)

    def _meet(self, cell: Cell) -> None:
        """The record exists under this id."""
        self.present.add(cell)
        self.doubtful.discard(cell)

    def _reveal(self, read: Read) -> None:
        table, key, name = read
        if key is None or name is None or table == "":
            return
        cell = (table, key)
        if cell not in self.shown:
            self.shown[cell] = None
            self.hidden[cell] = _Everything()
        self.hidden.setdefault(cell, set()).discard(name)

    def _write(self, answered: Answered) -> None:
        outcome = answered.outcome
        assert outcome is not None
        trace = outcome.trace
        news = [(table, key, name, self.knows_all(reads)) for table, key, name, reads in trace.writes]
        self._delete(trace)
        told = {cell for _, cell in answered.shown.named} if answered.directive is None else set()
        for cell in trace.created:
            self.existing[cell] = None
            if cell[0] in self.counted or cell in told:
                self._meet(cell)
                self.shown[cell], self.hidden[cell] = None, set()
            else:
                self.doubtful.add(cell)
        for table, key, name, known in news:
            if key is None:
                for cell in self.shown if not known else ():
                    if cell[0] == table:
                        self.hidden.setdefault(cell, set()).add(name)
            elif (table, key) in self.doubtful:
                continue
            elif known:
                self._reveal((table, key, name))
            elif (table, key) in self.shown:
                self.hidden.setdefault((table, key), set()).add(name)

    def _delete(self, trace: Trace) -> None:
        gone = [((table, key), self.knows_all(reads)) for table, key, reads in trace.deleted]
        # Records that may have gone along: those that refer to who knows what.
        maybe = [
            (table, key)
            for other, name in trace.cascades
            for table, key in self.existing
            if table == other and not self.knows((table, key, name))
        ]
        for cell, known in gone:
            self.shown.pop(cell, None)
            self.existing.pop(cell, None)
            self.present.discard(cell)
            if known:
                self.absent.add(cell)
            else:
                maybe.append(cell)
        for cell in maybe:
            self.doubtful.add(cell)
            self.present.discard(cell)
            self.complete.discard(cell[0])

    def _invented(self, answered: Answered) -> list[str]:
        shown = answered.shown
        found = [pointer for pointer, cell in shown.named if cell in self.doubtful or self._is_new(answered, cell)]
        for pointer, resource, key, named in shown.records:
            for name, place in named:
                if not self.knows((resource, key, name)):
                    # With the reference, all that is shown of the record behind it is unknown.
                    found.append(f"{pointer}/{place.removesuffix('/id')}")
        return found

    def _is_new(self, answered: Answered, cell: Cell) -> bool:
        assert answered.outcome is not None
        return cell[0] not in self.counted and cell in answered.outcome.trace.created

    def _learn_body(self, answered: Answered) -> None:
        for _, cell in answered.shown.named:
            self._meet(cell)
        for _, resource, key, named in answered.shown.records:
            for name, _ in named:
                self._reveal((resource, key, name))


def question_of(answered: Answered) -> str:
    """Equal for calls that ask the same, however they are written."""
    call = answered.call
    return f"{call.tool} {canonical(call.arguments).decode()} {answered.parsed.credential}"


def _tops(pointers: Iterable[str]) -> tuple[str, ...]:
    """The pointers, less those that lie below another."""
    every = dict.fromkeys(pointers)
    return tuple(
        pointer
        for pointer in every
        if not any(pointer[:place] in every for place, char in enumerate(pointer) if char == "/" and place)
    )


class _Everything(set[str]):
    """The hidden fields of a record of which nothing is shown: all but those that were revealed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def discard(self, name: object) -> None:
        self.seen.add(str(name))

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
