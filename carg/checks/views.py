"""What checks look at: one exchange (Turn) or a whole session (Transcript), with the costly work done once.

Each exchange is parsed once, validated once, read back once; each session is replayed once. The functions that
do so come in as `Referees`, so that a test can put simple ones in their place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import orjson

from carg.records import Convention, Definition, Exchange, Json, Response, Row, Violation, canonical
from carg.scene import Scene
from carg.world.shadow import at_path, subject_of
from carg.world.syntax import Parsed

SHAPE_BREAKERS = frozenset({"truncated", "missing_field", "partial"})
"""Directives after which a body need not fit `returns`, or says less than the state holds."""

FAILING = frozenset({"timeout", "rate_limit", "server_error"})
"""Directives that turn any call into an error."""

_MOMENT = re.compile(r"(\d{4})-?([01]\d)-?([0-3]\d)(?:[T ]?(\d\d):?(\d\d):?(\d\d).{0,6})?\Z")
_DAY_FIRST = re.compile(r"(?P<d>[0-3]\d)\.(?P<m>[01]\d)\.(?P<y>\d{4})\Z")
_MONTH_FIRST = re.compile(r"(?P<m>[01]\d)/(?P<d>[0-3]\d)/(?P<y>\d{4})\Z")
_NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?\Z")

READS = frozenset({"read", "search", "compute"})


@dataclass(frozen=True, slots=True)
class Referees:
    """What the checks ask of other layers.

    `replay(scene)` gives the responses of executing every call again, or None where no world stands behind it;
    `rule_holds(source, parameters, arguments)` whether a documented rule refuses them, None where it cannot tell.
    """

    parse_call: Callable[[Convention, str, dict[str, Definition]], Parsed]
    read_response: Callable[[Convention, str, Definition], Response]
    faults: Callable[[dict[str, Json], Json], tuple[Violation, ...]]
    replay: Callable[[Scene], list[Response] | None]
    rule_holds: Callable[[str, dict[str, Json], dict[str, Json]], bool | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange in its place, with what several checks need of it."""

    scene: Scene
    index: int
    exchange: Exchange
    definition: Definition | None
    """Of the tool that the record says was called; None where it is not among the shown tools."""
    parsed: Parsed
    """What the text of the call says: tool, arguments, fault."""
    faults: tuple[Violation, ...]
    """What the schema, else a proved rule, finds in the arguments; empty where there are none to judge."""
    body_faults: tuple[Violation, ...]
    read: Response | str | None
    """What the text of the answer says, or why it says nothing; None where nobody can tell."""
    named: dict[str, Json]
    """Arguments by their last name as `plain` spells it; a name that occurs twice is left out."""
    records: tuple[tuple[str, dict[str, Json]], ...]
    """(id, record) for each record that the answer shows."""

    @property
    def effect(self) -> str:
        return self.definition.effect if self.definition else ""

    @property
    def ok(self) -> bool:
        return self.exchange.response.ok

    @property
    def degraded(self) -> bool:
        return self.exchange.directive is not None

    @property
    def subject(self) -> str | None:
        """The id of the record that the call names, as text; None where it names none or several."""
        return subject_of(self.definition, self.exchange.call.arguments or {}) if self.definition else None


@dataclass(frozen=True, slots=True)
class Transcript:
    """All turns of a session, what executing it again answered, and the row it is rendered to (None: not rendered)."""

    scene: Scene
    turns: tuple[Turn, ...]
    replayed: list[Response] | None
    row: Row | None
    contradictions: dict[str, str]
    """What `ledger` found: the check a contradiction belongs to, and where it stands."""


def shown_records(definition: Definition, body: Json, id_keys: dict[str, str]) -> Iterator[tuple[str, dict[str, Json]]]:
    """(id, record) of the record or the list of records that a body holds, where their ids can be found."""
    key = (definition.id_result or "").rpartition(".")[2] or id_keys.get(definition.resource or "", "id")
    if definition.records_result is not None:
        items = at_path(body, definition.records_result)
        found = items if isinstance(items, list) else []
    else:
        found = [at_path(body, (definition.id_result or "").rpartition(".")[0])]
    for record in found:
        if isinstance(record, dict) and isinstance(record.get(key), str | int):
            yield str(record[key]), record


def listed(turn: Turn) -> list[dict[str, Json]]:
    """The records of the list that a success shows."""
    if turn.definition is None or turn.definition.records_result is None or not turn.ok:
        return []
    items = at_path(turn.exchange.response.body, turn.definition.records_result)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def by_last_name(arguments: dict[str, Json], inputs: Mapping[str, str]) -> dict[str, Json]:
    """Scalars and lists among the arguments by their plain last name, those with a unique one.

    Where `inputs` says which paths are parameters, the parts of an object that is one of them are left out: a contact's
    name is not the name of the record.
    """
    if inputs:
        places = ((path.rpartition(".")[2], at_path(arguments, path)) for path in inputs)
        return {plain(name): value for name, value in places if value is not None and not isinstance(value, dict)}
    found: dict[str, Json] = {}
    twice: set[str] = set()
    stack = [arguments]
    while stack:
        for name, value in stack.pop().items():
            if isinstance(value, dict):
                stack.append(value)
                continue
            last = plain(name.rpartition(".")[2])
            if last in found:
                twice.add(last)
            found[last] = value
    return {name: value for name, value in found.items() if name not in twice} if twice else found


@lru_cache(maxsize=20_000)
def plain(name: str) -> str:
    """A name without case and joints, so that pageSize, page_size and page-size are one."""
    return "".join(letter for letter in name if letter.isalnum()).lower()


def leaves(value: Json) -> Iterator[tuple[str, Json]]:
    """(last name, scalar) for each scalar in a JSON value; items of a list go by the name of the list."""
    stack: list[tuple[str, Json]] = [("", value)]
    while stack:
        name, item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item.items())
        elif isinstance(item, list):
            stack.extend((name, part) for part in item)
        else:
            yield name, item


def is_same(one: Json, other: Json) -> bool:
    """Equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if type(one) is type(other) and isinstance(one, str | int | bool | type(None)):
        return bool(one == other)
    return orjson.dumps(one) == orjson.dumps(other) or canonical(one) == canonical(other)


def agrees(one: Json, other: Json) -> bool:
    """The two scalars can be one value written in two styles: 4.5 and "4.50", 2024-05-03 and 20240503."""
    if is_same(one, other):
        return True
    left, right = rank(one), rank(other)
    if left is None or right is None or "text" in (left[0], right[0]):
        return False
    if left[0] != right[0]:
        return True  # A date in seconds since 1970 and one in words: too many styles to tell.
    shared = min(len(left[1]), len(right[1]))
    return left[1][:shared] == right[1][:shared]


def rank(value: Json) -> tuple[str, tuple[float | str, ...]] | None:
    """(kind, what to compare by) of a number, a date in any style, or a text; None for other values."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        return "number", (float(value),)
    if found := _MOMENT.match(value):
        return "date", tuple(float(part) for part in found.groups() if part)
    if found := _DAY_FIRST.match(value) or _MONTH_FIRST.match(value):
        parts = found.groupdict()
        return "date", (float(parts["y"]), float(parts["m"]), float(parts["d"]))
    return ("number", (float(value),)) if _NUMBER.match(value) else ("text", (value.casefold(),))


def is_scalar(value: Json) -> bool:
    return not isinstance(value, dict | list)
