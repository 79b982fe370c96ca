"""Every record that carg writes: frozen, slotted, identified by a digest of its content.

Times, costs and attempts are never part of a record, so that the same seed gives the same bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

Json = Any
"""A JSON value: None, bool, int, float, str, list, dict with string keys."""

Effect = Literal["read", "search", "create", "update", "delete", "action", "compute"]
Label = Literal["valid", "invalid"]
Truth = Literal["code", "teacher", "recorded"]

FAULT_ORDER = (
    "call.unparsable",
    "tool.unknown",
    "schema.missing",
    "schema.unknown",
    "schema.type",
    "schema.enum",
    "schema.range",
    "schema.format",
    "rule.cross_field",
    "state.forbidden",
    "state.not_found",
    "state.order",
    "state.conflict",
    "rule.limit",
)
"""Classes of invalid calls. The first fault in this order is the one a tool reports."""

LOOKALIKES = ("ok.boundary", "ok.optional_omitted", "ok.reordered", "ok.empty_result")
"""Valid calls that look suspicious and must not be refused."""


def canonical(value: Json) -> bytes:
    """The one spelling of a JSON value: keys sorted, numbers that are whole written as integers."""
    return orjson.dumps(_plain_numbers(value), option=orjson.OPT_SORT_KEYS)


def _plain_numbers(value: Json) -> Json:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_numbers(item) for item in value]
    return value


def digest(*parts: object) -> str:
    """Sixteen hex digits of the sha256 over the parts; records and JSON values by their canonical form."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else orjson.dumps(part, option=orjson.OPT_SORT_KEYS))
        whole.update(b"\x1f")
    return whole.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ErrorSpec:
    """One error that a tool documents, with the predicate that makes it happen.

    `when` is one of {"schema": keyword, "at": JSON pointer}, {"rule": expression over arguments},
    {"state": expression or state rule}; None when unproved (never a label then).
    """

    code: str
    fault: str
    status: int
    message: str
    field: str | None = None
    when: dict[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Tool:
    """An operation that a service offers, as `expand` or `import` made it.

    `parameters` and `returns` are JSON Schema 2020-12. `binding` is what a world executes, or None.
    `id_argument`, `id_result` and `records_result` are dotted paths: the argument that names a record,
    the id in a body, the list of records in a body ("" is the whole body); None where there is none.
    """

    id: str
    domain: str
    service: str
    name: str
    title: str
    description: str
    parameters: dict[str, Json]
    returns: dict[str, Json] | None
    effect: Effect
    resource: str | None = None
    id_argument: str | None = None
    id_result: str | None = None
    records_result: str | None = None
    media: str = "json"
    errors: tuple[ErrorSpec, ...] = ()
    binding: dict[str, Json] | None = None
    variant_of: str | None = None
    variant: str | None = None
    origin: Literal["world", "model", "imported"] = "world"
    made_from: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """`domain/service/operation`: what stays the same while wording and schema change."""
        return f"{self.domain}/{self.service}/{self.name}"

    @property
    def annotations(self) -> dict[str, bool]:
        """The MCP hints that follow from the effect."""
        return {
            "readOnlyHint": self.effect in ("read", "search", "compute"),
            "destructiveHint": self.effect == "delete",
            "idempotentHint": self.effect in ("read", "search", "compute", "delete"),
        }


@dataclass(frozen=True, slots=True)
class Definition:
    """One draw of a tool, as an instance shows it: presented names, knobs filled in, some parameters tightened.

    `parameters` and `returns` describe arguments and body inside the convention's wrapping. The dotted paths
    are presented ones, as in Tool. `http` is (method, path with {parameter} slots). `inputs` maps each presented
    argument path to the name the world knows it by; `tightenings` are the ids of the draws a sibling can leave out.
    """

    tool: str
    """Id of the Tool."""
    key: str
    name: str
    title: str
    description: str
    parameters: dict[str, Json]
    returns: dict[str, Json] | None
    errors: tuple[ErrorSpec, ...]
    effect: Effect
    http: tuple[str, ...]
    resource: str | None = None
    id_argument: str | None = None
    id_result: str | None = None
    records_result: str | None = None
    media: str = "json"
    inputs: dict[str, str] = field(default_factory=dict)
    tightenings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Convention:
    """How one instance is called: a value for each factor (see `world.conventions.FACTORS`) and its documentation."""

    id: str
    factors: dict[str, Json]
    documentation: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One draw of a service: its convention, its knobs, and the seed its definitions are drawn from."""

    id: str
    domain: str
    category: str
    service: str
    seed: int
    convention: Convention
    tools: tuple[str, ...]
    """Ids of the tools it offers."""
    operations: tuple[str, ...] = ()
    """What a world executes for each of them, in the same order; empty without a world."""
    knobs: dict[str, Json] = field(default_factory=dict)
    domain_digest: str = ""
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """A grown opening state of an instance, stored once; sessions point to it."""

    id: str
    instance: str
    seed: int
    now: int
    """Seconds since 1970-01-01 UTC."""
    actor: dict[str, Json]
    tables: dict[str, dict[str, dict[str, Json]]]
    counters: dict[str, int]


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of a call: error code, class of FAULT_ORDER, and the parameter it stands at (dotted) or None."""

    code: str
    fault: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call as the tool receives it; `tool` and `arguments` are None where the text cannot be parsed."""

    text: str
    tool: str | None
    arguments: dict[str, Json] | None
    label: Label
    violates: tuple[Violation, ...] = ()
    mutation: str | None = None
    lookalike: str | None = None
    style: str = "plain"


@dataclass(frozen=True, slots=True)
class Directive:
    """An instruction, drawn by code, that makes a response fail or degrade."""

    fault: Literal["timeout", "rate_limit", "server_error", "truncated", "missing_field", "stale", "partial"]
    detail: dict[str, Json]
    seed: int


@dataclass(frozen=True, slots=True)
class ToolError:
    """The error a tool answers with, before a convention words it."""

    code: str
    fault: str
    status: int
    message: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """What the tool answers: `text` is exactly what the agent sees; body or error is what it means."""

    ok: bool
    text: str
    body: Json = None
    error: ToolError | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """One change of state: table, record id, and the record after (None: removed)."""

    table: str
    id: str
    record: dict[str, Json] | None


@dataclass(frozen=True, slots=True)
class Exchange:
    """Call and response, with what execution proved about them.

    `train` is false where the label does not follow from what the model can read: context only.
    `invented` are JSON pointers into the body whose values do not follow either.
    """

    call: Call
    response: Response
    truth: Truth
    train: bool = True
    directive: Directive | None = None
    ops: tuple[Op, ...] = ()
    invented: tuple[str, ...] = ()
    probe: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """Exchanges of one instance behind one system text: independent ones ("single") or over one state ("session").

    `view` says what of the opening state the model sees (`world.view`); `patch` changes the opening first;
    `siblings` maps an operation to the tightenings its shown definition leaves out; `pair` joins minimal pairs.
    """

    id: str
    kind: Literal["single", "session"]
    instance: str
    tools: tuple[str, ...]
    """Names of the tools shown, in order."""
    exchanges: tuple[Exchange, ...]
    level: str = "full"
    seed: int = 0
    opening: str | None = None
    patch: tuple[Op, ...] = ()
    view: dict[str, Json] = field(default_factory=dict)
    actor: dict[str, Json] = field(default_factory=dict)
    """Who calls: name, role, credential; empty: the opening's."""
    siblings: dict[str, list[str]] = field(default_factory=dict)
    pair: str | None = None
    goal: str | None = None
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """What a person asks for, and what answers it: `SelectionPair.query` before candidates are chosen for it."""

    id: str
    domain: str
    service: str
    text: str
    tools: tuple[str, ...]
    """Ids of the tools that answer it, in the order of their calls."""
    arguments: dict[str, Json]
    """Of the first call."""
    style: str = "plain"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a row; `train` is false where it is context only (and for all but assistants)."""

    role: Literal["system", "user", "assistant"]
    content: str
    train: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One rendered conversation: a line of a shard. `tool_definitions` and `meta` are JSON text."""

    id: str
    kind: str
    domain: str
    category: str
    service: str
    tool_names: tuple[str, ...]
    truth: str
    label: str
    messages: tuple[Message, ...]
    tool_definitions: str
    meta: str
