"""What an execution comes to: a body or a refusal, the changes, and a trace of all that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.world.model import Template
from carg.world.state import Change, Frame, Read

Reads = tuple[Read, ...]
UNKNOWN: Reads = (("", None, None),)
"""Reads of what nobody can see: the value was drawn, not computed."""


def reference_read(name: str) -> Read:
    """The read of a whole reference table, which no resource can be named like."""
    return (f"#{name}", None, None)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who calls: a name and a role."""

    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Rec:
    """A record in a body, not yet presented."""

    resource: str
    id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call was refused. `detail` holds what wordings need: id, resource, role."""

    code: str
    fault: str
    status: int
    field: str | None
    words: Template | None = None
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    detail: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(slots=True)
class Trace:
    """What an execution read and wrote.

    All reads are of the state before. `label`: what decided between success and this refusal; `writes`: (table, id,
    field) that was, or with other reads might have been, written (id None: that of any record), and what its value
    rests on; `deleted` likewise, with `cascades`: the (table, reference) by which records went along; `values`: a body
    path and what its value rests on; `tells`: a cell that the words of the refusal show, and what leads to it; `rules`:
    those tried, by code.
    """

    label: list[Read] = field(default_factory=list)
    writes: list[tuple[str, str | None, str, Reads]] = field(default_factory=list)
    created: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[tuple[str, str, Reads]] = field(default_factory=list)
    cascades: list[tuple[str, str]] = field(default_factory=list)
    values: list[tuple[str, Reads]] = field(default_factory=list)
    tells: list[tuple[Read, Reads]] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """Body or refusal, with the changes and the trace. `frame` reads the state after."""

    refusal: Refusal | None
    body: Any
    changes: list[Change]
    trace: Trace
    frame: Frame


class Refused(Exception):
    """Ends an execution with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal
