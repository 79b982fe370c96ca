"""Reading an action: targets, inputs, moves, rules, effects, creations, returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.errors import ExpressionError
from carg.world.draft import Draft
from carg.world.expressions import compile_expression
from carg.world.fields import read_field
from carg.world.generic import draft_type, target_input
from carg.world.model import Creation, Due, EachEffect, Effect, FieldSpec, Input, Operation, Rule
from carg.world.reading import did_you_mean
from carg.world.types import Expression, Scope, Type, join_types

KEYS = "about on moves inputs roles season due says let returns require set create set_each".split()
EACH_MOST = 10


@dataclass(slots=True)
class _Action:
    """An action while it is read."""

    draft: Draft
    name: str
    raw: Mapping[str, Any]
    inputs: list[Input] = field(default_factory=list)
    names: dict[str, Type] = field(default_factory=dict)
    resource: str | None = None
    each: bool = False
    rules: list[Rule] = field(default_factory=list)
    creates: list[Creation] = field(default_factory=list)
    was: dict[str, Expression] = field(default_factory=dict)

    @property
    def entry(self) -> str:
        return f"actions.{self.name}"

    def scope(self, more: Mapping[str, Type] | None = None, *, was: bool = False) -> Scope:
        return self.draft.scope({**self.names, **(more or {})}, was=was)

    def after(self, entry: str, source: Any, *kinds: str, more: Mapping[str, Type] | None = None) -> Expression | None:
        """An expression that may say `was.`; what it hoists is kept."""
        made = self.draft.reader.expression(entry, source, self.scope(more, was=True), *kinds)
        if made is not None:
            self.was.update(made.was)
        return made


def action_operation(draft: Draft, name: str, value: Any) -> Operation | None:
    """The operation of one `[actions.NAME]` entry."""
    raw = draft.reader.table(f"actions.{name}", value, KEYS)
    act = _Action(draft, name, raw)
    _read_target(act)
    _read_inputs(act)
    moves_from, moves_to, move_effects = _read_moves(act)
    lets = draft.read_lets(act.entry, raw, act.names)
    arguments = {item.name: item.spec.type for item in act.inputs}
    required = raw.get("require", [])
    act.rules += draft.reader.rules(f"{act.entry}.require", required, act.scope(), arguments, _reading(lets))
    effects = [*move_effects, *_read_sets(act)]
    each_effects = _read_each_sets(act)
    _read_creations(act)
    returns = _read_returns(act)
    about = draft.reader.text(f"{act.entry}.about", raw.get("about"))
    draft.reader.knob_words(f"{act.entry}.about", about, {*draft.knobs, *draft.constants})
    return Operation(
        name=name,
        kind="action",
        subject=act.resource or (act.creates[0].resource if act.creates else ""),
        about=about,
        inputs=tuple(act.inputs),
        rules=tuple(act.rules),
        roles=frozenset(draft.reader.names(f"{act.entry}.roles", raw.get("roles", []), draft.roles, "role")),
        says=draft.reader.texts(f"{act.entry}.says", raw.get("says", [])),
        lets=lets,
        was=tuple(act.was.items()),
        on=act.inputs[0].name if act.resource else None,
        each=act.each,
        moves_from=moves_from,
        moves_to=moves_to,
        effects=tuple(effects),
        each_effects=tuple(each_effects),
        creates=tuple(act.creates),
        returns=returns,
        due=_read_due(act),
        season=frozenset(
            draft.reader.whole(f"{act.entry}.season", month, 1, 12)
            for month in draft.reader.entries(f"{act.entry}.season", raw.get("season", []))
        ),
    )


def _reading(lets: Iterable[tuple[str, Expression]]) -> set[str]:
    """The lets that read records, directly or through others."""
    reading: set[str] = set()
    for name, made in lets:
        if made.cells or made.tables or made.names & reading:
            reading.add(name)
    return reading


def _read_target(act: _Action) -> None:
    reader, on = act.draft.reader, act.raw.get("on")
    if on is None:
        return
    most = EACH_MOST
    if isinstance(on, dict):
        item = reader.table(f"{act.entry}.on", on, ("each", "most"))
        most = reader.whole(f"{act.entry}.on.most", item.get("most", EACH_MOST), 1, 50)
        on, act.each = item.get("each"), True
    act.resource = reader.one(f"{act.entry}.on", on, act.draft.fields, "resource")
    if act.resource is None:
        return
    act.names[act.resource] = Type("ref", act.resource)
    if not act.each:
        act.inputs.append(target_input(act.resource))
        return
    plural = str(act.draft.raw["resources"][act.resource].get("plural", f"{act.resource}s"))
    about = f"ids of the {plural.replace('_', ' ')}"
    spec = FieldSpec(plural, "list", item=FieldSpec("item", "ref", of=act.resource), length=(1, most), about=about)
    act.inputs.append(Input(spec, True, "targets"))
    act.names[plural] = Type("list", item=Type("ref", act.resource))


def _read_inputs(act: _Action) -> None:
    reader = act.draft.reader
    for key, raw in reader.table(f"{act.entry}.inputs", act.raw.get("inputs", {})).items():
        entry = f"{act.entry}.inputs.{key}"
        if key in act.names:
            reader.fault(entry, f"{key!r} is the target already")
        spec = read_field(reader, entry, key, raw, act.draft.words, act.draft.all_fields)
        if spec is None:
            continue
        item = Input(spec, not spec.optional and spec.default is None)
        act.inputs.append(item)
        act.names[key] = draft_type(item)
        for part in spec.parts:
            act.names[f"{key}.{part.name}"] = part.type.or_null()


def _read_moves(act: _Action) -> tuple[tuple[str, ...], str | None, list[Effect]]:
    reader, text = act.draft.reader, act.raw.get("moves")
    if text is None:
        return (), None, []
    entry = f"{act.entry}.moves"
    life = next((s for s in act.draft.fields.get(act.resource or "", {}).values() if s.kind == "life"), None)
    if life is None:
        reader.fault(entry, "the target has no life cycle")
        return (), None, []
    left, arrow, right = str(text).partition("->")
    states = reader.names(entry, [state.strip() for state in left.split("|")], life.moves, "state")
    to = right.strip() if arrow else None
    if to is not None:
        reader.names(entry, [to], life.moves, "state")
        for state in states:
            if to in life.moves and to not in life.moves[state] and to != state:
                reader.fault(entry, f"the life cycle has no step {state} -> {to}")
    res = act.resource
    act.rules += reader.implied_rule(
        entry,
        f"{res}_not_{states[0]}" if len(states) == 1 else f"invalid_{res}_{life.name}",
        "state.order",
        f"{res}.{life.name} in [{', '.join(map(repr, states))}]",
        f"{str(res).replace('_', ' ').capitalize()} {{{res}.id}} is {{{res}.{life.name}}}; "
        f"it must be {' or '.join(states)}.",
        act.scope(),
        act.inputs[0].name,
    )
    effects = []
    if to is not None:
        target = reader.expression(entry, res, act.scope())
        value = reader.expression(entry, repr(to), act.scope())
        if target is not None and value is not None:
            effects.append(Effect(target, str(res), life.name, value))
    return tuple(states), to, effects


def _read_sets(act: _Action) -> list[Effect]:
    reader, effects = act.draft.reader, []
    for path, source in reader.table(f"{act.entry}.set", act.raw.get("set", {})).items():
        entry = f"{act.entry}.set.{path}"
        owner, _, name = path.rpartition(".")
        target = reader.expression(entry, owner or name, act.scope(), "ref") if owner else None
        if target is None or target.type.of is None:
            reader.fault(entry, 'write the record and its field: "hive.honey"')
            continue
        if (value := _value(act, entry, target.type.of, name, source)) is not None:
            effects.append(Effect(target, target.type.of, name, value))
    return effects


def _value(
    act: _Action, entry: str, resource: str, name: str, source: Any, more: Mapping[str, Type] | None = None
) -> Expression | None:
    """The value for a field, checked against the field's type and who may write it."""
    spec = act.draft.fields[resource].get(name)
    if spec is None:
        act.draft.reader.fault(
            entry, f"{resource} has no field {name!r}{did_you_mean(name, act.draft.fields[resource])}"
        )
        return None
    if spec.kind == "tally":
        act.draft.reader.fault(entry, f"{name} is kept by the system")
    made = act.after(entry, source, more=more)
    if made is None:
        return None
    kind = act.draft.types[resource][name]
    if kind.kind == "object":
        return made
    try:
        join_types(kind, made.type)
        if kind.options and made.type.options and not set(made.type.options) <= set(kind.options):
            raise ExpressionError(f"{', '.join(made.type.options)} is not among {', '.join(kind.options)}")
        if made.type.kind == "null" and not kind.nullable:
            raise ExpressionError("the field can't be null")
    except ExpressionError as fault:
        act.draft.reader.fault(entry, f"{name} is a {kind}: {fault.message}")
    return made


def _read_each_sets(act: _Action) -> list[EachEffect]:
    reader, made = act.draft.reader, []
    for number, value in enumerate(reader.entries(f"{act.entry}.set_each", act.raw.get("set_each", []))):
        entry = f"{act.entry}.set_each[{number}]"
        item = reader.table(entry, value, ("each", "set"))
        head, _, condition = str(item.get("each", "")).partition(" if ")
        variable, _, resource = (part.strip() for part in head.partition(" in "))
        if resource not in act.draft.fields or not variable.isidentifier():
            reader.fault(entry, 'each = "b in booking if b.room == room"')
            continue
        more = {variable: Type("ref", resource)}
        where = reader.expression(entry, condition or "true", act.scope(more), "boolean")
        values = []
        for path, source in reader.table(f"{entry}.set", item.get("set", {})).items():
            name = path.removeprefix(f"{variable}.")
            if (found := _value(act, f"{entry}.set.{path}", resource, name, source, more)) is not None:
                values.append((name, found))
        if where is not None:
            made.append(EachEffect(variable, resource, where, tuple(values)))
    return made


def _read_creations(act: _Action) -> None:
    reader = act.draft.reader
    for key, value in reader.table(f"{act.entry}.create", act.raw.get("create", {})).items():
        entry = f"{act.entry}.create.{key}"
        item = dict(reader.table(entry, value))
        resource, loop = str(item.pop("of", key)), item.pop("for", None)
        if resource not in act.draft.fields:
            reader.fault(entry, f"{resource!r} is no resource{did_you_mean(resource, act.draft.fields)}")
            continue
        if key in act.names:
            reader.fault(entry, f"{key!r} is taken: write create.NAME with of = {resource!r}")
        more, variable, over = {}, None, None
        if loop is not None:
            variable, _, source = (part.strip() for part in str(loop).partition(" in "))
            over = reader.expression(f"{entry}.for", source, act.scope(), "list")
            if over is None or over.type.item is None:
                continue
            more = {variable: over.type.item}
        values = {
            name: made
            for name, source in item.items()
            if (made := _value(act, f"{entry}.{name}", resource, name, source, more)) is not None
        }
        for name, spec in act.draft.fields[resource].items():
            if spec.kind == "ref" and name not in values and not spec.optional and spec.start is None:
                reader.fault(entry, f"does not say {name}, a reference that can't be null")
        act.creates.append(Creation(key, resource, values, variable, over))
    for creation in act.creates:
        one = Type("ref", creation.resource)
        act.names[creation.name] = Type("list", item=one) if creation.over else one


def _read_returns(act: _Action) -> tuple[tuple[str, Expression], ...]:
    value = act.raw.get("returns")
    if value is None:
        value = act.inputs[0].name if act.resource else (act.creates[0].name if act.creates else None)
    if value is None:
        act.draft.reader.fault(act.entry, "needs returns: it has no target and creates nothing")
        return ()
    if isinstance(value, str):
        made = act.after(f"{act.entry}.returns", value, "ref", "list")
        if made is None:
            return ()
        if made.type.kind == "list":
            return ((value if value.isidentifier() else "items", made),)
        whole = compile_expression(f"record({made.source})", act.scope(was=True))
        return (("", whole),)
    items = act.draft.reader.table(f"{act.entry}.returns", value).items()
    found = ((key, act.after(f"{act.entry}.returns.{key}", source)) for key, source in items)
    return tuple((key, made) for key, made in found if made is not None)


def _read_due(act: _Action) -> Due | None:
    reader, raw = act.draft.reader, act.raw.get("due")
    if raw is None:
        return None
    item = reader.table(f"{act.entry}.due", raw, ("after", "days"))
    days = reader.pair(f"{act.entry}.due.days", item.get("days", [0, 1]), -3650, 3650)
    after = reader.expression(f"{act.entry}.due.after", item.get("after"), act.scope(), "time", "date")
    return Due(after, days) if after is not None and days is not None else None
