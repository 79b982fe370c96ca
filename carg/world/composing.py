"""A take: exchanges played one after another against one state, closed into a Session with view, level and masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import orjson

from carg.records import Directive, Exchange, Json, Op, Opening, Session, digest
from carg.siblings import shuffle_keys
from carg.world.arguments import show_arguments
from carg.world.knowledge import Knowledge, needed_records, rules_tried, scanned_tables
from carg.world.service import Answered, Service
from carg.world.state import Change, State
from carg.world.syntax import render_call
from carg.world.view import View, draw_references, draw_view, patch_tables

LEVEL_SHARES = {"full": 0.4, "no_errors": 0.2, "no_returns": 0.2, "bare": 0.2}
"""Definition levels where the label does not rest on rules (DESIGN: 40/20/20/20)."""
RULE_LEVELS = {"full": 0.67, "no_returns": 0.33}
"""Where it does, the errors must be shown."""
MOST_TOOLS = 8
MOST_DEFINITION_CHARS = 5000
"""About 1,500 tokens: toolset and state together take at most half of a context of 8,192."""


@dataclass(frozen=True, slots=True)
class Note:
    """What the caller knows of a call that execution does not."""

    mutation: str | None = None
    lookalike: str | None = None
    style: str = "plain"
    probe: str | None = None


@dataclass(slots=True)
class Take:
    """Exchanges under way. `state` is the state now; `opening` and `patch` say where it started."""

    service: Service
    opening: Opening
    actor: Mapping[str, Json]
    names: tuple[str, ...]
    """Presented names of the tools shown."""
    patch: tuple[Op, ...] = ()
    siblings: Mapping[str, list[str]] = field(default_factory=dict)
    state: State = field(init=False)
    answers: list[Answered] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def __post_init__(self) -> None:
        tables = patch_tables(self.opening.tables, self.patch)
        self.state = State(tables, self.opening.now, dict(self.opening.counters))

    @property
    def definitions(self) -> dict[str, Any]:
        """The shown definitions."""
        return self.service.shown(self.names)

    @property
    def credential(self) -> str | None:
        """What honest calls are signed with."""
        return None if self.service.convention.factors["auth"] == "none" else str(self.actor["credential"])

    def write(self, operation: str, arguments: Mapping[str, Any], rng: Random | None = None) -> str:
        """The text of a call; with `rng`, its arguments now and then in another order."""
        tool = self.service.tools[operation]
        shown = show_arguments(self.service.surface, tool, arguments)
        if rng is not None and rng.random() < 0.15:
            shown = shuffle_keys(shown, rng)
        return render_call(self.service.convention, tool.definition, shown, self.credential)

    def ask(self, text: str, note: Note | None = None, directive: Directive | None = None) -> Answered:
        """Play one call: its answer is recorded, its changes are made."""
        answered = self.service.answer(self.state, text, self.actor, self.definitions, directive)
        self.answers.append(answered)
        self.notes.append(note or Note())
        if answered.outcome is not None:
            self.state.apply(answered.outcome.changes)
        return answered

    def close(
        self, kind: str, rng: Random, *, pair: str | None = None, goal: str | None = None, view: View | None = None
    ) -> Session | None:
        """The session of what was played; None where no label in it is determined."""
        tables = self.service.touched
        start = State(patch_tables(self.opening.tables, self.patch), self.opening.now, dict(self.opening.counters))
        drawn = view or draw_view(
            self.service.surface, start, tables, needed_records(self.answers), scanned_tables(self.answers), rng
        )
        if view is None:
            asked = [a.tool.operation.subject for a in self.answers if a.tool and a.tool.operation.kind == "table"]
            references = draw_references(self.service.surface, dict.fromkeys(asked), rng)
            drawn = replace(drawn, references=references)
        judged = self._judge(drawn, start)
        if (
            view is None
            and drawn.mode in ("withheld", "summary")
            and sum(train for train, _ in judged) * 2 < len(judged)
        ):
            drawn = draw_view(
                self.service.surface,
                start,
                tables,
                needed_records(self.answers),
                scanned_tables(self.answers),
                rng,
                mode="partial",
            )
            drawn = replace(drawn, references=references)
            judged = self._judge(drawn, start)
        if not any(train for train, _ in judged):
            return None
        exchanges = tuple(
            _exchange(answered, note, train, invented)
            for answered, note, (train, invented) in zip(self.answers, self.notes, judged, strict=True)
        )
        shares = RULE_LEVELS if rules_tried(self.answers) else LEVEL_SHARES
        level = rng.choices(list(shares), list(shares.values()))[0]
        session = Session(
            id="",
            kind=kind,  # type: ignore[arg-type]
            instance=self.service.instance.id,
            tools=self.names,
            exchanges=exchanges,
            level=level,
            opening=self.opening.id,
            patch=self.patch,
            view=drawn.to_json(),
            actor=dict(self.actor),
            siblings={key: list(value) for key, value in self.siblings.items()},
            pair=pair,
            goal=goal,
            made_from=(self.service.instance.id, self.opening.id),
        )
        return replace(session, id=digest("session", session))

    def _judge(self, view: View, start: State) -> list[tuple[bool, tuple[str, ...]]]:
        knowledge = Knowledge(view, start.tables)
        return [knowledge.judge(answered) for answered in self.answers]


def _exchange(answered: Answered, note: Note, train: bool, invented: tuple[str, ...]) -> Exchange:
    # Calls before it may have changed what it was drawn for.
    lookalike = note.lookalike if answered.call.label == "valid" else None
    call = replace(answered.call, mutation=note.mutation, lookalike=lookalike, style=note.style)
    changes: Iterable[Change] = answered.outcome.changes if answered.outcome is not None else ()
    ops = tuple(Op(change.table, change.id, change.record) for change in changes)
    # Where nulls are left out, so is what would have been invented there.
    there = tuple(pointer for pointer in invented if _stands(answered.response.body, pointer))
    return Exchange(call, answered.response, "code", train, answered.directive, ops, there, note.probe)


def _stands(body: Json, pointer: str) -> bool:
    place = body
    for step in pointer.split("/")[1:]:
        if isinstance(place, dict) and step in place:
            place = place[step]
        elif isinstance(place, list) and step.isdigit() and int(step) < len(place):
            place = place[int(step)]
        else:
            return False
    return True


def choose_tools(service: Service, wanted: Iterable[str], rng: Random, *, least: int = 3) -> tuple[str, ...]:
    """Presented names of 3-8 tools: the wanted operations, then others of the service, in drawn order."""
    chosen = dict.fromkeys(wanted)
    room = MOST_DEFINITION_CHARS - sum(definition_size(service, name) for name in chosen)
    size = rng.randint(max(least, len(chosen)), max(MOST_TOOLS, len(chosen)))
    rest = [name for name in service.tools if name not in chosen]
    rng.shuffle(rest)
    for name in rest:
        if len(chosen) >= size:
            break
        cost = definition_size(service, name)
        if cost <= room:
            chosen[name] = None
            room -= cost
    names = list(chosen)
    rng.shuffle(names)
    return tuple(service.tools[name].definition.name for name in names)


def definition_size(service: Service, operation: str) -> int:
    """Characters of a definition as JSON, about."""
    found = service.sizes.get(operation)
    if found is None:
        definition = service.tools[operation].definition
        found = len(
            orjson.dumps([definition.parameters, definition.returns, definition.errors, definition.description])
        )
        service.sizes[operation] = found
    return found
