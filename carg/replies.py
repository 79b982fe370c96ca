"""What a raw reply says: reasoning and fences taken off by rule, JSON parsed, the schema checked.

Every rule that had to be applied is counted by name, for a model that needs many of them is asked the wrong way.
"""

from __future__ import annotations

import re
from collections import Counter
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from carg.backends import Reply
from carg.errors import ReplyError
from carg.records import Json

_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"\A.*</(?:think|thinking|thought|reasoning)>", re.DOTALL | re.IGNORECASE)
_THOUGHT_OPEN = re.compile(r"\A\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_CUT = ("length", "max_tokens")
_WITHHELD = ("content_filter", "safety", "refusal")


unusable: ContextVar[Counter[str] | None] = ContextVar("unusable", default=None)
"""Where answers that were not taken are counted by reason: whoever begins a slot puts a counter there."""


class Reading(NamedTuple):
    """The value that a reply holds, and the names of the rules that it took to get at it."""

    value: Json
    rules: tuple[str, ...]


def read_reply(reply: Reply, schema: dict[str, Json]) -> Reading:
    """The JSON value of a reply. Raises ReplyError with a complaint that its writer can mend."""
    if reply.finish_reason in _CUT:
        raise ReplyError(f"it was cut off after {reply.tokens_out} tokens; answer more briefly", reply.text, "cut")
    if reply.finish_reason in _WITHHELD:
        raise ReplyError(f"it was withheld ({reply.finish_reason})", reply.text, "withheld")
    text, rules = strip_thoughts(reply.text)
    value, more = _parse(text, reply.text)
    if complaint := schema_complaint(schema, value):
        raise ReplyError(complaint, reply.text, "schema")
    return Reading(value, rules + more)


def count_unusable(reason: str) -> None:
    """One more answer of the slot under way that was not taken."""
    if (counted := unusable.get()) is not None:
        counted[reason] += 1


def strip_thoughts(text: str) -> tuple[str, tuple[str, ...]]:
    """The text without reasoning between tags, and ("thought",) if any was; an open tag takes all that follows."""
    bare = _THOUGHT_END.sub("", _THOUGHT.sub("", text))
    if _THOUGHT_OPEN.match(bare):
        bare = ""
    return bare.strip(), ("thought",) if bare.strip() != text.strip() else ()


def schema_complaint(schema: dict[str, Json], value: Json) -> str | None:
    """What is wrong with a value, at most three faults; the fast validator's refusals are confirmed by the referee."""
    fast, referee = _validators(orjson.dumps(schema))
    if fast.is_valid(value):
        return None
    faults = sorted(referee.iter_errors(value), key=lambda fault: list(map(str, fault.absolute_path)))
    if not faults:
        return None
    said = [f"at /{'/'.join(map(str, fault.absolute_path))}: {fault.message[:200]}" for fault in faults[:3]]
    return "it does not fit the schema: " + "; ".join(said) + (f" (and {len(faults) - 3} more)" if faults[3:] else "")


def _parse(text: str, whole: str) -> tuple[Json, tuple[str, ...]]:
    """The value of the text itself, else of its last fence, else of what stands between the outermost braces."""
    if not text:
        raise ReplyError("it is empty", whole, "empty")
    tries: list[tuple[str, tuple[str, ...]]] = [(text, ())]
    if fences := _FENCE.findall(text):
        tries.append((fences[-1], ("fence",)))
    if 0 <= text.find("{") < text.rfind("}"):
        tries.append((text[text.find("{") : text.rfind("}") + 1], ("prose",)))
    for candidate, rules in tries:
        try:
            return orjson.loads(candidate), rules
        except orjson.JSONDecodeError as caught:
            fault = caught
    raise ReplyError(f"it is not JSON: {fault}", whole, "not JSON") from fault


@lru_cache(maxsize=4096)
def _validators(schema: bytes) -> tuple[Any, Any]:
    import jsonschema
    import jsonschema_rs

    parsed = orjson.loads(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    fast = jsonschema_rs.validator_for(parsed, validate_formats=True)
    return fast, jsonschema.Draft202012Validator(parsed, format_checker=checker)
