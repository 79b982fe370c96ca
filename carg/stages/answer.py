"""Calls, answers and sessions by a model, for tools without a world. Nothing it says of a call is believed.

Labels come from the schema and from proved rules; what is settled (a refusal, a record deleted before) is answered by
code; the rest is asked for and judged by the same checks as every other record, the complaint sent back. The shadow
store keeps what was answered. A refusal that a reader could not foresee stays as context, with `train` false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

from carg.asking import Ask
from carg.checks import Referees, judge_scene, read_scene
from carg.errors import RecordError
from carg.records import Definition, Directive, Exchange, Instance, Json, Session, Tool, ToolError, digest
from carg.scene import Scene
from carg.schemas import canonical_arguments, faults
from carg.stages.telling import invented_in, show_definition, show_history, spellings
from carg.world.directives import degrade, settle_directive
from carg.world.predicates import rule_holds
from carg.world.refusing import Judgement, definition_of, judge_call, judge_gone
from carg.world.shadow import Shadow
from carg.world.syntax import parse_call
from carg.world.wording import answer, read_response, refuse

CALLERS = {
    "expert": "knows the trade and the service well, uses many optional parameters, writes short texts",
    "hurried": "knows what they want but reads nothing twice, forgets parameters, mixes up units and dates",
    "novice": "new to the trade, uses everyday words for technical values, tries one thing after another",
    "thorough": "states everything, up to the last optional parameter, and stays close to the limits allowed",
    "foreign": "works in a second language, with names, addresses and habits from elsewhere",
}
DIRECTED = 0.05
"""Share of reads that are made to fail or degrade."""
DIRECTIVES: tuple[str, ...] = ("timeout", "rate_limit", "server_error", "truncated", "missing_field", "partial")


@dataclass(slots=True)
class Draft:
    """A session while it is being written; `needs_errors` where a label rests on the errors that a tool documents."""

    instance: Instance
    definitions: dict[str, Definition]
    kind: Literal["single", "session"]
    seed: int
    style: str
    exchanges: list[Exchange] = field(default_factory=list)
    shadow: Shadow = field(default_factory=Shadow)
    needs_errors: bool = False
    goal: str | None = None


def model_referees() -> Referees:
    """What the checks ask of other layers where no world stands behind a session."""
    return Referees(parse_call, read_response, faults, lambda _scene: None, rule_holds)


async def write_singles(instance: Instance, tools: Sequence[Tool], ask: Ask, *, seed: int, n_calls: int = 6) -> Session:
    """Independent calls to one tool (the `seed`-th of `tools`) and their answers, as one session record.

    A third of the calls is meant to be wrong; a program says which are. Raises RecordError when no call came of it,
    and what `ask` raises.
    """
    rng = Random(digest("singles", instance.id, seed))
    draft = open_draft(instance, tools, "single", seed, rng, first=tools[seed % len(tools)])
    definition = next(iter(draft.definitions.values()))
    n_wrong = n_calls // 3
    variables = {
        "definition": show_definition(definition),
        "state": "nothing yet",
        "caller": f"{draft.style}: {CALLERS[draft.style]}",
        "n_valid": n_calls - n_wrong,
        "n_invalid": n_wrong,
    }
    value = await ask("calls", variables, sample=seed)
    seen: set[bytes] = set()
    for offer in value["calls"][:n_calls]:
        spelling = canonical_arguments(definition.parameters, offer["arguments"])
        if spelling not in seen:
            seen.add(spelling)
            await _exchange(draft, definition, offer["arguments"], ask, rng)
    return close_draft(draft)


async def write_session(instance: Instance, tools: Sequence[Tool], ask: Ask, *, seed: int, n_exchanges: int) -> Session:
    """A session of 2 to `n_exchanges` exchanges in pursuit of a goal that the model sets.

    Raises RecordError when it ends before the second exchange, and what `ask` raises.
    """
    rng = Random(digest("session", instance.id, seed))
    draft = open_draft(instance, tools, "session", seed, rng, first=None)
    while len(draft.exchanges) < n_exchanges:
        step = await _next_step(draft, ask, n_exchanges)
        draft.goal = draft.goal or step["goal"]
        if step["done"]:
            break
        await _exchange(draft, draft.definitions[step["tool"]], step["arguments"], ask, rng)
    if len(draft.exchanges) < 2:
        raise RecordError(f"session {seed} of {instance.service}: it ended after {len(draft.exchanges)} exchanges")
    return close_draft(draft)


async def _next_step(draft: Draft, ask: Ask, n_exchanges: int) -> dict[str, Json]:
    variables = {
        "service": f"{draft.instance.service} ({draft.instance.domain})",
        "definitions": [show_definition(definition) for definition in draft.definitions.values()],
        "goal": draft.goal or "none yet: set it",
        "caller": f"{draft.style}: {CALLERS[draft.style]}",
        "history": show_history(draft.exchanges),
        "n_left": n_exchanges - len(draft.exchanges),
    }

    def check(value: Json) -> str | None:
        if not (draft.goal or value["goal"]):
            return "set the `goal`"
        if value["done"]:
            return None
        if value["arguments"] is None:
            return "`arguments` are missing; give {} where there are none, or say that you are done"
        known = ", ".join(draft.definitions)
        return None if value["tool"] in draft.definitions else f"there is no tool {value['tool']!r}, only {known}"

    step: dict[str, Json] = await ask("session", variables, sample=draft.seed, check=check)
    return step


async def _exchange(draft: Draft, definition: Definition, arguments: dict[str, Json], ask: Ask, rng: Random) -> None:
    """Adds the call and its answer: written by code where the definition or the past settles it, else by the model."""
    judged = settle(draft, definition, arguments)
    if judged.error is not None:
        add_refusal(draft, judged)
    else:
        add_answer(draft, definition, await _ask_for_answer(draft, definition, judged, ask), rng)


def settle(draft: Draft, definition: Definition, arguments: dict[str, Json]) -> Judgement:
    """The call as the definition and the records deleted so far judge it; without an error the model answers."""
    convention = draft.instance.convention
    judged = judge_call(convention, definition, arguments, style=draft.style)
    if judged.error is None and draft.shadow.knows(definition, arguments) is False:
        return judge_gone(convention, definition, arguments, style=draft.style)
    return judged


def add_refusal(draft: Draft, judged: Judgement) -> None:
    """Adds a call that code refuses."""
    assert judged.error is not None
    draft.needs_errors |= judged.documented
    draft.exchanges.append(Exchange(judged.call, refuse(draft.instance.convention, judged.error), "teacher"))


def add_answer(draft: Draft, definition: Definition, exchange: Exchange, rng: Random) -> None:
    """Adds a call that the model answered; the shadow store takes up what the answer tells."""
    arguments = exchange.call.arguments or {}
    told = spellings(arguments) | spellings(draft.shadow.shown())
    if exchange.response.ok:
        shadow = draft.shadow if draft.kind == "session" else Shadow()
        exchange = replace(exchange, ops=shadow.take(definition, arguments, exchange.response.body))
    if definition.effect in ("read", "search", "compute") and exchange.train and rng.random() < DIRECTED:
        exchange = _directed(draft, definition, exchange, rng)
    draft.exchanges.append(replace(exchange, invented=invented_in(exchange.response.body, told)))


async def _ask_for_answer(draft: Draft, definition: Definition, judged: Judgement, ask: Ask) -> Exchange:
    known = draft.shadow.knows(definition, judged.call.arguments or {})
    verdict = "the call fits the definition. "
    if known is None or draft.kind == "single":
        verdict += "Whatever record it names exists. It succeeds."
    else:
        verdict += "The record it names is among those below. It succeeds unless a documented error follows from them."
    variables = {
        "documentation": draft.instance.convention.documentation,
        "definition": show_definition(definition),
        "state": draft.shadow.shown() or "nothing is known yet; any record may exist",
        "history": show_history(draft.exchanges) if draft.kind == "session" else "none: this call stands alone",
        "verdict": verdict,
        "call": {"tool": judged.call.tool, "arguments": judged.call.arguments},
    }
    state_errors = known is True and draft.kind == "session"
    said: list[Exchange] = []

    def check(value: Json) -> str | None:
        exchange = read_answer(draft, definition, judged, value, state_errors=state_errors)
        if isinstance(exchange, str):
            return exchange
        said[:] = [exchange]
        return complain(draft, exchange)

    schema = answer_schema(definition, errors=state_errors)
    await ask("respond", variables, sample=draft.seed, schema=schema, check=check)
    return said[0]


def answer_schema(definition: Definition, *, errors: bool) -> dict[str, Json]:
    """The schema of the reply to `respond`: a body as the tool returns it, and where it may, one of its own errors."""
    codes = sorted({spec.code for spec in definition.errors if spec.fault.startswith("state.")})
    error: dict[str, Json] = {
        "type": "object",
        "properties": {
            "code": {"enum": codes},
            "message": {"type": "string", "minLength": 1, "maxLength": 400},
            "field": {"type": ["string", "null"], "maxLength": 80},
        },
        "required": ["code", "message", "field"],
        "additionalProperties": False,
    }
    body = definition.returns or {}
    may_fail = errors and bool(codes)
    return {
        "type": "object",
        "properties": {
            "ok": {"type": "boolean"} if may_fail else {"const": True},
            "body": {"anyOf": [body, {"type": "null"}]} if may_fail else body,
            "error": {"anyOf": [error, {"type": "null"}]} if may_fail else {"type": "null"},
        },
        "required": ["ok", "body", "error"],
        "additionalProperties": False,
    }


def read_answer(
    draft: Draft, definition: Definition, judged: Judgement, value: dict[str, Json], *, state_errors: bool
) -> Exchange | str:
    """The exchange that an answer makes, or a complaint. A refusal for reasons of state is kept as context only."""
    convention = draft.instance.convention
    if value["ok"] == (value["error"] is not None):
        return "`ok` and `error` do not agree"
    if value["ok"]:
        if value["body"] is None and definition.returns is not None:
            return "`body` is missing"
        return Exchange(judged.call, answer(convention, definition, value["body"]), "teacher")
    said = value["error"]
    spec = next((spec for spec in definition.errors if spec.code == said["code"]), None)
    if not state_errors or spec is None:
        return "the call succeeds; answer with a body"
    error = ToolError(spec.code, spec.fault, spec.status, said["message"], said["field"])
    call = judge_gone(convention, definition, judged.call.arguments or {}, style=draft.style).call
    violates = (replace(call.violates[0], code=spec.code, fault=spec.fault, field=said["field"]),)
    return Exchange(replace(call, violates=violates), refuse(convention, error), "teacher", train=False)


def complain(draft: Draft, exchange: Exchange) -> str | None:
    """What the checks find in an exchange, alone or against those before it."""
    before = draft.exchanges if draft.kind == "session" else []
    session = _session(draft, (*before, exchange))
    scene = Scene(session, draft.instance, draft.definitions, None)
    at = len(before)
    found = [item for item in judge_scene(read_scene(scene, model_referees())) if item.at in (None, at)]
    return "; ".join(item.words for item in found[:3]) or None


def _directed(draft: Draft, definition: Definition, exchange: Exchange, rng: Random) -> Exchange:
    """The same exchange under a directive that code draws; a body that cannot degrade so is left as it is."""
    asked = Directive(rng.choice(DIRECTIVES), {}, rng.getrandbits(31))  # type: ignore[arg-type]
    directive = settle_directive(definition, exchange.response, asked)
    response = degrade(draft.instance.convention, definition, exchange.response, directive)
    unchanged = response == exchange.response
    return exchange if unchanged else replace(exchange, directive=directive, response=response, ops=())


def open_draft(
    instance: Instance,
    tools: Sequence[Tool],
    kind: Literal["single", "session"],
    seed: int,
    rng: Random,
    *,
    first: Tool | None,
) -> Draft:
    """A draft that shows three to eight tools, `first` before the others, which come in the order of the service."""
    others = [tool for tool in tools if tool is not first]
    n_shown = min(len(others), rng.randint(3, 8) - (first is not None))
    chosen = set(rng.sample(range(len(others)), n_shown))
    shown = ([first] if first else []) + [tool for at, tool in enumerate(others) if at in chosen]
    definitions = {tool.name: definition_of(tool) for tool in shown}
    return Draft(instance, definitions, kind, seed, rng.choice(sorted(CALLERS)))


def _session(draft: Draft, exchanges: tuple[Exchange, ...], level: str = "full") -> Session:
    texts = [(exchange.call.text, exchange.response.text) for exchange in exchanges]
    return Session(
        id=digest("session", draft.instance.id, draft.kind, draft.seed, list(draft.definitions), level, texts),
        kind=draft.kind,
        instance=draft.instance.id,
        tools=tuple(draft.definitions),
        exchanges=exchanges,
        level=level,
        seed=draft.seed,
        goal=draft.goal,
        made_from=tuple(definition.tool for definition in draft.definitions.values()),
    )


def close_draft(draft: Draft) -> Session:
    """The finished record; a level with less than everything is drawn where no label rests on the tools' own errors."""
    if not draft.exchanges:
        raise RecordError(f"{draft.kind} {draft.seed} of {draft.instance.service}: no call came of it")
    rng = Random(digest("level", draft.instance.id, draft.kind, draft.seed))
    drawn = rng.choices(("full", "no_errors", "no_returns", "bare"), (40, 20, 20, 20))[0]
    return _session(draft, tuple(draft.exchanges), "full" if draft.needs_errors else drawn)
