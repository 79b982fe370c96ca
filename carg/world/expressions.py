"""The closed expression language of domain files: a typed, whitelisted subset of Python's grammar.

Arithmetic, comparison, boolean and conditional expressions, field access (`hive.apiary.name`), listed functions and
one-clause generators over tables (`sum(h.amount for h in harvest if h.hive == hive)`). Every expression is typed
and compiled once, at load; nothing else is ever evaluated. Null propagates: a field of nothing, and arithmetic with
nothing, is nothing; an ordering with nothing is false.

Bounds: source 1,000 characters, 24 levels, loops nested twice, `**` in floating point, `%` and `*` on numbers only
(typing forbids text there, so the gigabyte of `'%1000000000d' % 1` cannot be asked for).
"""

from __future__ import annotations

import ast
import difflib

from carg.errors import ExpressionError
from carg.world.functions import CONSTANTS, FUNCTIONS, RUNTIME
from carg.world.types import (
    BOOLEAN,
    INTEGER,
    NULL,
    NUMBER,
    NUMERIC,
    ORDERINGS,
    Expression,
    Scope,
    Type,
    aggregate_type,
    call_type,
    check_comparison,
    join_types,
    need_type,
    sum_type,
)

MAX_SOURCE = 1000
MAX_DEPTH = 24
MAX_LOOPS = 2


def compile_expression(source: str, scope: Scope) -> Expression:
    """The expression, typed and compiled. Raises ExpressionError naming the part, and what is allowed."""
    if not isinstance(source, str) or len(source) > MAX_SOURCE:
        raise ExpressionError(f"an expression is text of at most {MAX_SOURCE} characters")
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise ExpressionError(f"`{source[:80]}` is not an expression: {fault}") from fault
    maker = _Maker(scope)
    try:
        if _depth(tree) > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH} levels")
        code, kind = maker.make(tree)
        run = eval(  # the text was built by _Maker from whitelisted nodes only
            compile(f"lambda g, s, v: {code}", "<expression>", "eval"), {"__builtins__": {}, **RUNTIME}
        )
    except ExpressionError as fault:
        raise ExpressionError(f"`{source}`: {fault.message}", fault.hint) from None
    except RecursionError as fault:
        raise ExpressionError(f"`{source[:80]}` is nested too deeply") from fault
    return Expression(
        source.strip(),
        kind,
        run,
        frozenset(maker.used),
        frozenset(maker.tables),
        frozenset(maker.cells),
        tuple(maker.was),
    )


def _depth(tree: ast.AST) -> int:
    deepest, level = 0, [tree]
    while level:
        deepest += 1
        if deepest > 4 * MAX_DEPTH:
            return deepest
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return deepest // 2


_COMPARE = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
_ARITHMETIC = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "_div",
    ast.FloorDiv: "_floordiv",
    ast.Mod: "_mod",
    ast.Pow: "_pow",
}
_NULLSAFE = {"+": "_add", "-": "_sub", "*": "_mul"}
_WORDS = {"null": ("None", NULL), "true": ("True", BOOLEAN), "false": ("False", BOOLEAN)}
AGGREGATES = ("count", "sum", "any", "all", "min", "max", "avg")


class _Maker:
    """Walks a syntax tree once: types it, and writes the Python text that computes it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.local: dict[str, Type] = {}
        self.used: set[str] = set()
        self.tables: set[str] = set()
        self.cells: set[tuple[str, str]] = set()
        self.was: list[tuple[str, Expression]] = []
        self.loops = 0

    def make(self, node: ast.expr) -> tuple[str, Type]:
        """The Python text and the type of one node."""
        handler = getattr(self, f"_make_{type(node).__name__}", None)
        if handler is None:
            raise ExpressionError(f"{type(node).__name__} is not allowed here")
        return handler(node)  # type: ignore[no-any-return]

    def _make_Constant(self, node: ast.Constant) -> tuple[str, Type]:
        value = node.value
        if value is None:
            return "None", NULL
        if isinstance(value, bool):
            return repr(value), BOOLEAN
        if isinstance(value, int) and abs(value) < 2**53:
            return repr(value), INTEGER
        if isinstance(value, float) and value == value and abs(value) != float("inf"):
            return repr(value), NUMBER
        if isinstance(value, str):
            return repr(value), Type("text", options=(value,))
        raise ExpressionError(f"the constant {str(value)[:40]} is not allowed")

    def _make_Name(self, node: ast.Name) -> tuple[str, Type]:
        name = node.id
        if name in self.local:
            return f"_{name}", self.local[name]
        if name in self.scope.names:
            self.used.add(name)
            return f"v[{name!r}]", self.scope.names[name]
        if name in _WORDS:
            return _WORDS[name]
        if name in CONSTANTS:
            return repr(CONSTANTS[name]), NUMBER
        known = sorted({*self.scope.names, *self.local})
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known names: {', '.join(known[:24])}"
        raise ExpressionError(f"{name!r} is unknown here", hint)

    def _make_Attribute(self, node: ast.Attribute) -> tuple[str, Type]:
        if self._starts_with_was(node):
            return self._hoist(node)
        path, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            path.insert(0, base.attr)
            base = base.value
        code, kind = self.make(base)
        if kind.kind == "object" and isinstance(base, ast.Name):
            part = self.scope.names.get(f"{base.id}.{path[0]}")
            if part is not None and len(path) == 1:
                return f"_part({code}, {path[0]!r})", part.or_null()
        while path:
            if kind.kind != "ref" or kind.of is None:
                raise ExpressionError(f"`{ast.unparse(base)}` is a {kind}: it has no field {path[0]!r}")
            known = self.scope.fields.get(kind.of, {})
            # A field of an object is one cell: `guest.address.city` reads the whole address.
            size = 2 if ".".join(path[:2]) in known and len(path) > 1 else 1
            name = ".".join(path[:size])
            if name not in known:
                raise ExpressionError(f"{kind.of} has no field {name!r}", f"it has: {', '.join(sorted(known))}")
            self.cells.add((kind.of, path[0]))
            code = f"g({kind.of!r}, {code}, {path[0]!r})"
            if size == 2:
                code = f"_part({code}, {path[1]!r})"
            kind = known[name].or_null(kind.nullable)
            path = path[size:]
        return code, kind

    @staticmethod
    def _starts_with_was(node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id == "was"

    def _hoist(self, node: ast.Attribute) -> tuple[str, Type]:
        if not self.scope.was:
            raise ExpressionError("`was.` is only for set, create and returns")
        source = ast.unparse(node).removeprefix("was.")
        inner = compile_expression(source, Scope(self.scope.names, self.scope.fields))
        name = f"was_{source.replace('.', '_')}"
        self.was.append((name, inner))
        return f"v[{name!r}]", inner.type

    def _make_UnaryOp(self, node: ast.UnaryOp) -> tuple[str, Type]:
        code, kind = self.make(node.operand)
        if isinstance(node.op, ast.Not):
            need_type(kind, ("boolean",), "not")
            return f"(not {code})", BOOLEAN
        if isinstance(node.op, ast.USub):
            need_type(kind, NUMERIC, "-")
            return (f"_neg({code})" if kind.nullable else f"(-{code})"), kind
        raise ExpressionError("only `-x` and `not x` are allowed")

    def _make_BinOp(self, node: ast.BinOp) -> tuple[str, Type]:
        sign = _ARITHMETIC.get(type(node.op))
        if sign is None:
            raise ExpressionError("allowed operators: + - * / // % **")
        (left, a), (right, b) = self.make(node.left), self.make(node.right)
        kind = sum_type(sign, a, b)
        if kind is None:
            raise ExpressionError(f"{a} and {b} cannot be joined by this operator", "dates: add_days, days_between")
        null = a.nullable or b.nullable
        if sign.startswith("_"):
            return f"{sign}({left}, {right})", kind.or_null(null)
        if null:
            return f"{_NULLSAFE[sign]}({left}, {right})", kind.or_null()
        return f"({left} {sign} {right})", kind

    def _make_BoolOp(self, node: ast.BoolOp) -> tuple[str, Type]:
        parts = []
        for value in node.values:
            code, kind = self.make(value)
            need_type(kind, ("boolean",), "and / or")
            parts.append(code)
        joiner = " and " if isinstance(node.op, ast.And) else " or "
        return f"bool({joiner.join(parts)})", BOOLEAN

    def _make_IfExp(self, node: ast.IfExp) -> tuple[str, Type]:
        (test, a), (yes, b), (no, c) = self.make(node.test), self.make(node.body), self.make(node.orelse)
        need_type(a, ("boolean",), "if")
        return f"({yes} if {test} else {no})", join_types(b, c)

    def _make_Compare(self, node: ast.Compare) -> tuple[str, Type]:
        if len(node.ops) > 2:
            raise ExpressionError("at most two comparisons in a row")
        items = [self.make(item) for item in (node.left, *node.comparators)]
        parts = []
        for operator, (left, a), (right, b) in zip(node.ops, items, items[1:], strict=False):
            sign = _COMPARE.get(type(operator))
            if sign is None:
                raise ExpressionError("allowed comparisons: == != < <= > >= in, not in")
            check_comparison(sign, a, b)
            guarded = sign in ORDERINGS and (a.nullable or b.nullable)
            if sign in ("in", "not in") and b.nullable:
                right = f"({right} or ())"
            parts.append(f"{ORDERINGS[sign]}({left}, {right})" if guarded else f"({left} {sign} {right})")
        return (parts[0] if len(parts) == 1 else f"({' and '.join(parts)})"), BOOLEAN

    def _make_List(self, node: ast.List) -> tuple[str, Type]:
        if not node.elts:
            return "()", Type("list", item=NULL)
        items = [self.make(item) for item in node.elts]
        kind = items[0][1]
        for _, other in items[1:]:
            kind = join_types(kind, other)
        return f"({', '.join(code for code, _ in items)},)", Type("list", item=kind)

    _make_Tuple = _make_List  # noqa: N815 - named after the node

    def _make_Call(self, node: ast.Call) -> tuple[str, Type]:
        if not isinstance(node.func, ast.Name) or node.keywords:
            raise ExpressionError("only the listed functions can be called, without keywords")
        name = node.func.id
        if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
            return self._aggregate(name, node.args[0])
        if name in ("solve", "total"):
            return self._iterate(name, node.args)
        if name == "record":
            return self._record(node.args)
        rule = FUNCTIONS.get(name)
        if rule is None:
            raise ExpressionError(f"there is no function {name!r}", f"functions: {', '.join(sorted(FUNCTIONS))}")
        made = [self.make(item) for item in node.args]
        out = call_type(name, rule, tuple(kind for _, kind in made))
        return f"_f_{name}({', '.join(item for item, _ in made)})", out

    def _record(self, args: list[ast.expr]) -> tuple[str, Type]:
        if len(args) != 1:
            raise ExpressionError("record takes one reference")
        code, kind = self.make(args[0])
        need_type(kind, ("ref",), "record")
        return code, Type("record", kind.of, nullable=kind.nullable)

    def _loop(self, name: str, kind: Type) -> None:
        self.loops += 1
        if self.loops > MAX_LOOPS:
            raise ExpressionError(f"loops nest at most {MAX_LOOPS} deep")
        if name in self.local or name in self.scope.names:
            raise ExpressionError(f"the loop variable {name!r} hides another name")
        self.local[name] = kind

    def _unloop(self, name: str) -> None:
        del self.local[name]
        self.loops -= 1

    def _aggregate(self, name: str, node: ast.GeneratorExp) -> tuple[str, Type]:
        if name not in AGGREGATES:
            raise ExpressionError(f"{name!r} takes no loop", f"loops go into: {', '.join(AGGREGATES)}")
        clause = node.generators[0]
        if len(node.generators) != 1 or not isinstance(clause.target, ast.Name):
            raise ExpressionError("one loop with one variable, please")
        over, kind = self._range(clause.iter)
        variable = clause.target.id
        self._loop(variable, kind)
        tests = [self.make(test) for test in clause.ifs]
        for _, test in tests:
            need_type(test, ("boolean",), "if")
        body, out = self.make(node.elt)
        self._unloop(variable)
        only = "".join(f" if {code}" for code, _ in tests)
        return f"_{name}({body} for _{variable} in {over}{only})", aggregate_type(name, out)

    def _range(self, node: ast.expr) -> tuple[str, Type]:
        if isinstance(node, ast.Name) and node.id in self.scope.fields and node.id not in self.local:
            named = self.scope.names.get(node.id)
            if named is None or named.kind != "list":
                self.tables.add(node.id)
                return f"s({node.id!r})", Type("ref", node.id)
        code, kind = self.make(node)
        if kind.kind != "list" or kind.item is None:
            raise ExpressionError(f"a loop goes over a resource or a list, not a {kind}")
        return f"({code} or ())", kind.item

    def _iterate(self, name: str, args: list[ast.expr]) -> tuple[str, Type]:
        if len(args) != 4 or not isinstance(args[1], ast.Name):
            raise ExpressionError(f"{name}(expression, variable, from, to)")
        (low, a), (high, b) = self.make(args[2]), self.make(args[3])
        for kind in (a, b):
            need_type(kind, NUMERIC, name)
        variable = args[1].id
        self._loop(variable, NUMBER if name == "solve" else INTEGER)
        body, out = self.make(args[0])
        self._unloop(variable)
        need_type(out, NUMERIC, name)
        return f"_{name}(lambda _{variable}: {body}, {low}, {high})", NUMBER.or_null(name == "solve" or out.nullable)
