"""The two validators of JSON Schema 2020-12 behind one verdict, compiled once a schema.

jsonschema-rs is fast and judges every value; jsonschema is the referee for every refusal and for a sample of the
acceptances that depends on the value alone. Where the two differ nothing can be called true, so RecordError is
raised. Known differences are settled in the referee: `multipleOf` is exact, `\\d` and `\\w` are ASCII and `$` is the
very end, as ECMA-262 has it. No reference is ever fetched. Faults and soundness are in `schemas`.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from typing import Any

import orjson

from carg.errors import RecordError
from carg.records import Json

COMPILED = 1024
"""Compiled schemas kept: about 70 MB at 65 us each (measured at 512: 36 MB)."""
SAMPLE = 64
"""One acceptance in so many is confirmed by the referee."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A schema in both validators."""

    schema: Json
    fast: Any
    referee: Any

    def is_valid(self, value: Json) -> bool:
        """Whether the value fits. Raises RecordError where the two validators disagree."""
        verdict = bool(self.fast.is_valid(value))
        if verdict and zlib.crc32(spell(value)) % SAMPLE:
            return True
        if _confirms(self.referee, value) != verdict:
            says = "accepts" if verdict else "refuses"
            raise RecordError(f"validators disagree: jsonschema-rs {says} {short(value)}", "leave the record out")
        return verdict


def compile_schema(spelling: bytes) -> Compiled:
    """The schema that `spell` wrote, compiled. Raises RecordError when it is not sound or not local."""
    import jsonschema_rs

    schema = json.loads(spelling)  # not orjson: integers may be large
    if b'"patternProperties"' in spelling and (bad := next(_find_unsafe(schema), None)) is not None:
        raise RecordError(f"property pattern {short(bad)} cannot be judged safely", "name the properties instead")
    try:
        fast = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, retriever=_refuse_remote)
        return Compiled(schema, fast, _referee()(schema))
    except (ValueError, RecursionError) as fault:  # jsonschema_rs.ValidationError is a ValueError
        what = getattr(fault, "message", str(fault))
        raise RecordError(f"unsound schema: {what[:300]}", "JSON Schema 2020-12 without remote references") from fault


@cache
def _referee() -> Any:
    """Builds the referee: jsonschema with formats, our three settled keywords, and a registry that fetches nothing."""
    from jsonschema import Draft202012Validator, validators
    from referencing import Registry

    settled = {"pattern": _check_pattern, "multipleOf": _check_multiple}
    referee = validators.extend(Draft202012Validator, settled)  # type: ignore[no-untyped-call]
    empty: Any = Registry()
    return lambda schema: referee(schema, format_checker=Draft202012Validator.FORMAT_CHECKER, registry=empty)


def _confirms(referee: Any, value: Json) -> bool:
    try:
        return bool(referee.is_valid(value))
    except (RecursionError, re.error) as fault:
        raise RecordError(f"the referee cannot judge {short(value)}: {fault}", "leave the record out") from fault


def _refuse_remote(uri: str) -> Json:
    raise ValueError(f"remote reference {uri}")


def _check_pattern(_: Any, pattern: str, value: Json, __: Json) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(value, str) and not matcher(pattern)(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _check_multiple(_: Any, step: float, value: Json, __: Json) -> Iterator[Any]:
    from jsonschema import ValidationError

    if isinstance(value, int | float) and not isinstance(value, bool) and Fraction(str(value)) % Fraction(str(step)):
        yield ValidationError(f"{value} is not a multiple of {step}")


_UNSAFE = re.compile(r"\)[+*{]|\\[pPc]")
"""Repeated groups, which can blow up in Python's engine, and escapes that it does not know."""


def _find_unsafe(value: Json) -> Iterator[str]:
    """Patterns of property names that the referee's own engine cannot be given."""
    if isinstance(value, list):
        for item in value:
            yield from _find_unsafe(item)
    elif isinstance(value, dict):
        patterns = value.get("patternProperties")
        yield from (item for item in (patterns if isinstance(patterns, dict) else ()) if _UNSAFE.search(item))
        for item in value.values():
            yield from _find_unsafe(item)


@lru_cache(4096)
def matcher(pattern: str) -> Any:
    """A search function for the pattern; repeated groups are left to the engine that cannot blow up."""
    import jsonschema_rs

    if _UNSAFE.search(pattern):
        return jsonschema_rs.Draft202012Validator({"pattern": pattern}).is_valid
    return re.compile(re.sub(r"(\\.|\[(?:\\.|[^\]\\])*\])|\$", lambda m: m[1] or r"\Z", pattern), re.ASCII).search


def spell(value: Json) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # integers beyond 64 bits, or no JSON at all
        try:
            return json.dumps(value).encode()
        except (TypeError, ValueError, RecursionError) as fault:
            raise RecordError(f"not JSON: {fault}", "only JSON values have a schema") from fault


def short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
