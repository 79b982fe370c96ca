"""What a loaded world is made of: resources, fields, operations, rules, services; all frozen, all compiled.

`load` makes these from a domain file. Nothing here runs; `run` executes operations, `values` draws field values,
`definitions` turns operations into tool definitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.world.types import Expression, Type

GENERIC = ("get", "search", "create", "update", "delete", "batch_get", "aggregate")
"""Operations that every resource can offer."""

_EFFECTS = {"batch_get": "read", "get": "read", "table": "search"}
_EFFECTS |= dict.fromkeys(("aggregate", "sweep", "solve"), "compute")

KINDS = ("records", "compute", "device", "information")


@dataclass(frozen=True, slots=True)
class Template:
    """Words with slots: plain texts and expressions in turn. `source` is as written."""

    source: str
    parts: tuple[str | Expression, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """A field the system keeps: the count of records of `resource` whose `by` names this record, or a sum over them."""

    resource: str
    by: str
    field: str | None
    where: Expression | None


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a resource, input of an operation, part of an object or item of a list.

    kind: text, choice, integer, number, boolean, date, time, ref, list, object, life, person, email, phone, address,
    code, series, tally. `low`/`high` bound numbers, lengths of texts, and days from now of dates and times.
    """

    name: str
    kind: str
    about: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    decimals: int = 0
    shape: str = "uniform"
    middle: float | None = None
    step: float | None = None
    options: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    grammar: str | None = None
    pattern: str | None = None
    of: str | None = None
    item: FieldSpec | None = None
    length: tuple[int, int] = (0, 0)
    parts: tuple[FieldSpec, ...] = ()
    optional: float = 0.0
    unique: bool = False
    written_by: frozenset[str] = frozenset()
    start: Expression | None = None
    only_if: Expression | None = None
    by: str | None = None
    by_options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    by_range: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    moves: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    starts: str | None = None
    tally: Tally | None = None
    default: Any = None

    @property
    def type(self) -> Type:
        """The type an expression sees."""
        null = self.optional > 0 or self.only_if is not None
        if self.kind in ("choice", "life"):
            return Type("text", options=self.options, nullable=null)
        if self.kind == "ref":
            return Type("ref", self.of, nullable=null)
        if self.kind in ("list", "series"):
            item = self.item.type if self.item else Type("number")
            return Type("list", item=item, nullable=null)
        if self.kind == "tally":
            return Type("number" if self.tally and self.tally.field else "integer")
        if self.kind in ("integer", "number", "boolean", "date", "time"):
            return Type(self.kind, nullable=null)
        if self.kind in ("object", "address"):
            return Type("object", nullable=null)
        return Type("text", nullable=null)


@dataclass(frozen=True, slots=True)
class Rule:
    """What must hold, else the call is refused. `that` is true when all is well; `words` is the message."""

    code: str
    fault: str
    that: Expression
    words: Template
    field: str | None
    status: int


@dataclass(frozen=True, slots=True)
class Effect:
    """One assignment: the field `field` of the record that `target` (a reference to `of`) gives becomes `value`."""

    target: Expression
    of: str
    field: str
    value: Expression


@dataclass(frozen=True, slots=True)
class EachEffect:
    """Assignments to every record of a table for which `where` holds; `variable` names it in the expressions."""

    variable: str
    resource: str
    where: Expression
    values: tuple[tuple[str, Expression], ...]
    """(field, value) in turn."""


@dataclass(frozen=True, slots=True)
class Creation:
    """A record that an action makes (or one for each item of `over`), under `name` in `returns`."""

    name: str
    resource: str
    values: Mapping[str, Expression]
    variable: str | None = None
    over: Expression | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """One parameter of an operation. `role`: target (an id of `on`), targets (a list of them), value, or a filter:
    equals, least, most, contains."""

    spec: FieldSpec
    required: bool
    role: str = "value"
    of: str | None = None
    """For filters, the field they test."""
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.spec.name)


@dataclass(frozen=True, slots=True)
class Due:
    """What time makes an action due on a record: `after` plus `days` (least, most)."""

    after: Expression
    days: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Output:
    """One result of a formula."""

    name: str
    value: Expression
    decimals: int | None
    unit: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One tool of the world, before any definition is drawn.

    kind: one of GENERIC, or action, compute, sweep, solve, table. `subject` is the resource, formula or table.
    """

    name: str
    kind: str
    subject: str
    about: str
    inputs: tuple[Input, ...]
    service: str = ""
    rules: tuple[Rule, ...] = ()
    roles: frozenset[str] = frozenset()
    says: tuple[str, ...] = ()
    lets: tuple[tuple[str, Expression], ...] = ()
    was: tuple[tuple[str, Expression], ...] = ()
    on: str | None = None
    """The input that names the target, for actions on records."""
    each: bool = False
    moves_from: tuple[str, ...] = ()
    moves_to: str | None = None
    effects: tuple[Effect, ...] = ()
    each_effects: tuple[EachEffect, ...] = ()
    creates: tuple[Creation, ...] = ()
    returns: tuple[tuple[str, Expression], ...] = ()
    due: Due | None = None
    season: frozenset[int] = frozenset()
    vary: str | None = None
    """The input that a sweep varies or a solve looks for."""

    def writes(self) -> Iterator[tuple[str, str, Expression]]:
        """(resource, field, value) for all that an action says to set or create."""
        yield from ((effect.of, effect.field, effect.value) for effect in self.effects)
        yield from ((each.resource, name, value) for each in self.each_effects for name, value in each.values)
        yield from ((made.resource, name, value) for made in self.creates for name, value in made.values.items())

    @property
    def authored(self) -> bool:
        """Whether a person wrote it: actions, formulas and tables, not generic operations over them."""
        return self.kind in ("action", "compute", "table")

    @property
    def effect(self) -> str:
        """The effect as Tool records say it."""
        return _EFFECTS.get(self.kind, self.kind)


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of record. `always` must hold of every record after every operation."""

    name: str
    plural: str
    prefix: str
    about: str
    fields: Mapping[str, FieldSpec]
    offers: tuple[str, ...]
    initial: tuple[int, int] = (0, 0)
    pace: float = 0.0
    on_delete: Mapping[str, str] = field(default_factory=dict)
    always: tuple[Rule, ...] = ()
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    filters: tuple[str, ...] = ()
    life: str | None = None
    """The field that is the life cycle."""

    @property
    def terminal(self) -> tuple[str, ...]:
        """States that nothing leaves."""
        return tuple(state for state, to in self.fields[self.life].moves.items() if not to) if self.life else ()


@dataclass(frozen=True, slots=True)
class Formula:
    """Inputs and outputs with units; `example` is computed by `domains check`."""

    name: str
    about: str
    inputs: tuple[FieldSpec, ...]
    lets: tuple[tuple[str, Expression], ...]
    outputs: tuple[Output, ...]
    rules: tuple[Rule, ...]
    source: str
    example: Mapping[str, Any]
    empirical: bool
    sweeps: tuple[str, ...] = ()
    solves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Reference data: columns, rows, and where they were taken from. `key` makes it a lookup by that column."""

    name: str
    about: str
    columns: tuple[FieldSpec, ...]
    rows: tuple[tuple[Any, ...], ...]
    source: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Knob:
    """A constant that varies from definition to definition; the first value is the usual one."""

    name: str
    values: tuple[Any, ...]
    unit: str
    about: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What a caller is after on a record of `on`: a condition to reach, or a number to raise."""

    want: str
    on: str
    reach: Expression
    grows: bool


@dataclass(frozen=True, slots=True)
class Service:
    """A set of operations that share a state, the roles of those who call it, and style it must or can't have."""

    name: str
    about: str
    operations: tuple[str, ...]
    roles: tuple[str, ...]
    never: Mapping[str, tuple[str, ...]]
    must: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Grammar:
    """A text grammar: forms with {slots} that are local lists, vocabularies, fields of the record, or numbers."""

    forms: tuple[tuple[str, float], ...]
    slots: Mapping[str, tuple[tuple[str, float], ...]]


@dataclass(frozen=True, slots=True)
class World:
    """A domain file with a world, compiled. `digest` is of the file's bytes."""

    name: str
    category: str
    title: str
    summary: str
    kind: str
    held_out: bool
    digest: str
    start_day: int
    """First day of the calendar, in days since 1970-01-01."""
    days: int
    steps: int
    knobs: Mapping[str, Knob]
    constants: Mapping[str, tuple[float, str]]
    vocab: Mapping[str, tuple[tuple[str, float], ...]]
    grammars: Mapping[str, Grammar]
    resources: Mapping[str, Resource]
    formulas: Mapping[str, Formula]
    tables: Mapping[str, Table]
    operations: Mapping[str, Operation]
    services: Mapping[str, Service]
    goals: tuple[Goal, ...]
