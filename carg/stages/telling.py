"""What a model is told of definitions and of a session so far, and which values of an answer it had to make up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from carg.records import Definition, Exchange, Json, Response, canonical

HISTORY_CHARS = 700
"""Of one answer, as later steps are shown it."""


def show_definition(definition: Definition) -> dict[str, Json]:
    """A definition as prompts show it: all that a caller may know."""
    return {
        "name": definition.name,
        "description": definition.description,
        "parameters": definition.parameters,
        "returns": definition.returns,
        "errors": [{"code": spec.code, "message": spec.message, "field": spec.field} for spec in definition.errors],
    }


def show_history(exchanges: Sequence[Exchange]) -> str:
    """The exchanges so far, a line each, long answers cut."""
    lines = []
    for number, exchange in enumerate(exchanges, start=1):
        call = orjson.dumps({"tool": exchange.call.tool, "arguments": exchange.call.arguments}).decode()
        lines.append(f"{number}. {call} -> {_tell(exchange.response)[:HISTORY_CHARS]}")
    return "\n".join(lines) or "nothing yet"


def invented_in(body: Json, told: set[str]) -> tuple[str, ...]:
    """JSON pointers of the scalars in a body that nobody could know: not among the spellings of what was told."""
    return tuple(pointer for pointer, value in scalars(body) if canonical(value).decode() not in told)


def spellings(value: Json) -> set[str]:
    """How each scalar in a value, and each name in its objects, is spelled."""
    names = {canonical(key).decode() for key in _keys(value)}
    return names | {canonical(item).decode() for _, item in scalars(value)}


def _tell(response: Response) -> str:
    if response.error is not None:
        return f"error {response.error.code}: {response.error.message}"
    return orjson.dumps(response.body).decode() if response.body is not None else response.text


def scalars(value: Json, at: str = "") -> Iterator[tuple[str, Json]]:
    """JSON pointer and value of each scalar in a value; a value that is itself a scalar has none."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from scalars(item, f"{at}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from scalars(item, f"{at}/{number}")
    elif at:
        yield at, value


def _keys(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(item)
