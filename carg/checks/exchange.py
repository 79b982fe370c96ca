"""Checks of an answer against its call, its definition and its directive."""

from __future__ import annotations

import orjson

from carg.checks.check import check
from carg.checks.views import FAILING, Turn, agrees, is_same, is_scalar, listed, plain
from carg.records import Json

_ECHOING = frozenset({"read", "create", "update"})


@check(recorded=False)
def body_conforms(turn: Turn) -> str | None:
    """The body of a success conforms to the tool's returns, unless a directive breaks its shape."""
    if not turn.body_faults:
        return None
    fault = turn.body_faults[0]
    return f"body: {fault.fault} at {fault.field!r}"


@check(recorded=False)
def answer_reads(turn: Turn) -> str | None:
    """The text of the answer reads back to its body or error code."""
    response, read = turn.exchange.response, turn.read
    if read is None:
        return None
    if isinstance(read, str):
        return f"the text cannot be read: {read}"
    if read.ok != response.ok:
        return f"the text reads as {'success' if read.ok else 'error'}, the record says otherwise"
    if response.ok and not is_same(read.body, response.body):
        return "the text has another body than the record"
    codes = (read.error and read.error.code, response.error and response.error.code)
    return f"the text has error code {codes[0]!r}, the record {codes[1]!r}" if codes[0] != codes[1] else None


@check(recorded=False)
def error_documented(turn: Turn) -> str | None:
    """The code of an error answer is documented with the tool or with the convention, unless a directive fails it."""
    error, directive = turn.exchange.response.error, turn.exchange.directive
    if error is None or (directive and directive.fault in FAILING):
        return None
    if turn.definition and any(item.code == error.code for item in turn.definition.errors):
        return None
    if error.code and error.code in turn.scene.instance.convention.documentation:
        return None
    return f"error code {error.code!r} is not documented"


@check(recorded=False)
def error_label(turn: Turn) -> str | None:
    """An invalid call gets an error, for its first fault; a valid one succeeds unless a directive fails it."""
    call, response, directive = turn.exchange.call, turn.exchange.response, turn.exchange.directive
    if directive and directive.fault in FAILING:
        return None
    if response.ok != (call.label == "valid"):
        return f"a call labelled {call.label} was answered with {'success' if response.ok else 'an error'}"
    if response.ok != (response.error is None) and not (directive and directive.fault == "truncated"):
        return "success and error do not agree"
    if response.error and call.violates and response.error.fault != call.violates[0].fault:
        return f"answered with {response.error.fault}, but {call.violates[0].fault} comes first"
    return None


@check(recorded=False)
def directive_obeyed(turn: Turn) -> str | None:
    """A directive shows in the answer: it fails, is cut, or lacks the field that it names."""
    directive, response = turn.exchange.directive, turn.exchange.response
    if directive is None:
        return None
    if directive.fault in FAILING and response.ok:
        return f"{directive.fault} was ordered, but the call succeeded"
    if directive.fault == "truncated" and _is_whole_json(response.text):
        return "truncated was ordered, but the text is whole"
    if not response.ok:
        return None
    missing, kept, stale = (directive.detail.get(name) for name in ("pointer", "kept", "body"))
    if directive.fault == "missing_field" and missing is not None and _points(response.body, missing):
        return f"{missing!r} was to be missing"
    if directive.fault == "partial" and kept is not None and len(listed(turn)) > kept:
        return f"{len(listed(turn))} records, but only {kept} were to be kept"
    if directive.fault == "stale" and stale is not None and not is_same(stale, response.body):
        return "another body than the stale one that was ordered"
    return None


def _is_whole_json(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict | list)
    except orjson.JSONDecodeError:
        return False


@check(recorded=False)
def echo(turn: Turn) -> str | None:
    """What a call names comes back in its success: the id that was asked for, the values that were written."""
    if not turn.ok or turn.effect not in _ECHOING or turn.degraded or len(turn.records) != 1:
        return None
    record_id, record = turn.records[0]
    if turn.effect != "create" and turn.subject is not None and turn.subject != record_id:
        return f"asked for {turn.subject!r}, answered with {record_id!r}"
    for name, value in record.items():
        given = turn.named.get(plain(name), value)
        if is_scalar(given) and is_scalar(value) and not agrees(given, value):
            return f"{name} was given as {given!r:.80}, answered as {value!r:.80}"
    return None


@check()
def invented_stand(turn: Turn) -> str | None:
    """Each value marked as invented stands in the body."""
    for pointer in turn.exchange.invented:
        if not _points(turn.exchange.response.body, pointer):
            return f"nothing at {pointer!r}"
    return None


def _points(value: Json, pointer: str) -> bool:
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:
            return False
    return True


@check()
def determined(turn: Turn) -> str | None:
    """A call that stands alone has a label that follows from what is shown; in a session it may be context."""
    alone = turn.scene.session.kind == "single"
    return "a single exchange whose label does not follow" if alone and not turn.exchange.train else None
