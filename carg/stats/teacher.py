"""How often a model agrees with executed truth, by model and kind of call: labels, first faults, determined values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from carg.comparing import compare_bodies
from carg.records import Exchange, Json, Response, Session
from carg.scene import Scene
from carg.schemas import is_valid
from carg.stages.teacher import read_answer
from carg.stats import Table, share


@dataclass(slots=True)
class Agreement:
    """Counts of one kind of call: how many answers were readable, and how much of them was as the true ones are."""

    exchanges: int = 0
    readable: int = 0
    label: int = 0
    refusals: int = 0
    fault: int = 0
    place: int = 0
    values: int = 0
    right: int = 0

    def add(self, wanted: Response, given: Response, schema: dict[str, Json] | None, invented: Iterable[str]) -> None:
        """Counts one answer beside the true one; both are as their texts read. `schema` is of bodies."""
        self.exchanges += 1
        reads, due = _reads(given, schema), _reads(wanted, schema)
        self.readable += reads or (given.ok and not due)
        self.label += (reads, given.ok) == (due, wanted.ok)
        if wanted.error is not None:
            self.refusals += 1
            error = given.error
            self.fault += error is not None and error.code == wanted.error.code
            self.place += error is not None and (error.code, error.field) == (wanted.error.code, wanted.error.field)
        if wanted.ok:
            right, values, _ = compare_bodies(wanted.body, given.body if given.ok else None, invented)
            self.values += values
            self.right += right


def measure_teacher(pairs: Iterable[tuple[Scene, Session]]) -> Table:
    """A line for each model and kind of call, over (true scene, answered session); `made_from` names the model.

    Only turns whose label is determined count. `readable` are errors, and bodies that fit `returns` (any body where a
    directive breaks the true one); `label` is right where the answer is readable and a success, or an error, as the
    true one is. `code` is the share of refusals with the true first error code, `field` with its parameter too;
    `values` the share of the determined values in bodies of successes that came out the same.
    """
    lines: dict[tuple[str, str], Agreement] = {}
    for scene, answered in pairs:
        for true, said in zip(scene.session.exchanges, answered.exchanges, strict=True):
            # A convention may not say all that the world knows of an error, so the true text is read as well.
            wanted = read_answer(scene, true, true.response.text)
            definition = scene.definitions.get(true.call.tool or "")
            schema = definition.returns if definition is not None else None
            for kind in kinds_of(true) if true.train else ():
                line = lines.setdefault((answered.made_from[1], kind), Agreement())
                line.add(wanted, said.response, schema, true.invented)
    rows = tuple(
        (
            *key,
            line.exchanges,
            share(line.readable, line.exchanges),
            share(line.label, line.exchanges),
            share(line.fault, line.refusals) if line.refusals else None,
            share(line.place, line.refusals) if line.refusals else None,
            share(line.right, line.values) if line.values else None,
            line.values,
        )
        for key, line in sorted(lines.items())
    )
    columns = ("model", "calls", "exchanges", "readable", "label", "code", "field", "values", "of values")
    return Table("Agreement with executed truth", columns, rows, "Shares; each call comes after true answers.")


def kinds_of(exchange: Exchange) -> Iterator[str]:
    """The lines that an exchange counts in: "all", then its directive, or first fault, or look-alike, or "valid"."""
    yield "all"
    call = exchange.call
    if exchange.directive is not None:
        yield f"directive.{exchange.directive.fault}"
    elif call.violates:
        yield call.violates[0].fault
    else:
        yield call.lookalike or "valid"


def _reads(response: Response, schema: dict[str, Json] | None) -> bool:
    """Whether it is an error, or a body that fits the tool's returns."""
    if response.ok:
        return schema is None or is_valid(schema, response.body)
    return response.error is not None
