"""A world while it is read: what later entries of the file need of earlier ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from carg.world.fields import Words
from carg.world.model import FieldSpec, Knob, Resource
from carg.world.reading import Reader
from carg.world.types import DATE as DATE_TYPE
from carg.world.types import INTEGER, NUMBER, TEXT, TIME, Scope, Type


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
        always = {"now": TIME, "today": DATE_TYPE, "actor": TEXT, "role": Type("text", options=self.roles)}
        return {**always, **knobs, **dict.fromkeys(self.constants, NUMBER)}

    def scope(self, names: Mapping[str, Type] | None = None, *, was: bool = False) -> Scope:
        """A scope with the knobs, constants and all resources, and further names."""
        return Scope({**self.names, **(names or {})}, self.types, was)

    @property
    def all_fields(self) -> dict[str, FieldSpec]:
        """`resource.field` -> field, for `like`."""
        return {f"{res}.{name}": spec for res, specs in self.fields.items() for name, spec in specs.items()}


def _constant_type(value: Any) -> Type:
    if isinstance(value, str):
        return TEXT
    return INTEGER if isinstance(value, int) else NUMBER
