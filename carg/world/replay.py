"""Executing a session again from its opening: the truth that `filter` and `evaluate` compare with."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from carg.domains import find_seed
from carg.errors import StoreError
from carg.records import Instance, Opening, Response, Session
from carg.world.load import load_world
from carg.world.model import World
from carg.world.service import Answered, Service
from carg.world.state import State
from carg.world.view import patch_tables

if TYPE_CHECKING:
    from carg.scene import Scene

SERVICES_KEPT = 64
_services: dict[str, Service] = {}
_copies: dict[tuple[str, str], Path] = {}


def know_copies(folder: Path) -> None:
    """World files that a run keeps because no list has them: found from now on by name and digest."""
    for path in sorted(folder.glob("*/*.toml")):
        _copies[path.stem, hashlib.sha256(path.read_bytes()).hexdigest()[:16]] = path


@lru_cache(64)
def world_of(domain: str, digest: str) -> World:
    """The world of a domain by name. Raises StoreError where the file is not the one the run was made from."""
    world = load_world(_copies.get((domain, digest)) or find_seed(domain).path)
    if digest and world.digest != digest:
        raise StoreError(
            f"domain {domain!r} has changed since the run: {world.digest} is not {digest}",
            "put the file back, or expand and generate again with --fresh",
        )
    return world


def service_of(instance: Instance) -> Service:
    """The service of a world's instance, from a cache by the instance's id."""
    if (found := _services.get(instance.id)) is None:
        if len(_services) >= SERVICES_KEPT:
            _services.pop(next(iter(_services)))
        ids = dict(zip(instance.operations, instance.tools, strict=True)) if instance.operations else None
        found = Service(world_of(instance.domain, instance.domain_digest), instance, ids)
        _services[instance.id] = found
    return found


def start_state(opening: Opening, session: Session) -> State:
    """The state in which a session starts: the opening with the session's patch."""
    return State(patch_tables(opening.tables, session.patch), opening.now, dict(opening.counters))


def replay_answers(scene: Scene) -> list[Answered]:
    """Every call of the session executed again, in order, from the opening and the patch."""
    session, opening = scene.session, scene.opening
    assert opening is not None
    service = service_of(scene.instance).with_siblings(session.siblings)
    state = start_state(opening, session)
    actor = session.actor or opening.actor
    answers = []
    for exchange in session.exchanges:
        answered = service.answer(state, exchange.call.text, actor, scene.definitions, exchange.directive)
        if answered.outcome is not None:
            state.apply(answered.outcome.changes)
        answers.append(answered)
    return answers


def replay(scene: Scene) -> list[Response]:
    """The responses of executing every call of the session again."""
    return [answered.response for answered in replay_answers(scene)]
