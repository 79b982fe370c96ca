"""Calls that are to fail: refused under this definition or state but not under a sibling, or faulty in themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from carg.records import Op
from carg.schemas import faults, validator
from carg.world.arguments import show_arguments
from carg.world.caller import draw_argument, draw_arguments
from carg.world.composing import Note
from carg.world.model import FieldSpec, Operation
from carg.world.openings import add_up, draw_actor
from carg.world.outcome import Outcome
from carg.world.singles import TRIES, Item, Singles
from carg.world.state import Frame, State
from carg.world.syntax import parse_call, render_call, spoil_call
from carg.world.tightening import Param, ShownTool
from carg.world.upkeep import Own
from carg.world.values import draw_number, draw_text
from carg.world.view import patch_tables

LIFE_FIRST = 0.3
"""How often a sibling state is looked for in the life field first; it decides half of all rules, others would drown."""


def draw_sibling(singles: Singles) -> Item | None:
    """A call that is valid without one tightening of the tool and uses the slack."""
    name = singles.next_operation(lambda tool: bool(tool.tightenings) and singles.able(tool.operation))
    if name is None:
        return None
    tool = singles.service.tools[name]
    tightening = singles.rng.choice(tool.tightenings)
    loose = singles.service.loosened(name, tightening)
    arguments = _slack_arguments(singles, tool, loose, tightening)
    if arguments is None:
        return None
    shown = show_arguments(singles.service.surface, loose, arguments)
    if not validator(loose.definition.parameters).is_valid(shown):
        return None
    found = faults(tool.definition.parameters, shown)
    if len(found) != 1:
        return None
    text = singles.write_shown(loose, shown)
    return Item(name, text, Note(mutation=f"sibling:{tightening.partition(':')[0]}"), without=tightening)


def _slack_arguments(singles: Singles, tool: ShownTool, loose: ShownTool, tightening: str) -> dict[str, Any] | None:
    """Arguments valid under `loose` that break the tightening."""
    kind, _, key = tightening.partition(":")
    param = loose.params[key]
    for _ in range(TRIES):
        drawn = draw_arguments(singles.service.setting, singles.state, tool.operation, singles.rng, singles.focus)
        if drawn is None:
            return None
        if kind == "need":
            drawn.pop(key, None)
        else:
            value = _slack_value(singles, tool, param, kind, drawn)
            if value is None:
                continue
            drawn[key] = value
        bent = singles.bend(loose, drawn)
        if bent is None or (key in bent) == (kind == "need"):
            continue
        slack = {**bent, key: drawn[key]} if kind not in ("need", "drop") and key in drawn else bent
        if singles.try_out(tool.operation, slack).refusal is None and singles.fits(loose, bent):
            return slack
    return None


def _slack_value(singles: Singles, tool: ShownTool, param: Param, kind: str, drawn: Mapping[str, Any]) -> Any:
    """A value that the loose definition takes and the tight one does not."""
    spec, rng = param.item.spec, singles.rng
    tight = tool.params[param.item.name].schema if param.item.name in tool.params else {}
    if kind == "enum":
        return rng.choice([option for option in spec.options if option not in tight["enum"]] or [None])
    if kind == "high":
        return _between(spec, rng, tight["maximum"], param.schema.get("maximum", spec.high))
    if kind == "low":
        return _between(spec, rng, param.schema.get("minimum", spec.low), tight["minimum"])
    if kind == "whole":
        value = draw_number(spec, rng, spec.low or 0, spec.high or 1)
        return value if value != int(value) else None
    if kind == "short":
        text = draw_text(spec.grammar or "", rng, singles.service.world, drawn)
        return text if len(text) > tight["maxLength"] else None
    if kind == "few" and spec.item is not None and spec.item.options:
        size = tight["maxItems"] + 1
        return rng.sample(spec.item.options, size) if size <= len(spec.item.options) else None
    return draw_argument(singles.service.setting, singles.state, tool.operation, param.item, rng, {}, drawn)


def draw_refused(singles: Singles) -> Item | None:
    """A call that the rules refuse in this state, with a patch of the state that would let it pass, or the reverse."""
    name = singles.next_operation(lambda tool: bool(tool.operation.rules) and singles.able(tool.operation))
    if name is None:
        return None
    tool = singles.service.tools[name]
    for _ in range(TRIES):
        drawn = draw_arguments(singles.service.setting, singles.state, tool.operation, singles.rng, singles.focus)
        fitted = singles.fit(tool, drawn) if drawn is not None else None
        if fitted is None:
            continue
        outcome = singles.try_out(tool.operation, fitted)
        patch = _flip(singles, tool.operation, fitted, outcome)
        if patch is not None:
            return Item(name, singles.write(tool, fitted), Note(mutation="sibling:state"), patch=patch)
        if outcome.refusal is not None:
            return Item(name, singles.write(tool, fitted), Note(mutation=f"drawn:{outcome.refusal.fault}"))
    return None


def _flip(
    singles: Singles, operation: Operation, arguments: Mapping[str, Any], outcome: Outcome
) -> tuple[Op, ...] | None:
    """A change of one cell that was read and turns success into refusal by a rule, or refusal into success.

    What counts or sums up that cell changes with it.
    """
    cells = [read for read in outcome.trace.label if read[2] is not None and read[0] in singles.state.tables]
    singles.rng.shuffle(cells)
    if singles.rng.random() < LIFE_FIRST:
        cells.sort(key=lambda read: _spec(singles, read[0], str(read[2])).kind != "life")
    for table, key, field in cells[:6]:
        record = singles.state.tables[table].get(str(key))
        if record is None or field is None:
            continue
        for value in other_values(singles, _spec(singles, table, field), record[field])[:4]:
            change = Op(table, str(key), {**record, field: value})
            patch = add_up(singles.service.setting, singles.opening, [change])
            tables = patch_tables(singles.opening.tables, patch)
            changed = State(tables, singles.state.now, singles.state.counters)
            if not all(_sound(singles, op.table, op.id, changed) for op in patch):
                continue
            after = singles.try_out(operation, arguments, changed)
            if (after.refusal is None) != (outcome.refusal is None) and _by_rule(after, outcome):
                return patch
    return None


def _spec(singles: Singles, table: str, field: str) -> FieldSpec:
    return singles.service.world.resources[table].fields[field]


def _sound(singles: Singles, table: str, key: str, state: State) -> bool:
    frame = Frame(state.tables)
    values = Own(frame, table, key, singles.service.setting.base)
    return all(rule.that.run(frame.get, frame.scan, values) for rule in singles.service.world.resources[table].always)


def other_values(singles: Singles, spec: FieldSpec, value: Any) -> list[Any]:
    """Other values of the field, in drawn order."""
    rng = singles.rng
    if spec.kind in ("life", "choice"):
        return rng.sample([o for o in spec.options if o != value], len(spec.options) - (value in spec.options))
    if spec.kind == "boolean":
        return [not value]
    if spec.kind in ("integer", "number"):
        low, high = spec.low or 0.0, spec.high or 1.0
        return [draw_number(replace(spec, shape="uniform"), rng, low, high) for _ in range(4)]
    if spec.kind == "ref" and value is not None:
        table = singles.state.tables[spec.of or ""]
        return rng.sample(sorted(table), min(3, len(table)))
    if spec.kind in ("date", "time") and value is not None:
        unit = 1 if spec.kind == "date" else 86_400
        return [value + unit * days for days in rng.sample((-60, -14, -3, 3, 14, 60), 4)]
    return []


def draw_missing(singles: Singles) -> Item | None:
    """A call about a record that does not exist: removed from the sibling state, or one character off."""
    name = singles.next_operation(
        lambda tool: (
            singles.able(tool.operation)
            and any(i.role == "target" and i.spec.kind == "ref" for i in tool.operation.inputs)
        )
    )
    if name is None:
        return None
    tool = singles.service.tools[name]
    arguments = singles.valid_arguments(name)
    target = tool.operation.inputs[0].name
    if arguments is None or target not in arguments:
        return None
    key, resource = arguments[target], tool.operation.inputs[0].spec.of or ""
    if not _referred(singles, resource, key) and singles.rng.random() < 0.7:
        patch = add_up(singles.service.setting, singles.opening, [Op(resource, key, None)])
        return Item(name, singles.write(tool, arguments), Note(mutation="sibling:removed"), patch=patch)
    wrong = near_id(key, singles.rng)
    if wrong in singles.state.tables[resource]:
        return None
    return Item(name, singles.write(tool, {**arguments, target: wrong}), Note(mutation="near_id"))


def _referred(singles: Singles, resource: str, key: str) -> bool:
    return any(
        record[name] == key
        for other, name in singles.service.setting.refers.get(resource, ())
        for record in singles.state.tables[other].values()
    ) or bool(singles.service.setting.tallies.get(resource))


def draw_crossed(singles: Singles) -> Item | None:
    """A call that a rule over its arguments, or over who calls, refuses."""
    name = singles.next_operation(
        lambda tool: (
            any(r.fault == "rule.cross_field" for r in tool.operation.rules)
            or tool.operation.kind in ("sweep",)
            or not singles.able(tool.operation)
        )
    )
    if name is None:
        return None
    tool = singles.service.tools[name]
    for _ in range(TRIES * 3):
        drawn = draw_arguments(singles.service.setting, singles.state, tool.operation, singles.rng, singles.focus)
        if drawn is None:
            return None
        if tool.operation.kind == "sweep" and singles.rng.random() < 0.5:
            low, high = f"{tool.operation.vary}_from", f"{tool.operation.vary}_to"
            drawn[low], drawn[high] = drawn[high], drawn[low]
        fitted = singles.fit(tool, drawn)
        if fitted is None:
            continue
        refusal = singles.try_out(tool.operation, fitted).refusal
        if refusal is not None and refusal.fault in ("rule.cross_field", "state.forbidden"):
            return Item(name, singles.write(tool, fitted), Note(mutation=f"drawn:{refusal.fault}"))
    return None


def draw_unsigned(singles: Singles) -> Item | None:
    """A call that names nobody, or somebody else."""
    if singles.service.convention.factors["auth"] == "none":
        return None
    item = singles.valid()
    if item is None:
        return None
    tool = singles.service.tools[item.operation]
    parsed = parse_call(singles.service.convention, item.text, singles.service.definitions)
    if parsed.arguments is None:
        return None
    other = draw_actor(singles.service.world, singles.service.instance, singles.rng)["credential"]
    signed = None if singles.rng.random() < 0.4 else str(other)
    text = render_call(singles.service.convention, tool.definition, parsed.arguments, signed)
    return replace(item, text=text, note=Note(mutation="foreign" if signed else "unsigned"))


def draw_broken(singles: Singles) -> Item | None:
    """A text that cannot be read, or a call of a tool that is not there."""
    item = singles.valid()
    if item is None:
        return None
    if singles.rng.random() < 0.6:
        return replace(item, text=spoil_call(item.text, singles.rng), note=Note(mutation="spoiled"))
    tool = singles.service.tools[item.operation]
    name = misspell(tool.definition.name, singles.rng)
    if name in singles.service.definitions:
        return None
    parsed = parse_call(singles.service.convention, item.text, singles.service.definitions)
    renamed = replace(
        tool.definition, name=name, http=(tool.definition.http[0], misspell(tool.definition.http[1], singles.rng))
    )
    signed = parsed.credential
    try:
        text = render_call(singles.service.convention, renamed, parsed.arguments or {}, signed)
    except (KeyError, ValueError):
        return None
    return replace(item, text=text, note=Note(mutation="unknown_tool"))


def draw_blunt(singles: Singles) -> Item | None:
    """A sibling call with a second, blunt fault: a required argument gone, a wrong kind, an invented name."""
    item = draw_sibling(singles) or singles.valid()
    if item is None:
        return None
    tool = singles.service.tools[item.operation]
    parsed = parse_call(singles.service.convention, item.text, singles.service.definitions)
    if not parsed.arguments:
        return None
    shown = dict(parsed.arguments)
    before = faults(tool.definition.parameters, shown)
    key = singles.rng.choice(list(shown))
    if singles.rng.random() < 0.4:
        del shown[key]
    elif isinstance(shown[key], str):
        shown[key] = [shown[key]]
    else:
        shown[key] = {"value": shown[key]}
    if faults(tool.definition.parameters, shown) in ((), before):
        return None
    text = render_call(singles.service.convention, tool.definition, shown, parsed.credential)
    return replace(item, text=text, note=Note(mutation="blunt"), without=None)


def _by_rule(after: Outcome, before: Outcome) -> bool:
    refusal = after.refusal or before.refusal
    return refusal is not None and refusal.fault in ("state.order", "state.conflict", "rule.limit", "state.forbidden")


def _between(spec: FieldSpec, rng: Random, low: Any, high: Any) -> Any:
    value = draw_number(replace(spec, shape="uniform"), rng, low, high)
    return value if low < value < high or value in (spec.low, spec.high) else None


def near_id(key: str, rng: Random) -> str:
    """An id one character off, of the same form."""
    places = [n for n, char in enumerate(key) if char.isdigit()] or list(range(len(key)))
    place = rng.choice(places[-4:])
    other = rng.choice([char for char in ("0123456789" if key[place].isdigit() else "ABCDEFGH") if char != key[place]])
    return f"{key[:place]}{other}{key[place + 1 :]}"


def misspell(name: str, rng: Random) -> str:
    """A name as a careless caller writes it: a plural, another verb, a letter lost."""
    swaps = [
        ("get", "show"),
        ("search", "browse"),
        ("create", "make"),
        ("update", "patch"),
        ("list", "all"),
        ("find", "lookup"),
    ]
    found = [name.replace(old, new, 1) for old, new in swaps if old in name]
    place = rng.randrange(1, max(2, len(name) - 1))
    found += [f"{name}s" if not name.endswith("s") else name[:-1], name[:place] + name[place + 1 :]]
    return rng.choice(found)
