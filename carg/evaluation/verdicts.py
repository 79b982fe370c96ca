"""What one answer is worth: the measures of an evaluation, from the item and the text alone.

A measure is (points, of how many); where it does not apply it is left out. Values that do not follow from what the
model can read are judged for form only. `MEASURES` says what each means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from carg.checks import Complaint, judge_scene, read_scene
from carg.checks.exchange import directive_obeyed
from carg.checks.reading import live_referees
from carg.checks.views import FAILING, SHAPE_BREAKERS, Referees, Transcript
from carg.comparing import compare_bodies, is_covered, leaves
from carg.errors import RecordError
from carg.evaluation.items import Item, read_answer
from carg.records import Json, Response, canonical
from carg.schemas import is_valid

MEASURES = {
    "format": "readable under the convention (all but answers that a directive cuts)",
    "schema": "of answers under shown `returns`: an error, or a body that fits them",
    "recall": "invalid calls answered with an error",
    "false_alarms": "valid calls answered with an error: lower is better",
    "code": "of detected faults: the true error code",
    "field": "of detected faults: the true parameter",
    "facts": "determined values of true bodies that came out the same",
    "bodies": "true bodies with all determined values right and nothing added",
    "probes": "reads after writes, after deletes and again: answered truly",
    "agrees": "answers in sessions that contradict nothing answered before",
    "obeys": "directives obeyed",
    "truth": "answers that agree with the truth in all that is determined: outcome, code, field, body, directive",
    "exact": "answers equal to the true text, letter for letter",
    "keys": "keys of true bodies shared with the answer's: Jaccard index",
}
LOWER_IS_BETTER = ("false_alarms",)
_CONTRADICTIONS = frozenset({"history", "read_after_write", "delete_then_read", "repeat_read"})
_OF_RECORDS = frozenset({"executed_truth", "error_label", "probes"})
"""Checks of what a record says beside its text: an answer has none of it."""
_WORD = re.compile(r"[\w-]+")

Scores = dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The measures of one answer, and the checks that complain."""

    scores: Scores
    complaints: tuple[str, ...]


def judge(item: Item, text: str) -> Verdict:
    """The verdict on a text as the answer to an item; an empty text is a wrong answer.

    So is one that cannot be judged, as where two validators disagree on a body that is nearly sound.
    """
    try:
        return _judge(item, text)
    except RecordError as fault:
        verdict = _judge(item, "")
        return replace(verdict, complaints=(*verdict.complaints, fault.message[:60]))


def _judge(item: Item, text: str) -> Verdict:
    read = read_answer(item.scene, text, item.definition)
    response = read or Response(False, text)
    transcript = _transcript(item, response)
    complaints = tuple(found.check for found in _complaints(transcript, item))
    scores: Scores = {"exact": _point(text == item.exchange.response.text)}
    directive = item.exchange.directive
    if directive is None:
        scores |= _detection(item, read)
        if _has_past(item):
            scores["agrees"] = _point(read is not None and not _CONTRADICTIONS & set(complaints))
    else:
        scores["obeys"] = _point(_obeys(item, transcript, read))
    if directive is None or directive.fault != "truncated":
        scores["format"] = _point(read is not None)
        fits = _fits(item, read)
        if fits is not None:
            scores["schema"] = _point(fits)
        if item.wanted.ok:
            scores |= _body_scores(item, response)
    scores["truth"] = _point(_is_true(item, read, scores))
    if item.exchange.probe is not None:
        scores["probes"] = scores["truth"]
    return Verdict(scores, complaints)


def _point(holds: bool) -> tuple[float, float]:
    return float(holds), 1.0


def _has_past(item: Item) -> bool:
    return item.scene.session.kind == "session" and item.number > 0


def _transcript(item: Item, response: Response) -> Transcript:
    """The session as it would be with this answer: true ones before it, nothing after."""
    session = item.scene.session
    past = session.exchanges[: item.number] if _has_past(item) else ()
    said = replace(item.exchange, response=response, invented=(), ops=(), truth="teacher")
    return read_scene(replace(item.scene, session=replace(session, exchanges=(*past, said))), _referees())


def _referees() -> Referees:
    return replace(live_referees(), replay=lambda _scene: None)


def _complaints(transcript: Transcript, item: Item) -> Iterable[Complaint]:
    """What the checks find in the answer, or in the session with it; the turns before it are true."""
    last = len(transcript.turns) - 1
    broken = item.exchange.directive is not None and item.exchange.directive.fault == "truncated"
    found = judge_scene(transcript) if not broken else []
    return [one for one in found if one.at in (None, last) and one.check not in _OF_RECORDS]


def _detection(item: Item, read: Response | None) -> Scores:
    refused = read is not None and not read.ok
    if item.exchange.call.label == "valid":
        return {"false_alarms": _point(refused)}
    scores = {"recall": _point(refused)}
    if refused and read is not None and read.error is not None and item.wanted.error is not None:
        scores["code"] = _point(read.error.code == item.wanted.error.code)
        scores["field"] = _point(read.error.field == item.wanted.error.field)
    return scores


def _obeys(item: Item, transcript: Transcript, read: Response | None) -> bool:
    directive, turn = item.exchange.directive, transcript.turns[-1]
    assert directive is not None
    if not turn.exchange.response.text.strip() or directive_obeyed(turn) is not None:
        return False
    if directive.fault == "truncated":
        # A cut answer of plain text may still read as one, if the true one does.
        return read is None or read_answer(item.scene, item.exchange.response.text, item.definition) is not None
    if read is None:
        return False
    if directive.fault not in FAILING:
        return True
    return (read.error and read.error.code) == (item.wanted.error and item.wanted.error.code)


def _fits(item: Item, read: Response | None) -> bool | None:
    directive = item.exchange.directive
    broken = directive is not None and directive.fault in SHAPE_BREAKERS
    if item.definition is None or item.definition.returns is None or not item.shows_returns or broken:
        return None
    return read is not None and (not read.ok or is_valid(item.definition.returns, read.body))


def _is_true(item: Item, read: Response | None, scores: Mapping[str, tuple[float, float]]) -> bool:
    if not all(scores.get(name, (1, 1))[0] for name in ("obeys", "format", "schema", "bodies")):
        return False
    if item.exchange.directive is not None and item.exchange.directive.fault == "truncated":
        return True
    if read is None:
        return False
    error, wanted = read.error, item.wanted.error
    return (error and (error.code, error.field)) == (wanted and (wanted.code, wanted.field))


def _body_scores(item: Item, response: Response) -> Scores:
    true, said = item.wanted.body, response.body if response.ok else None
    is_rounded = item.definition is not None and item.definition.effect == "compute"
    scores: Scores = {"keys": (_shared_keys(true, said), 1.0)}
    if item.shows_returns or item.definition is None:
        right, n_facts, whole = compare_bodies(true, said, item.invented, is_rounded=is_rounded)
    else:
        right, n_facts = _compare_by_key(item, true, said)
        whole = right == n_facts
    if n_facts:
        scores["facts"] = float(right), float(n_facts)
        scores["bodies"] = _point(whole and response.ok)
    return scores


def _compare_by_key(item: Item, true: Json, said: Json) -> tuple[int, int]:
    """The same without `returns`: values whose key the model could read, wherever they stand in the answer."""
    known = {word for said_ in item.messages for word in _WORD.findall(said_["content"])}
    covers = set(item.invented)
    given: dict[str, set[bytes]] = {}
    for place, value in leaves(said, ""):
        given.setdefault(_key(place), set()).add(canonical(value))
    wanted = [
        (_key(place), canonical(value))
        for place, value in leaves(true, "")
        if _key(place) in known and not is_covered(place, covers)
    ]
    return sum(value in given.get(key, ()) for key, value in wanted), len(wanted)


def _key(place: str) -> str:
    """The last name in a pointer; items of a list go by the name of the list."""
    return next((step for step in reversed(place.split("/")) if not step.isdigit()), "")


def _shared_keys(true: Json, said: Json) -> float:
    one, other = (
        {"/".join(step for step in place.split("/") if not step.isdigit()) for place, _ in leaves(body, "")}
        for body in (true, said)
    )
    return len(one & other) / len(one | other)
