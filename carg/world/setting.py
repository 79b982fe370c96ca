"""A world as one instance runs it: knobs chosen, ids styled, and what refers to, counts and guards what."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from carg.world.model import Resource, Rule, Tally, World


class Setting:
    """A world as one instance runs it: knobs chosen, ids styled, texts salted."""

    __slots__ = ("always", "base", "guarded", "id_style", "refers", "salt", "tallies", "world")

    def __init__(self, world: World, knobs: Mapping[str, Any], *, id_style: str, salt: str) -> None:
        self.world = world
        self.id_style = id_style
        self.salt = salt
        self.base = {
            **{name: knob.values[0] for name, knob in world.knobs.items()},
            **knobs,
            **{name: value for name, (value, _) in world.constants.items()},
        }
        self.tallies: dict[str, list[tuple[str, str, Tally]]] = {}
        self.refers: dict[str, list[tuple[str, str]]] = {}
        self.always: dict[str, list[tuple[Rule, frozenset[tuple[str, str]]]]] = {}
        """Invariants by resource, each with the (resource, field) it reads; of a table it looks through, all fields."""
        for resource in world.resources.values():
            self.always[resource.name] = [(rule, _read_by(world, resource, rule)) for rule in resource.always]
            for spec in resource.fields.values():
                if spec.tally is not None:
                    self.tallies.setdefault(spec.tally.resource, []).append((resource.name, spec.name, spec.tally))
                if spec.kind == "ref" and spec.of is not None:
                    self.refers.setdefault(spec.of, []).append((resource.name, spec.name))
        self.guarded = {cell for rules in self.always.values() for _, read in rules for cell in read}
        """The (resource, field) that some invariant reads."""

    def mint(self, resource: Resource, number: int) -> str:
        """The id of the number-th record of a resource, in the instance's style."""
        return mint_id(self.id_style, resource.prefix, number, f"{self.salt}/{resource.name}")


def _read_by(world: World, resource: Resource, rule: Rule) -> frozenset[tuple[str, str]]:
    own = {(resource.name, name) for name in rule.that.names if name in resource.fields}
    whole = {(table, name) for table in rule.that.tables for name in world.resources[table].fields}
    return rule.that.cells | own | whole


def mint_id(style: str, prefix: str, number: int, salt: str) -> str:
    """An id: sequential styles show the number, the others are drawn from salt and number."""
    if style == "integer":
        return str(1000 + number)
    if style == "prefixed_sequence":
        return f"{prefix}-{number:04d}"
    drawn = Random(f"{salt}/{number}").getrandbits(128)
    if style == "uuid":
        text = f"{drawn:032x}"
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
    if style == "short_code":
        letters = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
        return "".join(letters[(drawn >> (5 * place)) & 31] for place in range(7))
    return f"{prefix.lower()}_{drawn & (2**40 - 1):010x}"
