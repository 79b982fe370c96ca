"""A session with all that it refers to: what rendering, replay, checks and statistics read."""

from __future__ import annotations

from dataclasses import dataclass

from carg.records import Definition, Instance, Opening, Session


@dataclass(frozen=True, slots=True)
class Scene:
    """A session with all it refers to, resolved."""

    session: Session
    instance: Instance
    definitions: dict[str, Definition]
    """The shown tools, by presented name, in order."""
    opening: Opening | None
