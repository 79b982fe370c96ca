"""A text that matches a regular expression, for the expressions that schemas use."""

from __future__ import annotations

import importlib
import string
from random import Random
from typing import Any

from carg.errors import RecordError

_PRINTABLE = string.ascii_letters + string.digits + "-_.~ "
_CLASSES = {
    "CATEGORY_DIGIT": string.digits,
    "CATEGORY_NOT_DIGIT": string.ascii_letters,
    "CATEGORY_WORD": string.ascii_lowercase + string.digits,
    "CATEGORY_NOT_WORD": "-. ",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": string.ascii_lowercase + string.digits,
}
MAX_REPEAT = 8
"""Repetition without an upper bound stops so many above its lower one."""

MAX_TEXT = 2000
"""Characters that a pattern may ask for."""


def draw_match(pattern: str, rng: Random) -> str:
    """A text that the pattern is meant to match; assertions are ignored, so the caller verifies.

    Raises RecordError for what is not handled: back references, conditionals, inline flags.
    """
    parser: Any = importlib.import_module("re._parser")
    try:
        parsed = parser.parse(pattern)
    except (ValueError, OverflowError, RecursionError, parser.error) as fault:
        raise RecordError(f"pattern {pattern[:80]!r} is not understood: {fault}", "give examples instead") from fault
    return "".join(_draw(op, value, rng) for op, value in parsed)


def _draw(op: Any, value: Any, rng: Random) -> str:
    name = str(op)
    if name == "LITERAL":
        return chr(value)
    if name in ("AT", "ASSERT", "ASSERT_NOT"):
        return ""
    if name in ("IN", "ANY", "NOT_LITERAL", "CATEGORY"):
        return rng.choice(_choices(name, value))
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        low, high, inner = value
        return _repeat(inner, rng.randint(low, min(int(high), low + MAX_REPEAT)), rng)
    if name == "SUBPATTERN":
        return "".join(_draw(item[0], item[1], rng) for item in value[3])
    if name == "BRANCH":
        return "".join(_draw(item[0], item[1], rng) for item in rng.choice(value[1]))
    raise RecordError(f"a pattern with {name} cannot be drawn", "give examples instead")


def _repeat(inner: Any, times: int, rng: Random) -> str:
    text = ""
    for _ in range(times):
        text += "".join(_draw(op, value, rng) for op, value in inner)
        if len(text) > MAX_TEXT:
            raise RecordError(f"a pattern that asks for more than {MAX_TEXT} characters", "give examples instead")
    return text


def _choices(name: str, value: Any) -> str:
    if name == "ANY":
        return string.ascii_lowercase + string.digits
    if name == "NOT_LITERAL":
        return _PRINTABLE.replace(chr(value), "")
    if name == "CATEGORY":
        return _CLASSES[str(value)]
    inside = "".join(_members(str(op), item) for op, item in value)
    if str(value[0][0]) != "NEGATE":
        return inside
    return "".join(sign for sign in _PRINTABLE if sign not in inside) or "¤"


def _members(name: str, value: Any) -> str:
    if name == "RANGE":
        low, high = value
        return "".join(map(chr, range(low, min(high, low + 127) + 1)))
    if name == "CATEGORY":
        return _CLASSES[str(value)]
    return chr(value) if name == "LITERAL" else ""
