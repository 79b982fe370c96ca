"""Many slots at a time, each ended once: accepted, rejected or failed; what is stored is not done again.

A slot is one thing that was asked for. There are no batches: a slot that is done makes room for the next. The failure
of a slot is data; an error of the whole run stops it, after the calls that are paid for have come home.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

from carg.errors import BackendError, CargError, RecordError, ReplyError, StoreError
from carg.journal import Journal
from carg.records import Json
from carg.replies import unusable

Slot = TypeVar("Slot")
Status = Literal["accepted", "rejected", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a slot ended. `records` are plain JSON values, as they are stored; `reason` says why there are none."""

    status: Status
    records: Mapping[str, list[Json]]
    reason: str = ""
    n_candidates: int = 0
    """What was made on the way, kept or not."""
    unusable: Mapping[str, int] = field(default_factory=dict)
    """Answers that were not taken, by reason: cut, empty, not JSON, against the schema, contradicting."""


@dataclass(frozen=True, slots=True)
class Tally:
    """The sum that must hold: requested = accepted + rejected + failed."""

    requested: int
    accepted: int
    rejected: int
    failed: int
    candidates: int

    @property
    def is_whole(self) -> bool:
        """Every slot that was requested ended."""
        return self.requested == self.accepted + self.rejected + self.failed


_ANSWERED = (ReplyError.__name__, RecordError.__name__)
"""Failures of slots whose answers are in the journal: asked the same again, they would fail the same way."""


class Outcomes:
    """The outcomes of a run's slots on the disk, one line each; opening one again knows what is done."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._offsets: dict[str, int] = {}
        self._laps: dict[str, int] = {}
        for offset, entry in journal.scan():
            if entry["status"] == "owed":
                del self._offsets[entry["slot"]]
                self._laps[entry["slot"]] = entry["lap"]
            else:
                self._offsets[entry["slot"]] = offset

    def __contains__(self, slot: str) -> bool:
        return slot in self._offsets

    def lap(self, slot: str) -> int:
        """Which questions a slot is to ask: 0 its first ones, else others in their place."""
        return self._laps.get(slot, 0)

    def owe_failed(self) -> int:
        """How many slots had failed: they are owed again from now on.

        A slot that had no answer asks the same again and pays only for what is missing. One that had answers and could
        not use them asks anew, on its next lap.
        """
        ended = [self.journal.at(offset) for offset in self._offsets.values()]
        failed = [entry for entry in ended if entry["status"] == "failed"]
        for entry in failed:
            slot = entry["slot"]
            self._laps[slot] = self.lap(slot) + entry["reason"].startswith(_ANSWERED)
            self.journal.append({"slot": slot, "status": "owed", "lap": self._laps[slot]})
            del self._offsets[slot]
        return len(failed)

    def store(self, slot: str, outcome: Outcome) -> None:
        """Raises StoreError when the slot has ended before: nothing is counted twice."""
        if slot in self._offsets:
            raise StoreError(f"{self.journal.path}: slot {slot!r} ended twice", "two slots have the same name")
        entry = {
            "slot": slot,
            "status": outcome.status,
            "reason": outcome.reason,
            "n_candidates": outcome.n_candidates,
            "unusable": dict(outcome.unusable),
            "records": dict(outcome.records),
        }
        self._offsets[slot] = self.journal.append(entry)

    def read(self, slots: Iterable[str]) -> Iterator[Outcome]:
        """The outcomes of these slots in the order given, whatever the order they ended in."""
        for slot in slots:
            entry = self.journal.at(self._offsets[slot])
            counts = entry.get("unusable", {})
            yield Outcome(entry["status"], entry["records"], entry["reason"], entry["n_candidates"], counts)

    def tally(self, slots: Iterable[str]) -> Tally:
        """How these slots ended; those that did not end are missing from the sum."""
        counts = {"accepted": 0, "rejected": 0, "failed": 0}
        requested = candidates = 0
        for slot in slots:
            requested += 1
            if slot in self._offsets:
                entry = self.journal.at(self._offsets[slot])
                counts[entry["status"]] += 1
                candidates += entry["n_candidates"]
        return Tally(requested, counts["accepted"], counts["rejected"], counts["failed"], candidates)

    def unusable(self, slots: Iterable[str]) -> Counter[str]:
        """Answers of these slots that were not taken, by reason."""
        return sum((Counter(outcome.unusable) for outcome in self.read(slots)), Counter())


@dataclass(slots=True)
class _Run(Generic[Slot]):
    """What the workers of one run share."""

    make: Callable[[Slot], Awaitable[Outcome]]
    on_done: Callable[[str, Outcome], None]
    stopped: BaseException | None = None

    async def work(self, waiting: Iterator[tuple[str, Slot]]) -> None:
        """Takes slots until there are none, or the run is stopped."""
        for name, slot in waiting:
            if self.stopped is not None:
                return
            counted = Counter[str]()
            unusable.set(counted)
            try:
                outcome = await self._end(slot)
                self.on_done(name, replace(outcome, unusable=counted))
            except (Exception, asyncio.CancelledError) as fault:
                self.stopped = self.stopped or fault
                return

    async def _end(self, slot: Slot) -> Outcome:
        try:
            return await self.make(slot)
        except (BackendError, RecordError) as fault:
            return Outcome("failed", {}, f"{type(fault).__name__}: {fault.message}")
        except CargError:
            raise
        except Exception as fault:
            return Outcome("failed", {}, f"{type(fault).__name__}: {fault}")


async def run_slots(
    slots: Iterable[tuple[str, Slot]],
    make: Callable[[Slot], Awaitable[Outcome]],
    *,
    width: int,
    on_done: Callable[[str, Outcome], None],
) -> None:
    """Every slot is made and `on_done` called once for it, `width` at a time.

    BackendError, RecordError and errors that nobody foresaw fail their slot alone. Any other CargError (a spent
    budget, a full disk, a wrong key) stops the run: no slot is begun any more, those under way end, and it is raised.
    """
    run = _Run(make, on_done)
    waiting = iter(slots)
    await asyncio.gather(*(run.work(waiting) for _ in range(width)))
    if run.stopped is not None:
        raise run.stopped
