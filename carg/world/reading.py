"""Reading a TOML entry with all its faults kept: keys, kinds, expressions, templates."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.errors import ExpressionError
from carg.world.expressions import compile_expression
from carg.world.model import Rule, Template
from carg.world.types import Expression, Scope, Type

NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")
NUMBER_MOST = 1e100
"""Numbers of a file lie below it, so that products of three of them are finite; whole ones fit 64 bits."""
SLOT = re.compile(r"\{([^{}]*)\}")

RESERVED = (
    *keyword.kwlist,
    *("id", "of", "now", "today", "role", "actor", "was", "limit", "offset", "record"),
)
"""Words that expressions or calls use for something else."""

STATUS = {
    "rule.cross_field": 422,
    "state.forbidden": 403,
    "state.not_found": 404,
    "state.order": 409,
    "state.conflict": 409,
    "rule.limit": 422,
}
"""HTTP status of each class of rule, as RFC 9110 words them."""


@dataclass(slots=True)
class Reader:
    """Collects every fault of one file; its methods give None where an entry cannot be used."""

    file: str
    faults: list[str] = field(default_factory=list)

    def fault(self, entry: str, message: str) -> None:
        """Note one fault."""
        self.faults.append(f"{self.file}: [{entry}] {message}")

    def table(self, entry: str, value: Any, allowed: Iterable[str] | None = None) -> dict[str, Any]:
        """The value as a table with no other keys than allowed; {} where it is not one."""
        if not isinstance(value, dict):
            self.fault(entry, f"must be a table, not {type(value).__name__}")
            return {}
        if allowed is not None:
            for key in sorted(value.keys() - set(allowed)):
                self.fault(entry, f"unknown key {key!r}{did_you_mean(key, allowed)}")
        return value

    def tables(self, entry: str, value: Any) -> dict[str, dict[str, Any]]:
        """The value as a table of tables; what is none is left out."""
        items = self.table(entry, value).items()
        for name, item in items:
            if not isinstance(item, dict):
                self.fault(f"{entry}.{name}", f"must be a table, not {type(item).__name__}")
        return {name: item for name, item in items if isinstance(item, dict)}

    def text(self, entry: str, value: Any, *, most: int = 600) -> str:
        """The value as a text; "" where it is not one."""
        if not isinstance(value, str) or not value.strip() or len(value) > most:
            self.fault(entry, f"must be a text of 1 to {most} characters")
            return ""
        return value.strip()

    def texts(self, entry: str, value: Any) -> tuple[str, ...]:
        """The value as a list of texts; a single text is a list of one."""
        made = texts_in(value)
        if not isinstance(value, str | list) or len(made) != len([value] if isinstance(value, str) else value):
            self.fault(entry, "must be a list of texts")
            return ()
        return made

    def names(self, entry: str, value: Any, known: Iterable[str], what: str) -> tuple[str, ...]:
        """The value as a list of known names."""
        known = list(known)
        good = []
        for name in self.texts(entry, value):
            if name in known:
                good.append(name)
            else:
                self.fault(entry, f"{what} {name!r} is unknown{did_you_mean(name, known)}")
        return tuple(good)

    def one(self, entry: str, value: Any, known: Iterable[str], what: str) -> str | None:
        """The value as one known name; None where it is not."""
        known = list(known)
        if isinstance(value, str) and value in known:
            return value
        self.fault(entry, f"{what} {str(value)[:60]!r} is unknown{did_you_mean(str(value)[:60], known)}")
        return None

    def entries(self, entry: str, value: Any) -> list[Any]:
        """The value as a list; [] where it is not one."""
        if not isinstance(value, list):
            self.fault(entry, f"must be a list, not {type(value).__name__}")
            return []
        return value

    def number(self, entry: str, value: Any, low: float, high: float) -> float:
        """The value as a number within bounds; the lower bound where it is not one."""
        if not is_number(value) or not low <= value <= high:
            self.fault(entry, f"must be a number from {low:g} to {high:g}, not {str(value)[:60]!r}")
            return low
        return float(value)

    def whole(self, entry: str, value: Any, low: int, high: int) -> int:
        """The value as a whole number within bounds; the lower bound where it is not one."""
        if isinstance(value, float) and is_number(value) and value != int(value):
            self.fault(entry, f"must be a whole number, not {value}")
            return low
        return int(self.number(entry, value, low, high))

    def pair(
        self, entry: str, value: Any, low: float = -NUMBER_MOST, high: float = NUMBER_MOST
    ) -> tuple[float, float] | None:
        """The value as [least, most], both within the bounds."""
        if isinstance(value, list) and len(value) == 2 and all(is_number(item) for item in value):
            if not (low <= value[0] and value[1] <= high):
                self.fault(entry, f"must lie between {low:g} and {high:g}")
                return None
            if value[0] <= value[1]:
                return value[0], value[1]
            self.fault(entry, f"least {value[0]} is above most {value[1]}")
            return None
        self.fault(entry, "must be [least, most]")
        return None

    def weighted(self, entry: str, value: Any) -> tuple[tuple[str, float], ...]:
        """A list, or a table with weights, as (text, weight) pairs."""
        if isinstance(value, list):
            value = {str(item): 1 for item in value}
        if not isinstance(value, dict) or not value:
            self.fault(entry, "must be a list of texts, or a table of texts with weights")
            return ()
        for text, weight in value.items():
            if not is_number(weight) or weight <= 0:
                self.fault(entry, f"the weight of {text!r} must be a number above 0")
                return ()
        return tuple((text, float(weight)) for text, weight in value.items())

    def expression(self, entry: str, source: Any, scope: Scope, *kinds: str) -> Expression | None:
        """The compiled expression, of one of the kinds if any are named."""
        try:
            made = compile_expression(_as_source(source), scope)
        except ExpressionError as fault:
            self.fault(entry, f"{fault.message}{'; ' + fault.hint if fault.hint else ''}")
            return None
        if kinds and made.type.kind not in kinds:
            self.fault(entry, f"`{made.source}` is a {made.type}; a {' or '.join(kinds)} is needed")
            return None
        return made

    def template(self, entry: str, source: Any, scope: Scope) -> Template | None:
        """Words whose {slots} are expressions."""
        text = self.text(entry, source)
        parts: list[str | Expression] = []
        for number, piece in enumerate(SLOT.split(text)):
            if number % 2 == 0:
                parts.append(piece)
            elif (made := self.expression(entry, piece, scope)) is not None:
                parts.append(made)
        return Template(text, tuple(parts)) if text else None

    def knob_words(self, entry: str, text: str, known: Iterable[str]) -> str:
        """Text whose {slots} may only be knobs and constants."""
        known = set(known)
        for name in SLOT.findall(text):
            if name not in known:
                self.fault(entry, f"{{{name}}} is no knob or constant{did_you_mean(name, known)}")
        return text

    def implied_rule(
        self, entry: str, code: str, fault: str, that: str, say: str, scope: Scope, field: str | None
    ) -> tuple[Rule, ...]:
        """A rule that the format itself writes; () where it cannot be compiled."""
        made, words = self.expression(entry, that, scope), self.template(entry, say, scope)
        return () if made is None or words is None else (Rule(code, fault, made, words, field, STATUS[fault]),)

    def rules(
        self, entry: str, values: Any, scope: Scope, arguments: Mapping[str, Type], lets: Iterable[str] = ()
    ) -> tuple[Rule, ...]:
        """The rules of a list; those that cannot be used are left out."""
        found = (
            self.rule(f"{entry}[{number}]", value, scope, arguments, lets)
            for number, value in enumerate(self.entries(entry, values))
        )
        return tuple(rule for rule in found if rule is not None)

    def rule(
        self, entry: str, value: Any, scope: Scope, arguments: Mapping[str, Type], lets: Iterable[str] = ()
    ) -> Rule | None:
        """One `require` entry; a class left out follows from what the rule, and the `lets` that read records, read."""
        item = self.table(entry, value, ("that", "class", "code", "field", "say", "status"))
        if missing := {"that", "code", "say"} - item.keys():
            self.fault(entry, f"lacks {', '.join(sorted(missing))}")
            return None
        that = self.expression(f"{entry}.that", item["that"], scope, "boolean")
        words = self.template(f"{entry}.say", item["say"], scope)
        code = self.text(f"{entry}.code", item["code"], most=60)
        if code and not NAME.fullmatch(code):
            self.fault(f"{entry}.code", f"{code!r} must be a lower-case name")
        if that is None or words is None:
            return None
        state = bool(that.cells or that.tables or that.names & set(lets))
        moving = state or bool(that.names & {"now", "today", "role", "actor"})
        classes = [name for name in STATUS if name != "state.not_found"]
        usual = "rule.limit" if moving else "rule.cross_field"
        fault = self.one(f"{entry}.class", item.get("class", usual), classes, "class")
        if fault is None:
            return None
        if fault == "rule.cross_field" and state:
            self.fault(entry, "a rule.cross_field rule reads arguments and knobs only; this one reads records")
        at = item.get("field")
        if at is not None:
            at = self.one(f"{entry}.field", at, arguments, "input")
        return Rule(
            code, fault, that, words, at, self.whole(f"{entry}.status", item.get("status", STATUS[fault]), 400, 499)
        )


def _as_source(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else value


def texts_in(value: Any) -> tuple[str, ...]:
    """The texts among a list's items; a single text is a list of one."""
    items = [value] if isinstance(value, str) else value if isinstance(value, list) else ()
    return tuple(item for item in items if isinstance(item, str))


def is_number(value: Any) -> bool:
    """Whether it is a number that computing and JSON can bear."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < (2**63 if isinstance(value, int) else NUMBER_MOST)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of what is known when it is short."""
    known = sorted(known)
    if close := difflib.get_close_matches(name, known, 1):
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known[:24])}" if known else ""
