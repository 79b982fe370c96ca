"""A world while it is read: what later entries of the file need of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.world.fields import Words
from carg.world.model import FieldSpec, Knob, Resource
from carg.world.reading import Reader
from carg.world.types import DATE, INTEGER, NUMBER, TEXT, TIME, Expression, Scope, Type


@dataclass(slots=True)
class Draft:
    """A world while it is read: what later entries need of earlier ones."""

    reader: Reader
    raw: Mapping[str, Any]
    knobs: dict[str, Knob] = field(default_factory=dict)
    constants: dict[str, tuple[float, str]] = field(default_factory=dict)
    words: Words = field(default_factory=lambda: Words({}, {}, ()))
    fields: dict[str, dict[str, FieldSpec]] = field(default_factory=dict)
    types: dict[str, dict[str, Type]] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    roles: tuple[str, ...] = ()

    @property
    def names(self) -> dict[str, Type]:
        """What every expression may name."""
        knobs = {name: _constant_type(knob.values[0]) for name, knob in self.knobs.items()}
        always = {"now": TIME, "today": DATE, "actor": TEXT, "role": Type("text", options=self.roles)}
        return {**always, **knobs, **dict.fromkeys(self.constants, NUMBER)}

    def scope(self, names: Mapping[str, Type] | None = None, *, was: bool = False) -> Scope:
        """A scope with the knobs, constants and all resources, and further names."""
        return Scope({**self.names, **(names or {})}, self.types, was)

    def read_lets(
        self, entry: str, raw: Mapping[str, Any], names: dict[str, Type]
    ) -> tuple[tuple[str, Expression], ...]:
        """The entry's `let`, each with the names before it; `names` gains them."""
        lets = []
        for key, source in self.reader.table(f"{entry}.let", raw.get("let", {})).items():
            if (made := self.reader.expression(f"{entry}.let.{key}", source, self.scope(names))) is not None:
                lets.append((key, made))
                names[key] = made.type
        return tuple(lets)

    @property
    def all_fields(self) -> dict[str, FieldSpec]:
        """`resource.field` -> field, for `like`."""
        return {f"{res}.{name}": spec for res, specs in self.fields.items() for name, spec in specs.items()}


def _constant_type(value: Any) -> Type:
    if isinstance(value, str):
        return TEXT
    return INTEGER if isinstance(value, int) else NUMBER
