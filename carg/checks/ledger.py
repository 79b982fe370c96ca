"""What the earlier answers of a session told, and where a later answer contradicts it.

One pass over the turns serves four checks: a repeated read, a read after a write, a read after a delete, and any
other fact seen before. The pass knows nothing of a world. Where one stands behind the session (truth "code"), a
write may change derived values anywhere, so only what it wrote itself is still held to; execution judges the rest.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from carg.checks.views import READS, Turn, agrees, is_scalar, plain
from carg.records import Json, canonical

Key = tuple[str, str]
"""Resource and id of a record."""


@dataclass(slots=True)
class _Ledger:
    facts: dict[Key, dict[str, tuple[Json, str]]] = field(default_factory=lambda: defaultdict(dict))
    """Field -> (value, the check that a contradiction belongs to)."""
    answers: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    """Answers to reads since the last write."""
    deleted: set[Key] = field(default_factory=set)


def contradictions(turns: tuple[Turn, ...]) -> dict[str, str]:
    """The first contradiction for each of history, read_after_write, delete_then_read and repeat_read."""
    ledger, found = _Ledger(), dict[str, str]()
    for turn in turns:
        if turn.definition is None or turn.exchange.call.arguments is None:
            continue
        complaint = _step(ledger, turn)
        if complaint and complaint[0] not in found:
            found[complaint[0]] = f"turn {turn.index}: {complaint[1]}"
    return found


def _step(ledger: _Ledger, turn: Turn) -> tuple[str, str] | None:
    if turn.effect not in READS:
        complaint = _returns_from_dead(ledger, turn)
        _write(ledger, turn)
        return complaint
    if turn.degraded:
        return None
    call, response = turn.exchange.call, turn.exchange.response
    key = (call.tool or "", canonical(call.arguments))
    answer = canonical(response.body if response.ok else {"error": response.error and response.error.code})
    before = ledger.answers.setdefault(key, answer)
    if before != answer:
        return "repeat_read", "the same read got another answer, with no write between"
    return _returns_from_dead(ledger, turn) or _lost(ledger, turn) or _differs(ledger, turn)


def _returns_from_dead(ledger: _Ledger, turn: Turn) -> tuple[str, str] | None:
    if not turn.ok or turn.effect == "create" or turn.degraded:
        return None
    for record_id, _ in turn.records:
        if (_resource(turn), record_id) in ledger.deleted:
            return "delete_then_read", f"{record_id!r} was deleted, yet it is shown"
    if turn.subject and (_resource(turn), turn.subject) in ledger.deleted:
        return "delete_then_read", f"{turn.subject!r} was deleted, yet the call succeeds"
    return None


def _lost(ledger: _Ledger, turn: Turn) -> tuple[str, str] | None:
    """A record that was written is not found by a read of its id."""
    error = turn.exchange.response.error
    if turn.ok or error is None or error.fault != "state.not_found" or turn.subject is None:
        return None
    path = turn.definition.id_argument if turn.definition else None
    facts = ledger.facts.get((_resource(turn), turn.subject), {})
    if error.field not in (None, path) or not facts:
        return None
    origin = "read_after_write" if any(item[1] == "read_after_write" for item in facts.values()) else "history"
    return origin, f"{turn.subject!r} was there before, yet it is not found"


def _differs(ledger: _Ledger, turn: Turn) -> tuple[str, str] | None:
    for record_id, record in turn.records:
        facts = ledger.facts[_resource(turn), record_id]
        for name, value in record.items():
            known = facts.get(plain(name))
            if not is_scalar(value):
                continue
            if known is not None and not agrees(known[0], value):
                return known[1], f"{record_id!r} has {name} {value!r:.60}, before it was {known[0]!r:.60}"
            facts.setdefault(plain(name), (value, "history"))
    return None


def _write(ledger: _Ledger, turn: Turn) -> None:
    """Take up a write: what it may have changed is forgotten, what it wrote is held to."""
    if not turn.ok and not turn.degraded:
        return
    ledger.answers.clear()
    resource, subject = _resource(turn), turn.subject
    if turn.exchange.truth == "code" or turn.degraded:
        ledger.facts.clear()
    if turn.effect == "delete" and subject and turn.ok:
        ledger.deleted.add((resource, subject))
        ledger.facts.pop((resource, subject), None)
    if turn.effect == "action":
        named = {str(value) for value in turn.named.values() if isinstance(value, str | int)}
        for key in [key for key in ledger.facts if key[1] in named]:
            del ledger.facts[key]
    if turn.degraded or turn.effect == "delete":
        return
    for record_id, record in turn.records:
        ledger.deleted.discard((resource, record_id))
        written = {plain(name): value for name, value in record.items()}
        if turn.effect in ("create", "update"):
            written |= turn.named
        facts = ledger.facts[resource, record_id]
        facts |= {name: (value, "read_after_write") for name, value in written.items() if is_scalar(value)}


def _resource(turn: Turn) -> str:
    return (turn.definition.resource if turn.definition else None) or ""
