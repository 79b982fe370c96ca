"""Checks of a call: its text, its arguments and its label."""

from __future__ import annotations

from carg.checks.check import check
from carg.checks.views import Turn, is_same
from carg.records import FAULT_ORDER, LOOKALIKES, Violation

_RANK = {fault: rank for rank, fault in enumerate(FAULT_ORDER)}
_BY_ARGUMENTS = _RANK["rule.cross_field"]
"""Classes before this one are decided by the text and the schema alone."""


@check()
def parses(turn: Turn) -> str | None:
    """The text of the call parses back to its tool and arguments, unless it is labelled unparsable."""
    call, parsed = turn.exchange.call, turn.parsed
    if call.violates and call.violates[0].fault == "call.unparsable":
        return None
    if parsed.tool != call.tool:
        return f"the text calls {parsed.tool!r}, the record says {call.tool!r}"
    if not is_same(parsed.arguments, call.arguments):
        return f"the text has arguments {parsed.arguments!r:.200}, the record {call.arguments!r:.200}"
    return None


@check()
def arguments_conform(turn: Turn) -> str | None:
    """The arguments of a valid call conform to the tool's parameters."""
    if turn.exchange.call.label != "valid" or not turn.faults:
        return None
    return f"valid by its label, but {_say(turn.faults[0])}"


@check()
def label_agrees(turn: Turn) -> str | None:
    """The label and the first fault of a call are those that parser, schema and proved rules find."""
    call = turn.exchange.call
    if (call.label == "valid") != (not call.violates):
        return f"labelled {call.label} with {len(call.violates)} faults"
    if call.lookalike is not None and (call.lookalike not in LOOKALIKES or call.violates):
        return f"look-alike {call.lookalike!r} on a call labelled {call.label}"
    if call.label == "valid":
        unread = _fault_of(turn) == "call.unparsable" or turn.definition is None
        return "labelled valid, but it calls no tool that is shown" if unread else None
    claimed, found = call.violates[0], _found(turn)
    if found is None:
        by_world = claimed.fault == "schema.format" and turn.scene.instance.domain_digest  # 31 February
        decided = _RANK.get(claimed.fault, -1) < _BY_ARGUMENTS and not by_world
        return f"labelled {claimed.fault}, but nothing is wrong with text and arguments" if decided else None
    if claimed.fault != found.fault:
        return f"labelled {claimed.fault}, but {_say(found)} comes first"
    if claimed.field and found.field and claimed.field != found.field:
        return f"{claimed.fault} labelled at {claimed.field!r}, found at {found.field!r}"
    return None


def _found(turn: Turn) -> Violation | None:
    """The first fault that text and schema prove, None where they prove none."""
    if _fault_of(turn) == "call.unparsable":
        return Violation("", "call.unparsable")
    if turn.definition is None:
        return Violation("", "tool.unknown")
    return turn.faults[0] if turn.faults else None


def _fault_of(turn: Turn) -> str:
    """The class of fault that the parser found, however it words it."""
    return turn.parsed.fault.fault if turn.parsed.fault else ""


def _say(fault: Violation) -> str:
    return f"{fault.fault} at {fault.field!r}" if fault.field else fault.fault
