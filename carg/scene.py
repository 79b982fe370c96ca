"""A session with all that it refers to: what rendering, replay, checks and statistics read; and the book of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from carg.errors import RecordError
from carg.records import Definition, Instance, Opening, Session, Tool
from carg.store import parts, read_parts, read_records


@dataclass(frozen=True, slots=True)
class Scene:
    """A session with all it refers to, resolved."""

    session: Session
    instance: Instance
    definitions: dict[str, Definition]
    """The shown tools, by presented name, in order."""
    opening: Opening | None


@dataclass(frozen=True, slots=True)
class Book:
    """The tools and instances of a run, by id."""

    tools: dict[str, Tool]
    instances: dict[str, Instance]

    def scene(self, session: Session, openings: dict[str, Opening]) -> Scene:
        """The session resolved. Raises RecordError where it refers to what is not there."""
        instance = self.instances.get(session.instance)
        if instance is None:
            raise RecordError(f"session {session.id}: no instance {session.instance}", "are all parts of the run here?")
        opening = openings.get(session.opening or "")
        if session.opening is not None and opening is None:
            raise RecordError(f"session {session.id}: no opening {session.opening}", "are all parts of the run here?")
        if instance.operations:
            from carg.world.replay import service_of

            return Scene(
                session, instance, service_of(instance).with_siblings(session.siblings).shown(session.tools), opening
            )
        from carg.world.refusing import definition_of

        made = [definition_of(self.tools[key]) for key in instance.tools]
        shown = {definition.name: definition for definition in made}
        return Scene(session, instance, {name: shown[name] for name in session.tools}, opening)


def open_book(run: Path) -> Book:
    """The book of a run folder."""
    folder = run / "expand"
    if (folder / "domains").is_dir():
        from carg.world.replay import know_copies

        know_copies(folder / "domains")
    tools = {tool.id: tool for tool in read_parts(Tool, folder, "tools")}
    return Book(tools, {instance.id: instance for instance in read_parts(Instance, folder, "instances")})


def read_scenes(book: Book, run: Path, number: int) -> Iterator[Scene]:
    """The scenes of one part of a run's sessions."""
    folder = run / "generate"
    kept = folder / f"openings-{number:05d}.jsonl"
    openings = {opening.id: opening for opening in read_records(Opening, kept)} if kept.exists() else {}
    for session in read_records(Session, folder / f"sessions-{number:05d}.jsonl"):
        yield book.scene(session, openings)


def count_parts(run: Path) -> int:
    """How many parts of sessions the run has."""
    return len(parts(run / "generate", "sessions"))
