"""Checks of a whole session: its answers agree with each other, with what is shown, and with execution."""

from __future__ import annotations

import re
from functools import lru_cache

from carg.checks.check import check
from carg.checks.views import READS, Transcript, Turn, plain
from carg.comparing import compare_bodies
from carg.records import canonical

_WORD = re.compile(r"[\w.-]*\w")
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
_KNOWN_IDS = frozenset({"read", "search", "update", "delete"})
"""Effects that cannot bring new ids into being."""


@check()
def history(transcript: Transcript) -> str | None:
    """A fact that an earlier answer told, and nothing has written since, is still so."""
    return _contradiction(transcript, "history")


@check()
def read_after_write(transcript: Transcript) -> str | None:
    """A read after a write shows what was written."""
    return _contradiction(transcript, "read_after_write")


@check()
def delete_then_read(transcript: Transcript) -> str | None:
    """A deleted record is not shown again, and no call on it succeeds."""
    return _contradiction(transcript, "delete_then_read")


@check()
def repeat_read(transcript: Transcript) -> str | None:
    """The same read with no write between gets the same answer."""
    return _contradiction(transcript, "repeat_read")


def _contradiction(transcript: Transcript, name: str) -> str | None:
    """Calls behind one system text that do not share a state ("single") cannot contradict each other."""
    if transcript.scene.session.kind != "session":
        return None
    return transcript.contradictions.get(name)


@check(recorded=False)
def ids_known(transcript: Transcript) -> str | None:
    """Where all records are shown, a success speaks only of ids from the system text, the call or an earlier answer."""
    session = transcript.scene.session
    if transcript.row is None or session.view.get("mode") != "full":
        return None
    opening = _words(transcript.row.messages[0].content)
    later: set[str] = set()
    for turn in transcript.turns:
        later |= set(_WORD.findall(turn.exchange.call.text))
        if turn.ok and turn.effect in _KNOWN_IDS and not turn.degraded:
            for record_id, _ in turn.records:
                words = set(_WORD.findall(record_id))
                if words - later - opening:
                    return f"turn {turn.index}: unknown id {record_id!r}"
        if session.kind == "session":
            later |= set(_WORD.findall(turn.exchange.response.text))
        else:
            later.clear()
    return None


@lru_cache(maxsize=8)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text))


@check(recorded=False)
def time_monotone(transcript: Transcript) -> str | None:
    """No record is changed before it was made, and records made one after another bear times in that order."""
    last: dict[str, object] = {}
    for turn in transcript.turns:
        for record_id, record in turn.records:
            times = {plain(name): value for name, value in record.items()}
            made, changed = times.get("createdat"), times.get("updatedat")
            if _is_before(changed, made):
                return f"turn {turn.index}: {record_id!r} was updated at {changed!r}, created at {made!r}"
            if turn.effect == "create" and transcript.scene.session.kind == "session":
                if _is_before(made, last.get(turn.definition.name if turn.definition else "")):
                    return f"turn {turn.index}: {record_id!r} was created at {made!r}, after a later one"
                last[turn.definition.name if turn.definition else ""] = made
    return None


def _is_before(one: object, other: object) -> bool:
    """One time lies before the other; texts only where both are ISO dates of one length, so that they compare."""
    if isinstance(one, int) and isinstance(other, int):
        return one < other
    if isinstance(one, str) and isinstance(other, str) and len(one) == len(other):
        return bool(_ISO.match(one) and _ISO.match(other)) and one < other
    return False


@check(recorded=False)
def executed_truth(transcript: Transcript) -> str | None:
    """Executing every call again gives the same answers, letter for letter."""
    if not any(turn.exchange.truth == "code" for turn in transcript.turns):
        return None
    if transcript.replayed is None or len(transcript.replayed) != len(transcript.turns):
        return "it cannot be executed again"
    for turn, again in zip(transcript.turns, transcript.replayed, strict=True):
        response = turn.exchange.response
        if turn.exchange.truth == "code" and (again.ok, again.text) != (response.ok, response.text):
            return f"turn {turn.index}: execution answers {again.text!r:.80}, the record says {response.text!r:.80}"
    return None


@check(recorded=False)
def teacher_truth(transcript: Transcript) -> str | None:
    """A model's answers to calls of a world agree with execution in outcome, error code and determined values."""
    if transcript.replayed is None or not transcript.scene.instance.operations:
        return None
    for turn, true in zip(transcript.turns, transcript.replayed, strict=True):
        exchange, said = turn.exchange, turn.exchange.response
        if exchange.truth != "teacher" or not exchange.train or exchange.directive is not None:
            continue
        if (said.ok, said.error and said.error.code) != (true.ok, true.error and true.error.code):
            return f"turn {turn.index}: execution answers {true.text!r:.80}, the model {said.text!r:.80}"
        right, n_facts, _ = compare_bodies(true.body, said.body, exchange.invented)
        if right < n_facts:
            return f"turn {turn.index}: {n_facts - right} of {n_facts} determined values differ from execution"
    return None


@check(recorded=False)
def probes(transcript: Transcript) -> str | None:
    """Each probe has what it probes before it: the write, the delete, or the same read."""
    for turn in transcript.turns:
        kind = (turn.exchange.probe or "").replace("-", "_").partition(":")[0]
        if kind and not any(_prepares(kind, turn, earlier) for earlier in transcript.turns[: turn.index]):
            return f"turn {turn.index}: nothing before it to {kind}"
    return None


def _prepares(kind: str, turn: Turn, earlier: Turn) -> bool:
    if kind == "repeat_read":
        one, other = turn.exchange.call, earlier.exchange.call
        return one.tool == other.tool and canonical(one.arguments) == canonical(other.arguments)
    if earlier.effect in READS or not earlier.ok:
        return False
    if kind == "delete_then_read":
        return earlier.effect == "delete" and earlier.subject == turn.subject
    if kind == "read_after_write" and turn.effect == "read" and turn.subject is not None:
        touched = {earlier.subject, *(record_id for record_id, _ in earlier.records)}
        touched |= {op.id for op in earlier.exchange.ops}  # An action may make a record that nobody named.
        return turn.subject in touched | {str(value) for value in earlier.named.values()}
    return True


@check()
def row_tells(transcript: Transcript) -> str | None:
    """The rendered row holds each call and each answer as the record has them, and trains answers only."""
    if transcript.row is None:
        return None
    messages = transcript.row.messages
    if [item.role for item in messages] != ["system"] + ["user", "assistant"] * len(transcript.turns):
        return "the messages are not one system text, then a call and an answer for each turn"
    for turn in transcript.turns:
        said, answered = messages[2 * turn.index + 1 : 2 * turn.index + 3]
        if answered.content != turn.exchange.response.text or answered.train != turn.exchange.train:
            return f"turn {turn.index}: the row has another answer than the record"
        if said.train or (turn.exchange.directive is None and said.content != turn.exchange.call.text):
            return f"turn {turn.index}: the row has another call than the record"
    return None


@check()
def teaches(transcript: Transcript) -> str | None:
    """Some answer of the row is trained on: a row of mere context teaches nothing."""
    return None if any(turn.exchange.train for turn in transcript.turns) else "no answer is trained on"
