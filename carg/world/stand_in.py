"""Answers for bare tool lists with no model at all: likely values that fit `returns`, true to call and shadow store.

What a call says comes back, what was created is found again, what was deleted is gone, a search shows what is known.
Nothing is plausible beyond that; `respond` by a model or a GTM is.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from carg.fill import fill
from carg.records import Convention, Definition, Exchange, Json, Response
from carg.schemas import is_valid
from carg.world.refusing import judge_call, judge_gone
from carg.world.shadow import Shadow, at_path, subject_of
from carg.world.wording import answer, refuse

_REMEMBERING = ("read", "create", "update", "delete", "action")


def stand_in(
    convention: Convention, definition: Definition, arguments: dict[str, Json], shadow: Shadow, rng: Random
) -> Exchange:
    """Call and answer; `shadow` takes up what was answered. Raises RecordError where `returns` accepts nothing."""
    judged = judge_call(convention, definition, arguments)
    if judged.error is None and shadow.knows(definition, arguments) is False:
        judged = judge_gone(convention, definition, arguments)
    if judged.error is not None:
        return Exchange(judged.call, refuse(convention, judged.error), "teacher")
    said = judged.call.arguments or {}
    body = make_body(definition, said, shadow, rng)
    response: Response = answer(convention, definition, body)
    return Exchange(judged.call, response, "teacher", ops=shadow.take(definition, said, response.body))


def make_body(definition: Definition, arguments: dict[str, Json], shadow: Shadow, rng: Random) -> Json:
    """The body of a success, which the shadow store has not taken up yet."""
    returns = definition.returns
    if returns is None:
        return {}
    body = fill(returns, rng, optional=0.7)
    if definition.records_result is not None:
        path = definition.records_result
        known = shadow.tables.get(definition.resource or "", {}).values()
        found = [record for record in known if record is not None and _matches(record, arguments)]
        return next((put for put in (_put(body, path, found), _put(body, path, [])) if is_valid(returns, put)), body)
    if definition.effect not in _REMEMBERING:
        return body
    parent, _, key = (definition.id_result or "").rpartition(".")
    subject = subject_of(definition, arguments)
    facts = dict((shadow.tables.get(definition.resource or "", {}).get(subject or "") or {}) | arguments)
    if subject is not None and definition.id_argument is not None and key:
        facts[key] = at_path(arguments, definition.id_argument)
    record = at_path(body, parent)
    for name in record if isinstance(record, dict) else ():
        if name in facts and is_valid(returns, changed := _put(body, f"{parent}.{name}".lstrip("."), facts[name])):
            body = changed
    return body


def _matches(record: Mapping[str, Json], arguments: Mapping[str, Json]) -> bool:
    """Every argument that names a field of the record has its value."""
    return all(record[name] == value for name, value in arguments.items() if name in record)


def _put(value: Json, path: str, item: Json) -> Json:
    """The value with another item at a dotted path; the empty path is the whole."""
    if not path:
        return item
    head, _, rest = path.partition(".")
    return {**value, head: _put(value.get(head, {}), rest, item)} if isinstance(value, dict) else value
