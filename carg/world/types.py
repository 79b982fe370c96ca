"""Types of expressions: what there is, which two can be joined, summed or compared, and what a scope names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from carg.errors import ExpressionError
from carg.world.functions import Function


@dataclass(frozen=True, slots=True)
class Type:
    """The type of an expression. `of` is the resource of a ref or record; `item` the type of a list's items.

    kind: number, integer, boolean, text, date (days), time (seconds), ref, record, list, null.
    `options` are the only values a closed text can have; `nullable` whether nothing is possible.
    """

    kind: str
    of: str | None = None
    item: Type | None = None
    options: tuple[str, ...] = ()
    nullable: bool = False

    def __str__(self) -> str:
        if self.kind == "list":
            return f"list of {self.item}"
        return f"{self.kind} {self.of}" if self.of else self.kind

    def or_null(self, nullable: bool = True) -> Type:
        """The same type, possibly nothing."""
        return Type(self.kind, self.of, self.item, self.options, self.nullable or nullable)


NUMBER, INTEGER, BOOLEAN, TEXT = Type("number"), Type("integer"), Type("boolean"), Type("text")
DATE, TIME, NULL = Type("date"), Type("time"), Type("null", nullable=True)
NUMERIC = ("number", "integer")

Fields = Mapping[str, Mapping[str, Type]]
"""For each resource the type of each field; a field of an object is named with a dot."""

Get = Callable[[str, Any, str], Any]
"""(resource, id, field) -> value; nothing where the id is nothing."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may name: variables with their types, resources with their fields, all tables as loops."""

    names: Mapping[str, Type]
    fields: Fields = field(default_factory=dict)
    was: bool = False
    """Whether `was.x` may be said: the value before the action's effects."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression: `run(get, scan, values)` gives its value.

    `get` reads a cell; `scan(resource)` lists the ids of a table; `values` maps the names. `names` are those it uses,
    `tables` the tables it loops over, `cells` every (resource, field) that it can read, `was` the hoisted
    sub-expressions to be evaluated before the effects (under the names they are replaced by).
    """

    source: str
    type: Type
    run: Callable[[Get, Callable[[str], Iterable[str]], Mapping[str, Any]], Any]
    names: frozenset[str]
    tables: frozenset[str]
    cells: frozenset[tuple[str, str]]
    was: tuple[tuple[str, Expression], ...] = ()


ORDERINGS = {"<": "_lt", "<=": "_le", ">": "_gt", ">=": "_ge"}


def join_types(a: Type, b: Type) -> Type:
    """The type of a value that is either; raises ExpressionError where there is none."""
    null = a.nullable or b.nullable
    if a.kind == "null":
        return b.or_null()
    if b.kind == "null":
        return a.or_null()
    if a.kind in NUMERIC and b.kind in NUMERIC:
        return Type("integer" if a.kind == b.kind == "integer" else "number", nullable=null)
    if a.kind == b.kind == "text":
        both = tuple(dict.fromkeys(a.options + b.options)) if a.options and b.options else ()
        return Type("text", options=both, nullable=null)
    if a.kind != b.kind or a.of != b.of:
        raise ExpressionError(f"{a} and {b} are not of one type")
    return a.or_null(null)


def call_type(name: str, rule: Function, kinds: tuple[Type, ...]) -> Type:
    """The type of a call of a listed function; raises ExpressionError where it does not take these."""
    least, most = rule.arity
    if not least <= len(kinds) <= most:
        raise ExpressionError(f"{name} takes {least} to {most} arguments, not {len(kinds)}")
    for kind in kinds:
        if rule.takes and kind.kind not in rule.takes:
            raise ExpressionError(f"{name} takes {' or '.join(rule.takes)}, not {kind}")
    result = rule.gives
    out = reduce(join_types, kinds) if result == "same" else Type(kinds[0].kind if result == "first" else result)
    null = any(kind.nullable for kind in kinds)
    if name == "coalesce":
        out, null = join_types(kinds[0], kinds[1]), kinds[-1].nullable
        out = Type(out.kind, out.of, out.item, out.options, null)
    return out.or_null(null or rule.partial)


def aggregate_type(name: str, each: Type) -> Type:
    """The type of an aggregate over values of one type; raises ExpressionError where it does not take them."""
    if name == "count":
        return INTEGER
    if name in ("any", "all"):
        need_type(each, ("boolean",), name)
        return BOOLEAN
    if name in ("sum", "avg"):
        need_type(each, NUMERIC, name)
    if name == "sum":
        return Type(each.kind)
    return (NUMBER if name == "avg" else Type(each.kind, each.of)).or_null()


def need_type(kind: Type, kinds: tuple[str, ...], what: str) -> None:
    """Raises ExpressionError where `what` is given another kind."""
    if kind.kind not in kinds:
        raise ExpressionError(f"{what} needs {' or '.join(kinds)}, not {kind}")


def sum_type(sign: str, a: Type, b: Type) -> Type | None:
    if a.kind in NUMERIC and b.kind in NUMERIC:
        # Division by zero raises Uncomputable, which whoever runs the expression reports: never a silent null.
        whole = (a.kind == b.kind == "integer" and sign not in ("_div", "_pow")) or sign == "_floordiv"
        return INTEGER if whole else NUMBER
    if sign == "+" and a.kind == b.kind == "text":
        return TEXT
    return None


def check_comparison(sign: str, a: Type, b: Type) -> None:
    if sign in ("in", "not in"):
        if b.kind == "text" and a.kind == "text":
            return
        if b.kind != "list" or b.item is None:
            raise ExpressionError(f"`in` looks into a list or a text, not a {b}")
        b = b.item
    if "null" in (a.kind, b.kind):
        if sign not in ("==", "!=", "in", "not in"):
            raise ExpressionError("nothing can only be compared by == and !=")
        return
    if sign in ORDERINGS and a.kind in ("boolean", "ref", "list"):
        raise ExpressionError(f"{a} has no order")
    if not (a.kind == b.kind and a.of == b.of) and not (a.kind in NUMERIC and b.kind in NUMERIC):
        raise ExpressionError(f"{a} and {b} cannot be compared")
    if a.kind == "text" and a.options and b.options and not set(a.options) & set(b.options):
        raise ExpressionError(
            f"{' | '.join(b.options[:3])} is none of the values of this text", f"allowed: {', '.join(a.options)}"
        )
