"""What checks look at: one exchange (Turn) or a whole session (Transcript), with the costly work done once.

Each exchange is parsed once, validated once, read back once; each session is replayed once. The functions that
do so come in as `Referees`, so that a test can put simple ones in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from carg.records import Convention, Definition, Exchange, Json, Response, Row, Violation, canonical
from carg.scene import Scene

SHAPE_BREAKERS = frozenset({"truncated", "missing_field", "partial"})
"""Directives after which a body need not fit `returns`, or says less than the state holds."""

FAILING = frozenset({"timeout", "rate_limit", "server_error"})
"""Directives that turn any call into an error."""

READS = frozenset({"read", "search", "compute"})


@dataclass(frozen=True, slots=True)
class Referees:
    """What the checks ask of other layers.

    `parse_call(convention, text, definitions)` gives an object with tool, arguments and fault;
    `read_response(convention, text, definition)` a Response; `faults(schema, value)` the schema violations;
    `replay(scene)` the responses of executing every call again, or None where no world stands behind it;
    `rule_holds(definition, when, arguments)` whether a documented predicate over arguments fires, None if unproved.
    """

    parse_call: Callable[[Convention, str, dict[str, Definition]], Any]
    read_response: Callable[[Convention, str, Definition], Response]
    faults: Callable[[dict[str, Json], Json], tuple[Violation, ...]]
    replay: Callable[[Scene], list[Response] | None]
    rule_holds: Callable[[Definition, dict[str, Json], dict[str, Json]], bool | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange in its place, with what several checks need of it."""

    scene: Scene
    index: int
    exchange: Exchange
    definition: Definition | None
    """Of the tool that the record says was called; None where it is not among the shown tools."""
    parsed: Any
    """What the text of the call says: tool, arguments, fault."""
    faults: tuple[Violation, ...]
    """What the schema, else a proved rule, finds in the arguments; empty where there are none to judge."""
    body_faults: tuple[Violation, ...]
    read: Response | None
    """What the text of the answer says; None where the tool is unknown or a directive cut the text."""
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
        path = self.definition.id_argument if self.definition else None
        value = find(self.exchange.call.arguments, path) if path is not None else None
        return str(value) if isinstance(value, str | int) else None


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
    key = (definition.id_result or "").rpartition(".")[2] or id_keys.get(definition.resource or "", "")
    if definition.records_result is not None:
        items = find(body, definition.records_result)
        found = items if isinstance(items, list) else []
    else:
        found = [find(body, (definition.id_result or "").rpartition(".")[0])]
    for record in found:
        if isinstance(record, dict) and isinstance(record.get(key), str | int):
            yield str(record[key]), record


def find(value: Json, path: str) -> Json:
    """The value at a dotted path, None where there is none; the empty path is the whole."""
    for step in path.split(".") if path else ():
        value = value.get(step) if isinstance(value, dict) else None
    return value


def by_last_name(arguments: dict[str, Json]) -> dict[str, Json]:
    """Scalars and lists among the arguments by their plain last name, those with a unique one."""
    found: dict[str, Json] = {}
    twice: set[str] = set()
    stack = [arguments]
    while stack:
        for name, value in stack.pop().items():
            if isinstance(value, dict):
                stack.append(value)
                continue
            if plain(name) in found:
                twice.add(plain(name))
            found[plain(name)] = value
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
    return canonical(one) == canonical(other)


def is_scalar(value: Json) -> bool:
    return not isinstance(value, dict | list)
