"""Calls for tools that no world stands behind: imported ones and those that a model wrote.

Valid calls, invalid ones drawn under a sibling definition, and valid look-alikes. Every label is what `schemas.faults`
says of the arguments as they are read back; texts differ in key order and spelling whatever the label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import orjson

from carg.edits import Lexicon
from carg.errors import RecordError
from carg.fill import Hints, fill
from carg.records import LOOKALIKES, Call, Json, Tool, Violation
from carg.schemas import faults
from carg.siblings import Sibling, lookalike_call, loosen_tool, shuffle_keys, sibling_call

Render = Callable[[dict[str, Json]], str]
"""Words {"name", "arguments"} as a convention has it."""

WEIGHTS = {
    "schema.missing": 28,
    "schema.type": 20,
    "schema.enum": 14,
    "schema.range": 12,
    "schema.unknown": 10,
    "schema.format": 6,
    "call.unparsable": 5,
    "tool.unknown": 5,
}
"""Shares of the classes among invalid calls, of those that a tool offers a place for."""
TWO_FAULTS = 0.1
BLUNT = 0.08
"""Share of crude mutations; a classifier finds them from the call alone, so never above one in ten."""
SHUFFLED = 0.3
"""Share of calls of any label whose keys are not in the schema's order."""
TRIES = 5
"""Draws for one call before its class is given up for the tool."""

UNPARSABLE = Violation("unparsable_call", "call.unparsable")
UNKNOWN_TOOL = Violation("unknown_tool", "tool.unknown")


@dataclass(frozen=True, slots=True)
class Pair:
    """The same call under two definitions: refused by the tool, accepted by its sibling."""

    tool: Tool
    sibling: Tool
    refused: Call
    accepted: Call


@dataclass(frozen=True, slots=True)
class _Source:
    """What calls of one tool are drawn from."""

    tool: Tool
    rng: Random
    lexicon: Lexicon
    others: Sequence[str]
    hints: Hints | None
    render: Render
    dead: set[str]
    """Classes that the schema turned out to offer no place for."""


def render_plain(call: dict[str, Json]) -> str:
    """The call as compact JSON."""
    return orjson.dumps(call).decode()


def draw_calls(
    tool: Tool,
    rng: Random,
    *,
    n_valid: int,
    n_invalid: int,
    n_lookalike: int,
    lexicon: Lexicon | None = None,
    others: Sequence[str] = (),
    hints: Hints | None = None,
    render: Render = render_plain,
) -> list[Call]:
    """Calls of one tool, shuffled, no two with the same text.

    Fewer than asked for where the schema offers no more; none where no valid arguments are found. `others` are names
    of tools that the toolset does not have. Unparsable calls are damaged texts of `render`, so a convention that
    reads them otherwise must read them back.
    """
    source = _Source(tool, rng, lexicon or {}, others, hints, render, set())
    found: dict[str, Call] = {}
    for count, draw in ((n_valid, _draw_valid), (n_invalid, _draw_invalid), (n_lookalike, _draw_lookalike)):
        wanted = len(found) + count
        for _ in range(count * TRIES + len(WEIGHTS)):
            if len(found) >= wanted:
                break
            if (call := draw(source)) is not None:
                found.setdefault(call.text, call)
    calls = list(found.values())
    rng.shuffle(calls)
    return calls


def draw_pairs(
    tool: Tool, rng: Random, *, count: int, lexicon: Lexicon | None = None, render: Render = render_plain
) -> list[Pair]:
    """Minimal pairs: one call text, refused under the tool's definition and valid under its sibling's."""
    source = _Source(tool, rng, lexicon or {}, (), None, render, set())
    pairs: dict[str, Pair] = {}
    for _ in range(count * TRIES + len(WEIGHTS)):
        if len(pairs) >= count:
            break
        fault = _pick_fault(source, schema_only=True)
        if fault is not None and (sibling := _draw_sibling(source, fault, blunt=False)) is not None:
            arguments = _ordered(source, sibling.arguments)
            refused = _invalid(source, sibling, arguments, blunt=False)
            accepted = _labelled(source, arguments, schema=sibling.schema)
            pairs.setdefault(refused.text, Pair(tool, loosen_tool(tool, sibling), refused, accepted))
    return list(pairs.values())


def _draw_valid(source: _Source) -> Call | None:
    try:
        arguments = fill(source.tool.parameters, source.rng, hints=source.hints)
    except RecordError:
        return None
    return _labelled(source, _ordered(source, arguments))


def _draw_lookalike(source: _Source) -> Call | None:
    kinds = [kind for kind in LOOKALIKES if kind != "ok.empty_result"]
    kind = source.rng.choice(kinds)
    arguments = lookalike_call(source.tool.parameters, kind, source.rng, hints=source.hints)
    return None if arguments is None else _labelled(source, arguments, lookalike=kind)


def _draw_invalid(source: _Source) -> Call | None:
    fault = _pick_fault(source, schema_only=False)
    if fault == "call.unparsable":
        return _draw_unparsable(source)
    if fault == "tool.unknown":
        return _draw_unknown_tool(source)
    if fault is None:
        return None
    blunt = source.rng.random() < BLUNT
    sibling = _draw_sibling(source, fault, blunt=blunt)
    return None if sibling is None else _invalid(source, sibling, _ordered(source, sibling.arguments), blunt=blunt)


def _pick_fault(source: _Source, *, schema_only: bool) -> str | None:
    names = [name for name in WEIGHTS if name not in source.dead and (name.startswith("schema.") or not schema_only)]
    return source.rng.choices(names, [WEIGHTS[name] for name in names])[0] if names else None


def _draw_sibling(source: _Source, fault: str, *, blunt: bool) -> Sibling | None:
    """A sibling with a fault of the class, one in ten with a second one; a class without any is given up."""
    schema, rng = source.tool.parameters, source.rng
    seconds = [_pick_fault(source, schema_only=True), None] if rng.random() < TWO_FAULTS else [None]
    for also in seconds:
        made = sibling_call(schema, fault, rng, lexicon=source.lexicon, also=also, hints=source.hints, blunt=blunt)
        if made is not None:
            return made
    if not blunt:
        source.dead.add(fault)
    return None


def _ordered(source: _Source, arguments: dict[str, Json]) -> dict[str, Json]:
    return shuffle_keys(arguments, source.rng) if source.rng.random() < SHUFFLED else arguments


def _labelled(
    source: _Source,
    arguments: dict[str, Json],
    *,
    schema: dict[str, Json] | None = None,
    lookalike: str | None = None,
) -> Call:
    """A valid call. Raises RecordError when the validator says otherwise: a label is never taken on anyone's word."""
    if found := faults(schema or source.tool.parameters, arguments):
        raise RecordError(f"{source.tool.name}: a call drawn as valid has {found[0]}", "report the schema")
    text = source.render({"name": source.tool.name, "arguments": arguments})
    return Call(text, source.tool.name, arguments, "valid", lookalike=lookalike)


def _invalid(source: _Source, sibling: Sibling, arguments: dict[str, Json], *, blunt: bool) -> Call:
    found = faults(source.tool.parameters, arguments)
    if found != sibling.violations:
        raise RecordError(f"{source.tool.name}: faults {found} differ from {sibling.violations}", "report the schema")
    crude = blunt and any(not aspect.startswith(("missing", "unknown")) for aspect in sibling.aspects)
    mutation = f"{'blunt' if crude else 'sibling'}:{'+'.join(sibling.aspects)}"
    text = source.render({"name": source.tool.name, "arguments": arguments})
    return Call(text, source.tool.name, arguments, "invalid", found, mutation)


def _draw_unknown_tool(source: _Source) -> Call | None:
    """A valid call under a name that is not there: of another tool, or the same one a little off."""
    valid = _draw_valid(source)
    if valid is None:
        return None
    known, rng = source.tool.name, source.rng
    cut = rng.randrange(len(known))
    near = [known[:cut] + known[cut + 1 :], known.replace("_", "-"), f"{known}s", known.replace("get", "fetch", 1)]
    borrowed = rng.sample(source.others, min(4, len(source.others)))
    name = rng.choice([item for item in (*borrowed, *near) if item and item != known])
    text = source.render({"name": name, "arguments": valid.arguments})
    return Call(text, name, valid.arguments, "invalid", (UNKNOWN_TOOL,), "name")


def _draw_unparsable(source: _Source) -> Call | None:
    """The text of a valid call, damaged as models damage it; None where it still reads as JSON."""
    valid = _draw_valid(source)
    if valid is None:
        return None
    kind = source.rng.choice(sorted(_DAMAGES))
    text = _DAMAGES[kind](valid.text, source.rng)
    if text == valid.text or _is_json(text):
        return None
    return Call(text, None, None, "invalid", (UNPARSABLE,), f"text:{kind}")


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


_DAMAGES: dict[str, Callable[[str, Random], str]] = {
    "cut": lambda text, rng: text[: rng.randrange(len(text) // 2, len(text))],
    "quotes": lambda text, rng: text.replace('"', "'"),
    "comma": lambda text, rng: text.replace(',"', ' "', 1),
    "trailing": lambda text, rng: text[:-1] + ",}",
    "brace": lambda text, rng: text + "}",
    "bare": lambda text, rng: text.replace('"arguments"', "arguments", 1),
}
