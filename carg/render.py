"""The one place that turns a session into messages: for training, evaluation and serving alike.

system: rules, convention, the shown tools, who calls and when, the opening state. user: one call, with its directive if
there is one. assistant: the response exactly as an agent would see it. No torch here; ids and masks are `gtm.tokens`'.
"""

from __future__ import annotations

import orjson

from carg.records import Definition, Directive, ErrorSpec, Exchange, Json, Message, Row, digest
from carg.scene import Scene
from carg.world.replay import service_of
from carg.world.state import State
from carg.world.view import patch_tables, show_view, view_of

RULES = (
    "You are the service below. Each user message is one call of a tool; answer exactly as the service would, with "
    "nothing before or after. Check calls in this order: can it be read, is the tool known, do the arguments fit the "
    "parameters, rules over arguments, permission, existence, then the other rules as listed; report the first fault. "
    "Keep to the state and to what was answered before; what neither tells, invent and keep to. "
    "A message with a directive says how the answer must fail or degrade."
)


def render_row(scene: Scene) -> Row:
    """The row of a session: its messages, `train` on the answers that are determined, and what a trainer may ask."""
    session, instance = scene.session, scene.instance
    definitions = tuple(scene.definitions.values())
    shown = [definition_text(item, session.level) for item in definitions]
    messages = [Message("system", _system_text(scene, shown), False)]
    for exchange in session.exchanges:
        messages.append(Message("user", user_text(exchange.call.text, exchange.directive), False))
        messages.append(Message("assistant", exchange.response.text, exchange.train))
    labels = {exchange.call.label for exchange in session.exchanges}
    truths = {exchange.truth for exchange in session.exchanges}
    return Row(
        id=digest("row", session.id),
        kind=session.kind,
        domain=instance.domain,
        category=instance.category,
        service=instance.service,
        tool_names=tuple(definition.name for definition in definitions),
        truth=truths.pop() if len(truths) == 1 else "teacher",
        label=labels.pop() if len(labels) == 1 else "mixed",
        messages=tuple(messages),
        tool_definitions=f"[{','.join(shown)}]",
        meta=orjson.dumps(_meta(scene)).decode(),
    )


def _meta(scene: Scene) -> dict[str, Json]:
    session = scene.session
    return {
        "session": session.id,
        "instance": session.instance,
        "opening": session.opening,
        "syntax": scene.instance.convention.factors.get("syntax"),
        "level": session.level,
        "view": session.view.get("mode", "none"),
        "pair": session.pair,
        "goal": session.goal,
        "tools": [definition.key for definition in scene.definitions.values()],
        "exchanges": [_exchange_meta(exchange, scene) for exchange in session.exchanges],
    }


def _exchange_meta(exchange: Exchange, scene: Scene) -> dict[str, Json]:
    violation = exchange.call.violates[0] if exchange.call.violates else None
    definition = scene.definitions.get(exchange.call.tool or "")
    return {
        "tool": definition.key if definition is not None else None,
        "label": exchange.call.label,
        "fault": violation.fault if violation else None,
        "field": violation.field if violation else None,
        "mutation": exchange.call.mutation,
        "lookalike": exchange.call.lookalike,
        "style": exchange.call.style,
        "directive": exchange.directive.fault if exchange.directive else None,
        "probe": exchange.probe,
        "ok": exchange.response.ok,
        "train": exchange.train,
        "invented": list(exchange.invented),
    }


def user_text(call: str, directive: Directive | None = None) -> str:
    """A user turn: the call as it came, or call and directive as JSON."""
    if directive is None:
        return call
    shown = {"fault": directive.fault, **{key: value for key, value in directive.detail.items() if key != "body"}}
    if "body" in directive.detail:
        shown["body"] = directive.detail["body"]
    return orjson.dumps({"call": call, "directive": shown}).decode()


def system_text(scene: Scene) -> str:
    """The system turn; what changes least comes first, so that a server's prefix cache hits."""
    return _system_text(scene, [definition_text(item, scene.session.level) for item in scene.definitions.values()])


def _system_text(scene: Scene, shown: list[str]) -> str:
    session, instance = scene.session, scene.instance
    parts = [RULES, f"# Convention\n{instance.convention.documentation}", "# Tools\n" + "\n".join(shown)]
    if scene.opening is not None:
        parts += _state_parts(scene)
    elif session.view.get("state"):
        parts.append(f"# State\n{session.view['state']}")
    return "\n\n".join(parts)


def _state_parts(scene: Scene) -> list[str]:
    session, opening = scene.session, scene.opening
    assert opening is not None
    service = service_of(scene.instance)
    actor = session.actor or opening.actor
    surface = service.surface
    who = f"{actor['name']}, role {actor['role']}"
    if scene.instance.convention.factors["auth"] != "none":
        who += f", named {actor['credential']} in calls"
    made = [f"# Now\n{surface.show_moment('time', opening.now)}; calls come from {who}."]
    tables = patch_tables(opening.tables, session.patch)
    state = State(tables, opening.now, opening.counters)
    shown = show_view(surface, state, service.touched, view_of(session.view))
    if shown:
        made.append(f"# State\n{shown}")
    return made


def definition_text(definition: Definition, level: str) -> str:
    """A definition as a line of JSON."""
    return orjson.dumps(show_definition(definition, level)).decode()


def show_definition(definition: Definition, level: str) -> dict[str, Json]:
    """A definition as a row shows it: level full, no_errors, no_returns, or bare (name, description, parameters)."""
    shown: dict[str, Json] = {"name": definition.name, "description": definition.description}
    if definition.http:
        shown["http"] = " ".join(definition.http)
    shown["parameters"] = definition.parameters
    if level in ("full", "no_errors") and definition.returns is not None:
        shown["returns"] = definition.returns
    if level in ("full", "no_returns") and definition.errors:
        shown["errors"] = [_show_error(spec) for spec in definition.errors]
    return shown


def _show_error(spec: ErrorSpec) -> dict[str, Json]:
    shown: dict[str, Json] = {"code": spec.code, "status": spec.status, "message": spec.message}
    if spec.field is not None:
        shown["field"] = spec.field
    if spec.when is not None:
        shown["when"] = next(iter(spec.when.values()))
    return shown
