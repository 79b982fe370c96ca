"""Calls as Python text, `harvest_honey(hive="HIV-1", amount=3)`: written, and read without evaluating."""

from __future__ import annotations

import ast
import keyword
import math
import warnings
from collections.abc import Mapping

import orjson

from carg.errors import RecordError
from carg.records import Json
from carg.world.markup import MAX_DEPTH


def write_python(tool: str, arguments: Mapping[str, Json]) -> str:
    """A call with keyword arguments; names that Python cannot have as keywords go into `**{...}`."""
    plain = {key: item for key, item in arguments.items() if _is_keyword_argument(key)}
    parts = [f"{key}={_literal(item)}" for key, item in plain.items()]
    if len(plain) < len(arguments):
        parts.append(f"**{_literal({key: item for key, item in arguments.items() if key not in plain})}")
    return f"{tool}({', '.join(parts)})"


def _is_keyword_argument(key: str) -> bool:
    # Python folds identifiers outside ASCII, so they would not come back as they were.
    return key.isascii() and key.isidentifier() and not keyword.iskeyword(key)


def _literal(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(item) for item in value) + "]"
    return orjson.dumps(value).decode() if isinstance(value, str) else repr(value)


def read_python(text: str) -> tuple[str, dict[str, Json]]:
    """Tool and arguments of one call whose arguments are keywords with literal values.

    Raises RecordError or UnicodeEncodeError (a lone surrogate) for any other text.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as fault:
        raise RecordError(f"not a Python call: {fault}") from fault
    if not isinstance(call, ast.Call) or call.args:
        raise RecordError("not one call with keyword arguments")
    arguments: dict[str, Json] = {}
    for item in call.keywords:
        value = _value(item.value, MAX_DEPTH)
        members = value if item.arg is None else {item.arg: value}
        if not isinstance(members, dict) or members.keys() & arguments.keys():
            raise RecordError("an argument given twice, or ** of no dict")
        arguments |= members
    return _dotted(call.func), arguments


def _dotted(node: ast.expr) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise RecordError("not a tool's name")
    return ".".join([node.id, *reversed(parts)])


def _value(node: ast.expr, depth: int) -> Json:
    """The value of a literal; whole numbers beyond 64 bits become floats, as in JSON."""
    if depth < 0:
        raise RecordError("arguments nested too deeply")
    if isinstance(node, ast.List):
        return [_value(item, depth - 1) for item in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key, 0) for key in node.keys]
        if not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
            raise RecordError("keys must be strings, each once")
        return dict(zip(keys, (_value(item, depth - 1) for item in node.values), strict=True))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecordError("minus before what is no number")
        return _checked(-value)
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
        return _checked(node.value)
    raise RecordError("only literals can be given")


def _checked(value: Json) -> Json:
    """The value as JSON would read it: numbers beyond 64 bits are floats, none is infinite, strings are unicode."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        value = float(value) if abs(value) < 10**308 else math.inf
    if value == math.inf:
        raise RecordError("a number too large")
    return value
