"""Single calls that this definition and this state accept: plain, looking suspicious, or under a fault of the tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from carg.records import Directive, Json, Op, Opening
from carg.schemas import validator
from carg.siblings import shuffle_keys
from carg.world.arguments import show_arguments
from carg.world.caller import draw_argument, draw_arguments
from carg.world.composing import Note
from carg.world.executing import execute
from carg.world.model import Operation
from carg.world.outcome import Actor, Outcome
from carg.world.service import Service
from carg.world.state import State
from carg.world.syntax import render_call
from carg.world.tightening import Param, ShownTool
from carg.world.values import draw_number

TRIES = 8
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

    def valid_arguments(self, name: str, *, optional: float = 0.5) -> dict[str, Any] | None:
        """Canonical arguments that the definition and the world accept, or None after a few tries."""
        tool = self.service.tools[name]
        for _ in range(TRIES):
            drawn = draw_arguments(
                self.service.setting, self.state, tool.operation, self.rng, self.focus, optional=optional
            )
            if drawn is None:
                return None
            bent = self.bend(tool, drawn)
            # The world is asked first: it refuses two of three, the definition one of a hundred.
            if bent is not None and self.try_out(tool.operation, bent).refusal is None and self.fits(tool, bent):
                return bent
        return None

    def fit(self, tool: ShownTool, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments bent to the definition; None where it still does not take them."""
        bent = self.bend(tool, arguments)
        return bent if bent is not None and self.fits(tool, bent) else None

    def fits(self, tool: ShownTool, arguments: Mapping[str, Any]) -> bool:
        """Whether the definition takes the arguments."""
        shown = show_arguments(self.service.surface, tool, arguments)
        return validator(tool.definition.parameters).is_valid(shown)

    def bend(self, tool: ShownTool, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """The arguments without dropped parameters, narrowed values redrawn; None where a needed one has no value."""
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
        return {item.name: kept[item.name] for item in tool.operation.inputs if item.name in kept}

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
