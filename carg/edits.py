"""Places of a schema and the edits that loosen one aspect at one of them.

An edit is planned for one class of fault. `loosen` gives the sibling schema, `pin` a schema under which every call
carries the value that only the sibling accepts: the way there is made required, the value a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from carg.fill import flatten
from carg.records import Json
from carg.schemas import resolve, types_of

Lexicon = Mapping[str, tuple[dict[str, Json], ...]]
"""Schemas of other tools' parameters, by name."""

MAX_DEPTH = 3
"""Objects and arrays below this are not edited: faults that deep are rare in real calls."""
MAX_SITES = 200

Path = tuple[str, ...]
"""Property names from the top; "[]" steps into the items of an array."""


@dataclass(frozen=True, slots=True)
class Site:
    """One parameter: where it stands and its schema with references followed."""

    path: Path
    node: dict[str, Json]
    required: bool

    @property
    def name(self) -> str:
        """The parameter's name, that of the array for its items."""
        return next((step for step in reversed(self.path) if step != "[]"), "value")

    def pin(self, schema: dict[str, Json], node: Json) -> dict[str, Json]:
        """The schema in which every value has this parameter, under `node`."""
        return change(schema, self.path, lambda _: node, pinned=True)


@dataclass(frozen=True, slots=True)
class Edit:
    """One aspect of a schema loosened. `key` tells edits of one object apart; `aspect` is class and place."""

    fault: str
    path: Path
    key: str
    loose: Callable[[dict[str, Json]], Json]
    fixed: Callable[[dict[str, Json]], Json]

    @property
    def place(self) -> Path:
        """Where the fault will stand."""
        return (*self.path, self.key) if self.key else self.path

    @property
    def aspect(self) -> str:
        """`class:place`, with the property that is added or dropped."""
        return f"{self.fault.removeprefix('schema.')}:{'.'.join(self.place).replace('.[]', '[]')}"

    def loosen(self, schema: dict[str, Json]) -> dict[str, Json]:
        """The sibling schema."""
        return change(schema, self.path, self.loose, pinned=False)

    def pin(self, schema: dict[str, Json]) -> dict[str, Json]:
        """The schema whose values are refused by the original and accepted by the sibling."""
        return change(schema, self.path, self.fixed, pinned=True)


def list_sites(schema: dict[str, Json]) -> list[Site]:
    """Every parameter down to MAX_DEPTH, in the order of the schema; of anyOf and oneOf the first branch."""
    return _sites(schema, flatten(schema, schema), (), 0)[:MAX_SITES]


def _sites(root: dict[str, Json], node: dict[str, Json], path: Path, level: int) -> list[Site]:
    found: list[Site] = []
    if level >= MAX_DEPTH:
        return found
    for name, item in (node.get("properties") or {}).items():
        inner = flatten(root, item)
        found.append(Site((*path, name), inner, name in node.get("required", ())))
        found += _sites(root, inner, (*path, name), level + 1)
    if isinstance(node.get("items"), dict):
        inner = flatten(root, node["items"])
        found.append(Site((*path, "[]"), inner, required=False))
        found += _sites(root, inner, (*path, "[]"), level + 1)
    return found


def change(
    schema: dict[str, Json], path: Path, to: Callable[[dict[str, Json]], Json], *, pinned: bool
) -> dict[str, Json]:
    """A copy of the schema with the node at the path replaced; `pinned` makes the way to it required, lists single."""
    changed: dict[str, Json] = _change(schema, schema, path, to, pinned=pinned)
    return changed


def _change(
    root: dict[str, Json], schema: Json, path: Path, to: Callable[[dict[str, Json]], Json], *, pinned: bool
) -> Json:
    node = flatten(root, schema)
    if not path:
        return to(node) if pinned else _regraft(root, schema, to(node))
    step, made = path[0], dict(node)
    if step == "[]":
        made["items"] = _change(root, node["items"], path[1:], to, pinned=pinned)
        size = max(1, node.get("minItems", 1))
        return made | {"minItems": size, "maxItems": size} if pinned else _regraft(root, schema, made)
    made["properties"] = {
        **node["properties"],
        step: _change(root, node["properties"][step], path[1:], to, pinned=pinned),
    }
    if not pinned:
        return _regraft(root, schema, made)
    return made | {"required": [*dict.fromkeys([*node.get("required", ()), step])]}


def _regraft(root: dict[str, Json], schema: Json, new: Json) -> Json:
    """The new node in place of the branch that `flatten` took; the other branches, null above all, stay."""
    node = resolve(root, schema)
    for key in ("anyOf", "oneOf"):
        if branches := node.get(key):
            place = next((n for n, item in enumerate(branches) if types_of(resolve(root, item)) != ("null",)), 0)
            return node | {key: [*branches[:place], new, *branches[place + 1 :]]}
    return new
