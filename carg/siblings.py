"""Invalid calls as calls that are valid under a sibling definition of the same tool, and valid look-alikes.

An `Edit` loosens one aspect of a schema in one place, and pins the value that only the looser schema accepts. The call
is drawn under the looser schema like any valid one, so nothing but the comparison with the definition gives it away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from carg.edits import Edit, Lexicon, list_sites
from carg.errors import RecordError
from carg.fill import Hints, fill
from carg.loosening import list_edits
from carg.records import Json, Tool, Violation
from carg.schemas import CODES, faults, is_valid, resolve, walk

FAULTS = tuple(CODES)
"""The classes that a sibling definition can make, in FAULT_ORDER."""
TRIES = 6
MAX_NAMES = 4
"""Schemas that a lexicon keeps of one parameter name."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A call that the definition refuses, with the definition that accepts it: its minimal pair.

    `violations` are the call's faults under the definition, the one that a tool reports first; `aspects` names what
    the sibling loosens, as `class:place`.
    """

    schema: dict[str, Json]
    arguments: dict[str, Json]
    violations: tuple[Violation, ...]
    aspects: tuple[str, ...]

    @property
    def violation(self) -> Violation:
        """The fault that the tool reports."""
        return self.violations[0]


def collect_lexicon(tools: Iterable[Tool]) -> Lexicon:
    """Parameters of many tools by name, in their order: what plausible extras and values are borrowed from."""
    found: dict[str, list[dict[str, Json]]] = {}
    for tool in tools:
        for _, node in walk(tool.parameters):
            for name, schema in (node.get("properties") or {}).items():
                kept = found.setdefault(name, [])
                plain = resolve(tool.parameters, schema)
                if len(kept) < MAX_NAMES and "$ref" not in str(plain) and plain not in kept:
                    kept.append(plain)
    return {name: tuple(kept) for name, kept in found.items()}


def sibling_call(
    schema: dict[str, Json],
    fault: str,
    rng: Random,
    *,
    lexicon: Lexicon | None = None,
    also: str | None = None,
    hints: Hints | None = None,
    blunt: bool = False,
) -> Sibling | None:
    """A call with exactly one fault of the class (and one of `also`); None where the schema offers no place for it.

    `blunt` pins a value that is plainly junk. Each result is proved: valid under the sibling, its faults under the
    definition are those planned and no others.
    """
    edits = list_edits(schema, fault, rng, lexicon or {}, blunt=blunt)
    for edit in edits[:TRIES]:
        chosen = [edit]
        if also is not None:
            more = list_edits(schema, also, rng, lexicon or {}, blunt=blunt)
            chosen += [other for other in more if not _overlap(edit, other)][:1]
            if len(chosen) == 1:
                continue
        if (made := _try_edits(schema, chosen, rng, hints)) is not None:
            return made
    return None


def _overlap(first: Edit, second: Edit) -> bool:
    shared = min(len(first.place), len(second.place))
    return first.place[:shared] == second.place[:shared]


def _try_edits(schema: dict[str, Json], edits: list[Edit], rng: Random, hints: Hints | None) -> Sibling | None:
    looser, pinned = schema, schema
    for edit in edits:
        looser, pinned = edit.loosen(looser), edit.pin(pinned)
    try:
        arguments = fill(pinned, rng, hints=hints)
        found = faults(schema, arguments)
        if not is_valid(looser, arguments):
            return None
    except RecordError:
        return None
    if sorted(item.fault for item in found) != sorted(edit.fault for edit in edits):
        return None
    return Sibling(looser, arguments, found, tuple(edit.aspect for edit in edits))


def lookalike_call(schema: dict[str, Json], kind: str, rng: Random, *, hints: Hints | None = None) -> Json | None:
    """Arguments that are valid but look suspicious: at a bound, without the optional, or in another order.

    None where the schema offers no such call.
    """
    try:
        arguments = _LOOKALIKES[kind](schema, rng, hints)
    except RecordError:
        return None
    return arguments if arguments is not None and is_valid(schema, arguments) else None


def _at_bound(schema: dict[str, Json], rng: Random, hints: Hints | None) -> Json | None:
    """A call in which one bounded parameter stands at its bound."""
    places = [(site, value) for site in list_sites(schema) for value in _bounds(site.node)]
    if not places:
        return None
    site, value = rng.choice(places)
    return fill(site.pin(schema, {"const": value}), rng, hints=hints)


def _bounds(node: dict[str, Json]) -> list[Json]:
    """The outermost values that a number's schema takes; texts and lists at their bounds are drawn by `fill`."""
    if "enum" in node or "const" in node:
        return []
    values = [node[key] for key in ("minimum", "maximum") if key in node]
    step = 1 if node.get("type") == "integer" else 0
    values += [node["exclusiveMinimum"] + step] if step and "exclusiveMinimum" in node else []
    values += [node["exclusiveMaximum"] - step] if step and "exclusiveMaximum" in node else []
    return [int(value) if float(value).is_integer() else value for value in values]


def _without_optional(schema: dict[str, Json], rng: Random, hints: Hints | None) -> Json | None:
    top = resolve(schema, schema)
    optional = [name for name in top.get("properties", {}) if name not in top.get("required", ())]
    return fill(schema, rng, hints=hints, optional=0.0) if optional else None


def _reordered(schema: dict[str, Json], rng: Random, hints: Hints | None) -> Json | None:
    arguments = fill(schema, rng, hints=hints, optional=0.7)
    return None if len(arguments) < 2 else shuffle_keys(arguments, rng)


def shuffle_keys(arguments: dict[str, Json], rng: Random) -> dict[str, Json]:
    """The same arguments in another order than they had; unchanged where there is one or none."""
    keys = list(arguments)
    while len(keys) > 1 and keys == list(arguments):
        rng.shuffle(keys)
    return {key: arguments[key] for key in keys}


_LOOKALIKES: Mapping[str, Any] = {
    "ok.boundary": _at_bound,
    "ok.optional_omitted": _without_optional,
    "ok.reordered": _reordered,
}


def loosen_tool(tool: Tool, sibling: Sibling) -> Tool:
    """The tool under the sibling definition: what the same call must not be refused by."""
    return replace(tool, parameters=sibling.schema, variant_of=tool.id, variant="sibling")
