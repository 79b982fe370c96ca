"""A whole session in one answer of a model, the cheaper mode: goal, calls and responses at once.

Nothing is believed more than step by step: code judges each call and writes each refusal, every answer must fit the
tool's schema and pass the checks against the steps before. At the first step that does not, the session is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from carg.asking import Ask
from carg.errors import RecordError
from carg.records import Instance, Json, Session, Tool, digest
from carg.replies import schema_complaint
from carg.stages.answer import (
    CALLERS,
    Draft,
    add_answer,
    add_refusal,
    answer_schema,
    close_draft,
    complain,
    open_draft,
    read_answer,
    settle,
)
from carg.stages.telling import show_definition

LEAST = 2
"""Steps of a session; with fewer sound ones than this, or than half of those asked for, the model is asked again."""


async def write_whole(instance: Instance, tools: Sequence[Tool], ask: Ask, *, seed: int, n_exchanges: int) -> Session:
    """A session of 2 to `n_exchanges` exchanges, written in one answer.

    Raises RecordError when none of its calls can be worded, and what `ask` raises.
    """
    drafts: list[Draft] = []

    def open_anew() -> tuple[Draft, Random]:
        rng = Random(digest("session", instance.id, seed))
        return open_draft(instance, tools, "session", seed, rng, first=None), rng

    def check(value: Json) -> str | None:
        draft, rng = open_anew()
        draft.goal = value["goal"]
        complaint = _take(draft, value["steps"][:n_exchanges], rng)
        drafts[:] = [draft]
        if len(draft.exchanges) >= max(LEAST, n_exchanges // 2):
            return None
        return complaint or f"only {len(draft.exchanges)} steps; write {n_exchanges}"

    draft, _ = open_anew()
    variables = {
        "documentation": instance.convention.documentation,
        "definitions": [show_definition(definition) for definition in draft.definitions.values()],
        "caller": f"{draft.style}: {CALLERS[draft.style]}",
        "n_exchanges": n_exchanges,
    }
    await ask("whole", variables, sample=seed, check=check)
    return close_draft(drafts[0])


def _take(draft: Draft, steps: Sequence[dict[str, Json]], rng: Random) -> str | None:
    """Adds the steps that are sound to the draft; what is wrong with the first that is not, None where all are."""
    for number, step in enumerate(steps, start=1):
        try:
            said = _take_step(draft, step, rng)
        except RecordError as fault:
            said = fault.message
        if said is not None:
            return f"step {number}: {said}"
    return None


def _take_step(draft: Draft, step: dict[str, Json], rng: Random) -> str | None:
    definition = draft.definitions.get(step["tool"])
    if definition is None:
        return f"there is no tool {step['tool']!r}, only {', '.join(draft.definitions)}"
    judged = settle(draft, definition, step["arguments"])
    if judged.error is not None:
        add_refusal(draft, judged)
        # What comes after was written for an answer that was never given.
        return f"the call is refused: {judged.error.message}" if step["ok"] else None
    state_errors = draft.shadow.knows(definition, step["arguments"]) is True
    reply = {key: step[key] for key in ("ok", "body", "error")}
    if said := schema_complaint(answer_schema(definition, errors=state_errors), reply):
        return said
    exchange = read_answer(draft, definition, judged, reply, state_errors=state_errors)
    if isinstance(exchange, str):
        return exchange
    if said := complain(draft, exchange):
        return said
    add_answer(draft, definition, exchange, rng)
    return None
