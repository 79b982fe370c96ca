"""Drawing the values of fields: distributions, choices, people, codes, texts from grammars, series.

Values are canonical: dates are days and times are seconds since 1970-01-01 UTC, references are ids, the rest is JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from carg.world.fields import TEXT_LENGTH
from carg.world.functions import DAY_S
from carg.world.model import FieldSpec, World
from carg.world.people import draw_address, draw_email, draw_person, draw_phone

Record = Mapping[str, Any]
Pick = Callable[[FieldSpec], str | None]
"""Chooses the id a reference takes, or None where there is no record to refer to."""

_SLOT = re.compile(r"\{([^{}]*)\}")
MAX_EXPANSIONS = 6
"""How deep slots may stand in slots."""


def draw_value(
    spec: FieldSpec, rng: Random, world: World, now: int, pick: Pick, record: Record, *, null: bool = True
) -> Any:
    """A value of the field for a record drawn so far; None at the field's share of nulls (never if not `null`)."""
    if null and spec.optional and rng.random() < spec.optional:
        return None
    return _DRAW[spec.kind](spec, rng, world, now, pick, record)


def draw_number(spec: FieldSpec, rng: Random, low: float, high: float) -> float:
    """A number within the bounds in the field's shape, rounded to its decimals."""
    if spec.shape == "normal":
        middle = spec.middle if spec.middle is not None else (low + high) / 2
        value = rng.gauss(middle, (high - low) / 6)
    elif spec.shape == "lognormal":
        middle = spec.middle if spec.middle is not None else low + (high - low) / 4
        value = low + (middle - low or 1.0) * math.exp(rng.gauss(0, 0.6))
    elif spec.shape == "zipf":
        value = low + (high - low) * rng.random() ** 3
    else:
        value = rng.uniform(low, high)
    if spec.step and spec.kind != "series":
        value = round(value / spec.step) * spec.step
    value = min(max(value, low), high)
    return round(value) if spec.kind == "integer" else round(value, spec.decimals)


def _number(spec: FieldSpec, rng: Random, record: Record) -> float:
    low, high = spec.by_range.get(str(record.get(spec.by)), (spec.low, spec.high)) if spec.by else (spec.low, spec.high)
    return draw_number(spec, rng, low or 0, high or 0)


def _choice(spec: FieldSpec, rng: Random, record: Record) -> str:
    if spec.by and (options := spec.by_options.get(str(record.get(spec.by)))):
        return rng.choice(options)
    return draw_option(spec, rng)


def draw_option(spec: FieldSpec, rng: Random) -> str:
    """One of the options, by weight."""
    return rng.choices(spec.options, spec.weights)[0] if spec.weights else rng.choice(spec.options)


def _list(spec: FieldSpec, rng: Random, world: World, now: int, pick: Pick, record: Record) -> list[Any]:
    assert spec.item is not None
    wanted = rng.randint(*spec.length)
    found: list[Any] = []
    for _ in range(wanted * 3):
        if len(found) == wanted:
            break
        value = draw_value(spec.item, rng, world, now, pick, record)
        if value is not None and value not in found:
            found.append(value)
    return found


def _object(spec: FieldSpec, rng: Random, world: World, now: int, pick: Pick) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for part in spec.parts:
        made[part.name] = draw_value(part, rng, world, now, pick, made)
    return made


_SIGNS = {"A": "ABCDEFGHJKLMNPRSTUVWXYZ", "#": "0123456789", "x": "0123456789abcdef"}


def _code(spec: FieldSpec, rng: Random) -> str:
    return "".join(rng.choice(_SIGNS[char]) if char in _SIGNS else char for char in spec.pattern or "")


def _series(spec: FieldSpec, rng: Random) -> list[float]:
    low, high, step = spec.low or 0.0, spec.high or 0.0, spec.step or 1.0
    value, made = rng.uniform(low, high), []
    for _ in range(rng.randint(*spec.length)):
        made.append(round(value, spec.decimals))
        value = min(max(value + rng.uniform(-step, step), low), high)
    return made


def draw_text(grammar: str, rng: Random, world: World, record: Record) -> str:
    """A text of the grammar; slots are its own lists, vocabularies, fields of the record, or `{n:3-9}` numbers."""
    found = world.grammars.get(grammar)
    if found is None:
        return world.vocab[grammar][0][0] if grammar in world.vocab else "note"
    text = _pick_weighted(found.forms, rng)
    for _ in range(MAX_EXPANSIONS):
        if "{" not in text:
            break
        text = _SLOT.sub(lambda slot: _fill_slot(slot[1], found.slots, rng, world, record), text)
    return " ".join(text.split())[:TEXT_LENGTH] or "-"


def _fill_slot(
    slot: str, local: Mapping[str, Sequence[tuple[str, float]]], rng: Random, world: World, record: Record
) -> str:
    if slot in local:
        return _pick_weighted(local[slot], rng)
    if slot in world.vocab:
        return _pick_weighted(world.vocab[slot], rng)
    if ":" in slot:
        low, _, high = slot.partition(":")[2].partition("-")
        return str(rng.randint(int(low), int(high or low)))
    name, _, part = slot.partition(".")
    value = record.get(name)
    if part and isinstance(value, Mapping):
        value = value.get(part)
    return "" if value is None else str(value)


def _pick_weighted(pairs: Sequence[tuple[str, float]], rng: Random) -> str:
    return rng.choices([text for text, _ in pairs], [weight for _, weight in pairs])[0]


_DRAW: Mapping[str, Callable[..., Any]] = {
    "text": lambda spec, rng, world, now, pick, record: draw_text(spec.grammar or "", rng, world, record),
    "choice": lambda spec, rng, world, now, pick, record: _choice(spec, rng, record),
    "integer": lambda spec, rng, world, now, pick, record: _number(spec, rng, record),
    "number": lambda spec, rng, world, now, pick, record: _number(spec, rng, record),
    "boolean": lambda spec, rng, *_: rng.random() < (0.5 if spec.middle is None else spec.middle),
    "date": lambda spec, rng, world, now, *_: now // DAY_S + rng.randint(int(spec.low or 0), int(spec.high or 0)),
    "time": lambda spec, rng, world, now, *_: (
        int((now + rng.uniform(spec.low or 0, spec.high or 0) * DAY_S) // 60) * 60
    ),
    "ref": lambda spec, rng, world, now, pick, record: pick(spec),
    "list": _list,
    "object": lambda spec, rng, world, now, pick, record: _object(spec, rng, world, now, pick),
    "life": lambda spec, *_: spec.starts,
    "person": lambda spec, rng, *_: draw_person(rng),
    "email": lambda spec, rng, *rest: draw_email(rng, str(rest[-1].get(spec.of or "") or draw_person(rng))),
    "phone": lambda spec, rng, *_: draw_phone(rng),
    "address": lambda spec, rng, *_: draw_address(rng),
    "code": lambda spec, rng, *_: _code(spec, rng),
    "series": lambda spec, rng, *_: _series(spec, rng),
    "tally": lambda *_: 0,
}
"""How a value of each kind is drawn from (field, rng, world, now, pick, record)."""
