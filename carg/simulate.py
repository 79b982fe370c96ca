"""One call, or a chat of calls, answered by a world, a trained GTM or an LLM: the same messages as in training."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import orjson

from carg.errors import ConfigError, RecordError
from carg.fill import fill
from carg.records import Definition, Instance, Json, Opening, Response, Session, Tool
from carg.render import system_text, user_text
from carg.scene import Book, Scene, open_book
from carg.store import read_manifest, read_parts
from carg.world.answers import answer_schema
from carg.world.composing import choose_tools
from carg.world.knowledge import needed_records
from carg.world.openings import grow_opening
from carg.world.replay import service_of
from carg.world.service import Answered
from carg.world.shadow import Shadow
from carg.world.stand_in import stand_in
from carg.world.state import State
from carg.world.syntax import Parsed, parse_call, render_call
from carg.world.view import draw_view, service_tables

ANSWER_TOKENS = 700


@dataclass(slots=True)
class Simulation:
    """A service under simulation: the scene as the model reads it, the state as the world keeps it, what was said."""

    scene: Scene
    state: State | None
    turns: list[tuple[str, str]] = field(default_factory=list)
    wanted: tuple[str, ...] = ()
    """Operations that were asked for: examples are of these, where this actor can call them."""
    shadow: Shadow = field(default_factory=Shadow)
    """What the stand-in's answers told of the records so far."""

    @property
    def system(self) -> str:
        """The system text."""
        return system_text(self.scene)

    def messages(self, call: str) -> list[dict[str, str]]:
        """The conversation up to this call, as it was rendered for training."""
        made = [{"role": "system", "content": self.system}]
        for said, answered in self.turns:
            made += [{"role": "user", "content": said}, {"role": "assistant", "content": answered}]
        return [*made, {"role": "user", "content": user_text(call)}]

    def read_call(self, text: str) -> str:
        """A call in the convention's own syntax: `{"tool": ..., "arguments": ...}` is put into it, other text stays."""
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        if not isinstance(value, dict) or "arguments" not in value or not (value.keys() & {"tool", "name"}):
            return text
        name = str(value.get("tool", value.get("name")))
        if not isinstance(value["arguments"], dict):
            raise RecordError(
                f"the arguments of {name!r} are no JSON object", 'write {"tool": ..., "arguments": {...}}'
            )
        definition = self.scene.definitions.get(name) or next(
            (found for found in self.scene.definitions.values() if found.key.endswith(f"/{name}")), None
        )
        if definition is None:
            shown = list(self.scene.definitions)
            raise RecordError(f"no tool {name!r} is shown here", _near(name, shown) or _listed("shown are", shown))
        actor = self.scene.session.actor
        signed = (
            str(actor["credential"]) if actor and self.scene.instance.convention.factors["auth"] != "none" else None
        )
        return render_call(self.scene.instance.convention, definition, value["arguments"], signed)

    def answer_by_world(self, call: str) -> Answered:
        """The world's answer; its changes are made."""
        if self.state is None:
            raise ConfigError(
                "no world stands behind this service",
                "name a model, --backend gtm:DIR or a litellm one, or --backend stand-in, which needs none",
            )
        service = service_of(self.scene.instance)
        answered = service.answer(self.state, call, self.scene.session.actor, self.scene.definitions)
        if answered.outcome is not None:
            self.state.apply(answered.outcome.changes)
        self.turns.append((call, answered.response.text))
        return answered

    def called(self, call: str) -> tuple[Parsed, Definition | None]:
        """What a call says, and the definition of the tool it names, if that is shown."""
        parsed = parse_call(self.scene.instance.convention, call, self.scene.definitions)
        return parsed, self.scene.definitions.get(parsed.tool or "")

    def answer_by_stand_in(self, call: str) -> Response:
        """An answer with no model and no world: values that fit `returns`, true to the calls and answers so far."""
        convention, (parsed, definition) = self.scene.instance.convention, self.called(call)
        if definition is None or parsed.arguments is None:
            raise RecordError(f"the call cannot be read: {call[:120]!r}", 'write {"tool": ..., "arguments": {...}}')
        rng = Random(f"stand-in/{self.scene.instance.id}/{len(self.turns)}/{call}")
        exchange = stand_in(convention, definition, parsed.arguments, self.shadow, rng)
        self.turns.append((call, exchange.response.text))
        return exchange.response


def open_simulation(run: Path, service: str | None, *, seed: int = 0, tool: str | None = None) -> Simulation:
    """A simulation of a service of the run (`domain/service`, an instance id, or None: the first), from its opening.

    With `tool`, one that offers it, and it is among the tools shown. Raises ConfigError where there is no such service
    or tool, StoreError where the run has no tools.
    """
    read_manifest(run / "expand", "expand")
    book = open_book(run)
    instance = _find(book, service, tool)
    rng = Random(f"simulate/{seed}/{instance.id}")
    if not instance.operations:
        session = Session("", "session", instance.id, (), ())
        shown = sorted((book.tools[key] for key in instance.tools), key=lambda item: not _is_named(item, tool))[:8]
        names = tuple(item.name for item in shown)
        return Simulation(book.scene(replace(session, tools=names), {}), None)
    served = service_of(instance)
    opening = _opening(run, instance) or grow_opening(served.setting, instance, seed)
    wanted = [book.tools[key].name for key in instance.tools if _is_named(book.tools[key], tool)]
    names = choose_tools(served, wanted, rng, least=6)
    state = State(opening.tables, opening.now, dict(opening.counters))
    tables = service_tables(served.world, instance.service)
    view = draw_view(served.surface, state, tables, needed_records([]), [], rng, mode="partial")
    session = Session(
        id="",
        kind="session",
        instance=instance.id,
        tools=names,
        exchanges=(),
        opening=opening.id,
        view=view.to_json(),
        actor=opening.actor,
    )
    return Simulation(book.scene(session, {opening.id: opening}), state.fork(), wanted=tuple(wanted))


def _opening(run: Path, instance: Instance) -> Opening | None:
    return next(
        (found for found in read_parts(Opening, run / "generate", "openings") if found.instance == instance.id), None
    )


def _is_named(tool: Tool, wanted: str | None) -> bool:
    return wanted is not None and wanted in (tool.name, f"{tool.service}/{tool.name}", tool.key)


def _find(book: Book, service: str | None, tool: str | None) -> Instance:
    """The first instance of the service that offers the tool."""
    every = list(book.instances.values())
    of_service = [
        item for item in every if service in (None, item.id, f"{item.domain}/{item.service}", item.service, item.domain)
    ]
    if not of_service:
        known = {name for item in every for name in (f"{item.domain}/{item.service}", item.service, item.domain)}
        some = sorted({f"{item.domain}/{item.service}" for item in every})
        raise ConfigError(f"no service {service!r} in this run", _near(str(service), known) or _listed("it has", some))
    for item in of_service:
        if tool is None or any(_is_named(book.tools[key], tool) for key in item.tools):
            return item
    names = sorted({book.tools[key].name for item in of_service for key in item.tools})
    where = "this run" if service is None else repr(service)
    raise ConfigError(f"no tool {tool!r} in {where}", _near(str(tool), names) or _listed("it has", names))


def _near(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), 3)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else ""


def _listed(beginning: str, names: Sequence[str]) -> str:
    return f"{beginning} {', '.join(names[:12])}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def answer_by_model(simulation: Simulation, call: str, backend: str, api_base: str | None) -> str:
    """The model's answer to the call, in the conversation so far."""
    from carg.backends import Request, open_backend

    async def ask() -> str:
        messages = tuple(simulation.messages(call))
        schema = _schema_of(simulation, call) if backend.startswith("gtm:") else None
        async with open_backend(backend, api_base=api_base) as opened:
            reply = await opened.complete(Request("simulate", "", messages, schema, {"max_tokens": ANSWER_TOKENS}))
        return reply.text

    if backend.startswith("gtm:") and not Path(backend[4:]).is_dir():
        raise ConfigError(f"--backend {backend!r}: no such folder", "name one that carg finetune wrote: gtm:RUN/model")
    try:
        text = asyncio.run(ask())
    except ImportError as fault:
        raise ConfigError(f"--backend {backend!r} needs {fault.name}", "pip install 'carg[train]'") from fault
    simulation.turns.append((call, text))
    return text


def _schema_of(simulation: Simulation, call: str) -> dict[str, Json] | None:
    """What the answer to this call can be, for decoding under a grammar."""
    _, definition = simulation.called(call)
    return None if definition is None else answer_schema(simulation.scene.instance.convention, definition)


def judge_answer(simulation: Simulation, call: str, text: str) -> str:
    """What can be said of an answer by form alone: "valid body", "error", or why it is neither."""
    from carg.schemas import is_valid
    from carg.world.wording import read_response

    _, definition = simulation.called(call)
    try:
        response = read_response(simulation.scene.instance.convention, text, definition)
    except RecordError as fault:
        return f"not an answer of this service: {fault.message[:120]}"
    if not response.ok:
        return "error"
    if definition is None or definition.returns is None:
        return "body"
    return "valid body" if is_valid(definition.returns, response.body) else "a body that does not fit `returns`"


def example_call(simulation: Simulation, seed: int = 0) -> str:
    """A valid call of one of the shown tools, of that which was asked for if it can be.

    Without a world it is valid by the tool's schema; raises RecordError where that accepts nothing that can be made.
    """
    from carg.world.singles import Singles

    if simulation.scene.opening is None:
        definition = next(iter(simulation.scene.definitions.values()))
        arguments = fill(definition.parameters, Random(seed), optional=0.3)
        return render_call(simulation.scene.instance.convention, definition, arguments)
    service = service_of(simulation.scene.instance)
    singles = Singles(service, simulation.scene.opening, Random(seed))
    singles.actor = simulation.scene.session.actor
    shown = [service.by_name[name].operation.name for name in simulation.scene.session.tools]
    singles.turn = sorted(shown, key=lambda name: name not in simulation.wanted)
    for _ in singles.turn:
        if (item := singles.valid()) is not None:
            return item.text
    raise ConfigError("no valid call was found for the shown tools", "try another --seed")
