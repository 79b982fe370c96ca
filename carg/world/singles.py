"""Single exchanges: valid calls, calls refused under this definition or state but not under a sibling, look-alikes,
faults and empty results. Several on independent records share one system text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from carg.records import Directive, Json, Op, Opening, Session, digest
from carg.schemas import faults, validator
from carg.siblings import shuffle_keys
from carg.world.arguments import show_arguments
from carg.world.caller import draw_argument, draw_arguments
from carg.world.composing import Note, Take, choose_tools
from carg.world.model import FieldSpec, Operation
from carg.world.openings import draw_actor
from carg.world.run import Actor, Outcome, execute
from carg.world.service import Service
from carg.world.state import Frame, State
from carg.world.syntax import parse_call, render_call, spoil_call
from carg.world.tightening import Param, ShownTool
from carg.world.upkeep import Own
from carg.world.values import draw_number, draw_text
from carg.world.view import patch_tables

TRIES = 8
LIFE_FIRST = 0.3
"""How often a sibling state is looked for in the life field first: it decides half of all rules, and would drown others."""
FAULTS = {
    "timeout": 2,
    "rate_limit": 2,
    "server_error": 2,
    "truncated": 1,
    "missing_field": 2,
    "partial": 2,
}


@dataclass(frozen=True, slots=True)
class Item:
    """One call of a row, in one or two variants: under sibling definitions (`without`), or over a patched state."""

    operation: str
    text: str
    note: Note
    without: str | None = None
    patch: tuple[Op, ...] = ()
    directive: Directive | None = None


class Singles:
    """Draws the single rows of one service from one opening."""

    def __init__(self, service: Service, opening: Opening, rng: Random) -> None:
        self.service = service
        self.opening = opening
        self.rng = rng
        self.state = State(opening.tables, opening.now, dict(opening.counters))
        self.actor: Mapping[str, Json] = opening.actor
        self.focus: dict[str, str] = {}
        """The record to prefer, by resource."""
        self.turn = list(service.tools)
        rng.shuffle(self.turn)

    def next_operation(self, fits: Callable[[ShownTool], bool] = lambda _: True) -> str | None:
        """The operation whose turn it is among those that fit; each gets its share."""
        for place, name in enumerate(self.turn):
            if fits(self.service.tools[name]):
                self.turn.append(self.turn.pop(place))
                return name
        return None

    def able(self, operation: Operation) -> bool:
        """Whether the actor's role may call it."""
        return not operation.roles or self.actor["role"] in operation.roles

    def try_out(self, operation: Operation, arguments: Mapping[str, Any], state: State | None = None) -> Outcome:
        """What the world would do; nothing changes."""
        actor = Actor(str(self.actor["name"]), str(self.actor["role"]))
        return execute(self.service.setting, state or self.state, operation, arguments, actor)

    def write(self, tool: ShownTool, arguments: Mapping[str, Any], *, shuffle: bool = False) -> str:
        """The text of a call under a definition of the tool."""
        shown = show_arguments(self.service.surface, tool, arguments)
        return self.write_shown(tool, shown, shuffle=shuffle)

    def write_shown(self, tool: ShownTool, shown: dict[str, Json], *, shuffle: bool = False) -> str:
        """The text of a call with presented arguments."""
        if shuffle or self.rng.random() < 0.15:
            shown = shuffle_keys(shown, self.rng)
        signed = None if self.service.convention.factors["auth"] == "none" else str(self.actor["credential"])
        return render_call(self.service.convention, tool.definition, shown, signed)

    # Items ---------------------------------------------------------------------------------------------------------

    def valid_arguments(self, name: str, *, optional: float = 0.5) -> dict[str, Any] | None:
        """Canonical arguments that the definition and the world accept, or None after a few tries."""
        tool = self.service.tools[name]
        for _ in range(TRIES):
            drawn = draw_arguments(self.service.setting, self.state, tool.operation, self.rng, self.focus, optional=optional)
            if drawn is None:
                return None
            fitted = self.fit(tool, drawn)
            if fitted is not None and self.try_out(tool.operation, fitted).refusal is None:
                return fitted
        return None

    def fit(self, tool: ShownTool, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments as the definition takes them: dropped parameters gone, narrowed values redrawn; None if not."""
        kept = {key: value for key, value in arguments.items() if key in tool.params}
        for key, param in tool.params.items():
            if param.required and key not in kept:
                value = draw_argument(
                    self.service.setting, self.state, tool.operation, param.item, self.rng, self.focus, kept
                )
                if value is None:
                    return None
                kept[key] = value
        for tightening in tool.tightenings:
            kind, _, key = tightening.partition(":")
            if key in kept:
                kept[key] = narrow(self.rng, tool.params[key], kind, kept[key])
        ordered = {item.name: kept[item.name] for item in tool.operation.inputs if item.name in kept}
        shown = show_arguments(self.service.surface, tool, ordered)
        return ordered if validator(tool.definition.parameters).is_valid(shown) else None

    def valid(self, directive: Directive | None = None) -> Item | None:
        """A valid call of the tool whose turn it is."""
        name = self.next_operation(lambda tool: self.able(tool.operation))
        if name is None:
            return None
        arguments = self.valid_arguments(name)
        if arguments is None:
            return None
        return Item(name, self.write(self.service.tools[name], arguments), Note(), directive=directive)

    def disturbed(self) -> Item | None:
        """A valid call under a directive that makes its answer fail or degrade."""
        fault = self.rng.choices(list(FAULTS), list(FAULTS.values()))[0]
        return self.valid(Directive(fault, {}, self.rng.randrange(2**31)))  # type: ignore[arg-type]

    def lookalike(self) -> Item | None:
        """A valid call that looks suspicious."""
        kind = self.rng.choice(("ok.boundary", "ok.optional_omitted", "ok.reordered", "ok.empty_result"))
        name = self.next_operation(lambda tool: self.able(tool.operation) and _suits(tool.operation, kind))
        if name is None:
            return None
        tool = self.service.tools[name]
        arguments = self.valid_arguments(name, optional=0.0 if kind == "ok.optional_omitted" else 0.6)
        if arguments is None:
            return None
        if kind == "ok.boundary":
            arguments = self.at_bound(tool, arguments)
        elif kind == "ok.empty_result":
            arguments = self.empty_search(tool, arguments)
        if arguments is None or self.try_out(tool.operation, arguments).refusal is not None:
            return None
        text = self.write(tool, arguments, shuffle=kind == "ok.reordered")
        return Item(name, text, Note(lookalike=kind))

    def at_bound(self, tool: ShownTool, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments with one number at a bound of its schema."""
        for key in self.rng.sample(list(arguments), len(arguments)):
            schema = tool.params[key].schema
            bounds = [schema[word] for word in ("minimum", "maximum") if word in schema]
            if tool.params[key].item.spec.kind in ("integer", "number") and bounds and not tool.params[key].shift:
                return {**arguments, key: self.rng.choice(bounds)}
        return None

    def empty_search(self, tool: ShownTool, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The search with filters that nothing matches."""
        outcome = None
        for _ in range(TRIES):
            drawn = dict(arguments)
            for key, param in tool.params.items():
                if param.item.of is not None and param.item.role == "equals" and param.item.spec.options:
                    drawn[key] = self.rng.choice(param.schema.get("enum", param.item.spec.options))
            outcome = self.try_out(tool.operation, drawn)
            if outcome.refusal is None and isinstance(outcome.body, dict) and outcome.body.get("total") == 0:
                return drawn
        return None

    def sibling(self) -> Item | None:
        """A call that is valid without one tightening of the tool and uses the slack."""
        name = self.next_operation(lambda tool: bool(tool.tightenings) and self.able(tool.operation))
        if name is None:
            return None
        tool = self.service.tools[name]
        tightening = self.rng.choice(tool.tightenings)
        loose = self.service.loosened(name, tightening)
        arguments = self.slack_arguments(tool, loose, tightening)
        if arguments is None:
            return None
        shown = show_arguments(self.service.surface, loose, arguments)
        if not validator(loose.definition.parameters).is_valid(shown):
            return None
        found = faults(tool.definition.parameters, shown)
        if len(found) != 1:
            return None
        text = self.write_shown(loose, shown)
        return Item(name, text, Note(mutation=f"sibling:{tightening.partition(':')[0]}"), without=tightening)

    def slack_arguments(self, tool: ShownTool, loose: ShownTool, tightening: str) -> dict[str, Any] | None:
        """Arguments valid under `loose` that break the tightening."""
        kind, _, key = tightening.partition(":")
        param = loose.params[key]
        for _ in range(TRIES):
            drawn = draw_arguments(self.service.setting, self.state, tool.operation, self.rng, self.focus)
            if drawn is None:
                return None
            if kind == "need":
                drawn.pop(key, None)
            else:
                value = self.slack_value(tool, param, kind, drawn)
                if value is None:
                    continue
                drawn[key] = value
            fitted = self.fit(loose, drawn)
            if fitted is None or (key in fitted) == (kind == "need"):
                continue
            if kind not in ("need", "drop") and key in drawn:
                fitted[key] = drawn[key]
            if self.try_out(tool.operation, fitted).refusal is None:
                return fitted
        return None

    def slack_value(self, tool: ShownTool, param: Param, kind: str, drawn: Mapping[str, Any]) -> Any:
        """A value that the loose definition takes and the tight one does not."""
        spec, rng = param.item.spec, self.rng
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
            text = draw_text(spec.grammar or "", rng, self.service.world, drawn)
            return text if len(text) > tight["maxLength"] else None
        if kind == "few" and spec.item is not None and spec.item.options:
            size = tight["maxItems"] + 1
            return rng.sample(spec.item.options, size) if size <= len(spec.item.options) else None
        return draw_argument(
            self.service.setting, self.state, tool.operation, param.item, rng, {}, drawn
        )

    def refused(self) -> Item | None:
        """A call that the rules refuse in this state, with a patch of the state that would let it pass, or the reverse."""
        name = self.next_operation(lambda tool: bool(tool.operation.rules) and self.able(tool.operation))
        if name is None:
            return None
        tool = self.service.tools[name]
        for _ in range(TRIES):
            drawn = draw_arguments(self.service.setting, self.state, tool.operation, self.rng, self.focus)
            fitted = self.fit(tool, drawn) if drawn is not None else None
            if fitted is None:
                continue
            outcome = self.try_out(tool.operation, fitted)
            patch = self.flip(tool.operation, fitted, outcome)
            if patch is not None:
                return Item(name, self.write(tool, fitted), Note(mutation="sibling:state"), patch=patch)
            if outcome.refusal is not None:
                return Item(name, self.write(tool, fitted), Note(mutation=f"drawn:{outcome.refusal.fault}"))
        return None

    def flip(self, operation: Operation, arguments: Mapping[str, Any], outcome: Outcome) -> tuple[Op, ...] | None:
        """A change of one cell that was read and turns success into refusal by a rule, or refusal into success."""
        cells = [read for read in outcome.trace.label if read[2] is not None and read[0] in self.state.tables]
        self.rng.shuffle(cells)
        if self.rng.random() < LIFE_FIRST:
            cells.sort(key=lambda read: self._spec(read[0], str(read[2])).kind != "life")
        for table, key, field in cells[:6]:
            record = self.state.tables[table].get(str(key))
            if record is None or field is None:
                continue
            for value in self.other_values(self._spec(table, field), record[field])[:4]:
                patch = (Op(table, str(key), {**record, field: value}),)
                tables = patch_tables(self.opening.tables, patch)
                changed = State(tables, self.state.now, self.state.counters)
                if not self._sound(table, str(key), changed):
                    continue
                after = self.try_out(operation, arguments, changed)
                if (after.refusal is None) != (outcome.refusal is None) and _by_rule(after, outcome):
                    return patch
        return None

    def _spec(self, table: str, field: str) -> FieldSpec:
        return self.service.world.resources[table].fields[field]

    def _sound(self, table: str, key: str, state: State) -> bool:
        frame = Frame(state.tables)
        values = Own(frame, table, key, self.service.setting.base)
        return all(
            rule.that.run(frame.get, frame.scan, values) for rule in self.service.world.resources[table].always
        )

    def other_values(self, spec: FieldSpec, value: Any) -> list[Any]:
        """Other values of the field, in drawn order."""
        rng = self.rng
        if spec.kind in ("life", "choice"):
            return rng.sample([o for o in spec.options if o != value], len(spec.options) - (value in spec.options))
        if spec.kind == "boolean":
            return [not value]
        if spec.kind in ("integer", "number"):
            low, high = spec.low or 0.0, spec.high or 1.0
            return [draw_number(replace(spec, shape="uniform"), rng, low, high) for _ in range(4)]
        if spec.kind == "ref" and value is not None:
            table = self.state.tables[spec.of or ""]
            return rng.sample(sorted(table), min(3, len(table)))
        if spec.kind in ("date", "time") and value is not None:
            unit = 1 if spec.kind == "date" else 86_400
            return [value + unit * days for days in rng.sample((-60, -14, -3, 3, 14, 60), 4)]
        return []

    def missing(self) -> Item | None:
        """A call about a record that does not exist: removed from the sibling state, or one character off."""
        name = self.next_operation(
            lambda tool: self.able(tool.operation) and any(i.role == "target" and i.spec.kind == "ref" for i in tool.operation.inputs)
        )
        if name is None:
            return None
        tool = self.service.tools[name]
        arguments = self.valid_arguments(name)
        target = tool.operation.inputs[0].name
        if arguments is None or target not in arguments:
            return None
        key, resource = arguments[target], tool.operation.inputs[0].spec.of or ""
        if not self._referred(resource, key) and self.rng.random() < 0.7:
            return Item(
                name, self.write(tool, arguments), Note(mutation="sibling:removed"), patch=(Op(resource, key, None),)
            )
        wrong = near_id(key, self.rng)
        if wrong in self.state.tables[resource]:
            return None
        return Item(name, self.write(tool, {**arguments, target: wrong}), Note(mutation="near_id"))

    def _referred(self, resource: str, key: str) -> bool:
        return any(
            record[name] == key
            for other, name in self.service.setting.refers.get(resource, ())
            for record in self.state.tables[other].values()
        ) or bool(self.service.setting.tallies.get(resource))

    def crossed(self) -> Item | None:
        """A call that a rule over its arguments, or over who calls, refuses."""
        name = self.next_operation(
            lambda tool: any(r.fault == "rule.cross_field" for r in tool.operation.rules)
            or tool.operation.kind in ("sweep",)
            or not self.able(tool.operation)
        )
        if name is None:
            return None
        tool = self.service.tools[name]
        for _ in range(TRIES * 3):
            drawn = draw_arguments(self.service.setting, self.state, tool.operation, self.rng, self.focus)
            if drawn is None:
                return None
            if tool.operation.kind == "sweep" and self.rng.random() < 0.5:
                low, high = f"{tool.operation.vary}_from", f"{tool.operation.vary}_to"
                drawn[low], drawn[high] = drawn[high], drawn[low]
            fitted = self.fit(tool, drawn)
            if fitted is None:
                continue
            refusal = self.try_out(tool.operation, fitted).refusal
            if refusal is not None and refusal.fault in ("rule.cross_field", "state.forbidden"):
                return Item(name, self.write(tool, fitted), Note(mutation=f"drawn:{refusal.fault}"))
        return None

    def unsigned(self) -> Item | None:
        """A call that names nobody, or somebody else."""
        if self.service.convention.factors["auth"] == "none":
            return None
        item = self.valid()
        if item is None:
            return None
        tool = self.service.tools[item.operation]
        parsed = parse_call(self.service.convention, item.text, self.service.definitions)
        if parsed.arguments is None:
            return None
        other = draw_actor(self.service.world, self.service.instance, self.rng)["credential"]
        signed = None if self.rng.random() < 0.4 else str(other)
        text = render_call(self.service.convention, tool.definition, parsed.arguments, signed)
        return replace(item, text=text, note=Note(mutation="foreign" if signed else "unsigned"))

    def broken(self) -> Item | None:
        """A text that cannot be read, or a call of a tool that is not there."""
        item = self.valid()
        if item is None:
            return None
        if self.rng.random() < 0.6:
            return replace(item, text=spoil_call(item.text, self.rng), note=Note(mutation="spoiled"))
        tool = self.service.tools[item.operation]
        name = misspell(tool.definition.name, self.rng)
        if name in self.service.definitions:
            return None
        parsed = parse_call(self.service.convention, item.text, self.service.definitions)
        renamed = replace(
            tool.definition, name=name, http=(tool.definition.http[0], misspell(tool.definition.http[1], self.rng))
        )
        signed = parsed.credential
        try:
            text = render_call(self.service.convention, renamed, parsed.arguments or {}, signed)
        except (KeyError, ValueError):
            return None
        return replace(item, text=text, note=Note(mutation="unknown_tool"))

    def blunt(self) -> Item | None:
        """A sibling call with a second, blunt fault: a required argument gone, a wrong kind, an invented name."""
        item = self.sibling() or self.valid()
        if item is None:
            return None
        tool = self.service.tools[item.operation]
        parsed = parse_call(self.service.convention, item.text, self.service.definitions)
        if not parsed.arguments:
            return None
        shown = dict(parsed.arguments)
        before = faults(tool.definition.parameters, shown)
        key = self.rng.choice(list(shown))
        if self.rng.random() < 0.4:
            del shown[key]
        elif isinstance(shown[key], str):
            shown[key] = [shown[key]]
        else:
            shown[key] = {"value": shown[key]}
        if faults(tool.definition.parameters, shown) in ((), before):
            return None
        text = render_call(self.service.convention, tool.definition, shown, parsed.credential)
        return replace(item, text=text, note=Note(mutation="blunt"), without=None)

    # Rows ----------------------------------------------------------------------------------------------------------

    def row(self, items: list[Item]) -> list[Session]:
        """One row of plain items, or two complementary ones where items have siblings."""
        paired = [item for item in items if item.without or item.patch]
        if not paired:
            return [made] if (made := self._play(items, [False] * len(items), None)) else []
        sides = [self.rng.random() < 0.5 for _ in items]
        pair = digest("pair", self.opening.id, [item.text for item in items])
        one = self._play(items, sides, pair)
        other = self._play(items, [not side for side in sides], pair)
        return [made for made in (one, other) if made is not None]

    def _play(self, items: list[Item], loose: list[bool], pair: str | None) -> Session | None:
        siblings: dict[str, list[str]] = {}
        patch: dict[tuple[str, str], Op] = {}
        for item, side in zip(items, loose, strict=True):
            if side and item.without:
                siblings.setdefault(item.operation, []).append(item.without)
            if side:
                patch |= {(op.table, op.id): op for op in item.patch}
        service = self.service.with_siblings(siblings)
        # Both rows of a pair show the same tools in the same order.
        rng = Random(pair) if pair else self.rng
        names = choose_tools(service, dict.fromkeys(item.operation for item in items), rng)
        asked = items
        for _ in range(3):
            take = Take(service, self.opening, self.actor, names, tuple(patch.values()), siblings)
            for item in asked:
                take.ask(item.text, item.note, item.directive)
            made = take.close("single", rng, pair=pair)
            if made is None or all(exchange.train for exchange in made.exchanges):
                return made
            # A single exchange that is not determined is dropped, and the rest played again without it.
            asked = [item for item, exchange in zip(asked, made.exchanges, strict=True) if exchange.train]
        return None


def _by_rule(after: Outcome, before: Outcome) -> bool:
    refusal = after.refusal or before.refusal
    return refusal is not None and refusal.fault in ("state.order", "state.conflict", "rule.limit", "state.forbidden")


def _suits(operation: Operation, kind: str) -> bool:
    if kind == "ok.empty_result":
        return operation.kind == "search"
    return kind == "ok.optional_omitted" or len(operation.inputs) > 1


def narrow(rng: Random, param: Param, kind: str, value: Any) -> Any:
    """The value brought inside what the tightened schema takes."""
    schema, spec = param.schema, param.item.spec
    if kind == "enum" and not param.shift and value not in schema["enum"]:
        return rng.choice(schema["enum"])
    if kind in ("high", "low", "whole") and spec.kind in ("integer", "number"):
        low, high = schema.get("minimum", spec.low or 0), schema.get("maximum", spec.high or 1)
        if not low <= value <= high:
            value = draw_number(replace(spec, shape="uniform"), rng, low, high)
        return int(min(max(round(value), -(-low // 1)), high // 1)) if kind == "whole" else value
    if kind == "short" and isinstance(value, str):
        return value[: schema["maxLength"]].strip() or "-"
    return value[: schema["maxItems"]] if kind == "few" else value


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
    swaps = [("get", "show"), ("search", "browse"), ("create", "make"), ("update", "patch"), ("list", "all"), ("find", "lookup")]
    found = [name.replace(old, new, 1) for old, new in swaps if old in name]
    place = rng.randrange(1, max(2, len(name) - 1))
    found += [f"{name}s" if not name.endswith("s") else name[:-1], name[:place] + name[place + 1 :]]
    return rng.choice(found)


def draw_singles(service: Service, opening: Opening, rng: Random, budget: int) -> list[Session]:
    """Single rows of about `budget` exchanges, in the mix of the design."""
    world, made, count = service.world, list[Session](), 0
    roles = world.services[service.instance.service].roles
    idle = 0
    while count < budget and idle < 60:
        singles = Singles(service, opening, rng)
        singles.actor = opening.actor if rng.random() < 0.5 else draw_actor(world, service.instance, rng, rng.choice(roles))
        items: list[Item] = []
        paired = rng.random() < PAIRED_ROWS
        for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
            item = draw_pair_item(singles) if paired else draw_plain_item(singles)
            if item is not None and item.operation not in {other.operation for other in items}:
                items.append(item)
        rows = singles.row(items) if items else []
        idle = 0 if rows else idle + 1
        made += rows
        count += sum(len(row.exchanges) for row in rows)
    return made


PAIRED_ROWS = 0.42
"""Share of drawn rows that come as minimal pairs (each makes two)."""


def draw_pair_item(singles: Singles) -> Item | None:
    """An item with a sibling: by definition, by state, or by a record removed; now and then a plain valid one."""
    chance = singles.rng.random()
    if chance < 0.44:
        return singles.sibling()
    if chance < 0.72:
        return singles.refused() or singles.sibling()
    if chance < 0.81:
        return singles.missing() or singles.sibling()
    return singles.valid()


def draw_plain_item(singles: Singles) -> Item | None:
    """An item without a sibling, by the mix."""
    chance = singles.rng.random()
    for share, draw in (
        (0.62, singles.valid),
        (0.715, singles.lookalike),
        (0.81, singles.disturbed),
        (0.84, singles.crossed),
        (0.89, singles.refused),
        (0.915, singles.missing),
        (0.955, singles.unsigned),
        (0.98, singles.broken),
        (1.0, singles.blunt),
    ):
        if chance < share:
            return draw()
    return None
