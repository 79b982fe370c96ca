"""What a check is: a function from one record to a complaint or None, in one list.

The name of the function is the reason code, the first line of its docstring the line in the README, the type
of its parameter says what it judges. A new check is one such function in a module that `carg.checks` imports.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar

from carg.checks.views import Transcript, Turn
from carg.records import Definition, Tool

Judges = Literal["tool", "exchange", "session"]
Judged = TypeVar("Judged")

KINDS: dict[Any, Judges] = {Tool | Definition: "tool", Turn: "exchange", Transcript: "session"}
"""What the type of a check's parameter says about it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the list: its reason code, what it judges, its line in the README and the function."""

    name: str
    judges: Judges
    about: str
    complain: Callable[[Any], str | None]
    function: Callable[[Any], str | None]
    """The same for records that are known not to be empty."""
    recorded: bool
    """Whether it also judges recorded answers of real tools, which carg did not make and must not mend."""


CHECKS: list[Check] = []
"""Every check, in the order of definition."""


def check(*, recorded: bool = True) -> Callable[[Callable[[Judged], str | None]], Callable[[Judged], str | None]]:
    """A decorator that puts a check on the list; an empty record never satisfies it."""

    def put(function: Callable[[Judged], str | None]) -> Callable[[Judged], str | None]:
        @wraps(function)
        def complain(record: Judged) -> str | None:
            return "nothing to judge" if is_empty(record) else function(record)

        hint = next(iter(typing.get_type_hints(function).values()))
        about = (function.__doc__ or "").partition("\n")[0]
        CHECKS.append(Check(function.__name__, KINDS[hint], about, complain, function, recorded))
        return complain

    return put


def is_empty(record: object) -> bool:
    """The record says nothing: a tool without name or schema, a turn without call or answer, no turns at all."""
    match record:
        case Turn(exchange=exchange):
            return not exchange.call.text.strip() or not exchange.response.text.strip()
        case Transcript(turns=turns):
            return not turns
        case Tool() | Definition():
            return not record.name or not record.parameters
    return False
