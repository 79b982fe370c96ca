"""The twin of a session: another grown world that agrees with all that a model can read, and differs in what is hidden.

The session is executed on both (`playing`). Where `knowledge` says that a label or a value is determined, both must
agree: the twin is the test of the read set, and the control in `evaluate`. It leans on nothing but view, answers and
refusals.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from carg.records import Instance
from carg.scene import Scene
from carg.world.functions import DAY_S
from carg.world.model import FieldSpec
from carg.world.openings import grow_state
from carg.world.replay import service_of, start_state
from carg.world.service import Service
from carg.world.setting import Setting
from carg.world.state import Record, State, Tables
from carg.world.view import View, service_tables, view_of

FRESH = 500_000
"""Numbers of the twin's own ids: beyond any that a session can name."""


@dataclass(slots=True)
class Twin:
    """The twin under way: a service with other salts, its state, and which records nobody has named yet."""

    service: Service
    state: State
    view: View
    rng: Random
    world: Tables
    """The world's opening: where the twin has no record of a kind, one of these is copied."""
    own: dict[str, list[str]]
    """Ids of the twin's own records, by table; they take over the id of the world's record once it is named."""
    whole: set[str] = field(default_factory=set)
    """Tables that the view shows whole: nobody else is in them, whatever it says of ids not listed."""
    gone: set[tuple[str, str]] = field(default_factory=set)
    """What was deleted, or said not to be there."""

    @property
    def setting(self) -> Setting:
        """The world as the twin runs it."""
        return self.service.setting

    def admit(self, table: str, key: str | None) -> None:
        """Make sure that a record of this id exists: one of the twin's own takes it over, references follow."""
        if key is None or key in self.state.tables[table] or (table, key) in self.gone:
            return
        rows, own = self.state.tables[table], self.own[table]
        if own:
            old = own.pop(self.rng.randrange(len(own)))
            self.rename(table, old, key)
        elif source := rows or self.world[table]:
            rows[key] = {**source[self.rng.choice(sorted(source))], "id": key}
            _admit_references(self, table, rows[key])

    def rename(self, table: str, old: str, key: str) -> None:
        """Give a record another id, and all references to it."""
        rows = self.state.tables[table]
        record = rows.pop(old)
        rows[key] = {**record, "id": key} if "id" in record else record
        for other, name in self.setting.refers.get(table, ()):
            for hit, found in self.state.tables[other].items():
                if found[name] == old:
                    self.state.tables[other][hit] = {**found, name: key}

    def banish(self, table: str, key: str) -> None:
        """Take the id away again: the world has no such record."""
        self.gone.add((table, key))
        if key in self.state.tables[table]:
            fresh = self.setting.mint(self.setting.world.resources[table], FRESH * 2 + len(self.gone))
            self.rename(table, key, fresh)
            self.own[table].append(fresh)

    def put(self, table: str, key: str, name: str, value: Any) -> None:
        """Adopt one cell; what it refers to exists then."""
        self.admit(table, key)
        record = self.state.tables[table].get(key)
        if record is None:
            return
        self.state.tables[table][key] = {**record, name: value}
        spec = self.setting.world.resources[table].fields[name]
        if spec.kind == "ref" and spec.of is not None:
            self.admit(spec.of, value)


def twin_of(scene: Scene, seed: int) -> Twin:
    """The twin of a scene's opening: it agrees with the view and differs in the rest, by `seed`."""
    session, opening = scene.session, scene.opening
    assert opening is not None
    service = _twin_service(service_of(scene.instance).with_siblings(session.siblings), seed)
    grown = _grown(scene.instance.id, service, seed)
    truth, view, rng = start_state(opening, session), view_of(session.view), Random(f"twin/{session.id}/{seed}")
    tables = _own_tables(service.setting, grown, opening.now, rng)
    counters = {name: count if view.counters else count + rng.randint(1, 9) for name, count in truth.counters.items()}
    own = {name: sorted(table) for name, table in tables.items()}
    twin = Twin(service, State(tables, opening.now, counters), view, rng, truth.tables, own)
    read = service_tables(service.world, scene.instance.service) if view.mode != "withheld" else ()
    for name in read:
        rest = [key for key in truth.tables[name] if key not in set(view.ids.get(name, ()))]
        _keep(twin, name, len(rest))
        if not rest:
            twin.whole.add(name)
        for key in view.ids.get(name, ()):
            if key in truth.tables[name]:
                tables[name][key] = truth.tables[name][key]
        if view.rule == "closed":
            for key in rest:
                twin.admit(name, key)
    for name, keys in view.ids.items():
        for key in keys:
            _admit_references(twin, name, tables[name].get(key))
    return twin


def _twin_service(service: Service, seed: int) -> Service:
    twin, surface = copy(service), copy(service.surface)
    instance: Instance = service.instance
    salt = f"twin/{seed}/{instance.seed}"
    surface.setting = Setting(service.world, instance.knobs, id_style=surface.factors["id_style"], salt=salt)
    twin.surface = surface
    return twin


_grown_states: dict[tuple[str, int], State] = {}
GROWN_KEPT = 16


def _grown(instance: str, service: Service, seed: int) -> State:
    key = (instance, seed)
    if key not in _grown_states:
        if len(_grown_states) >= GROWN_KEPT:
            _grown_states.pop(next(iter(_grown_states)))
        _grown_states[key] = grow_state(service.setting, Random(service.setting.salt))
    return _grown_states[key]


def _own_tables(setting: Setting, grown: State, now: int, rng: Random) -> dict[str, dict[str, Record]]:
    """The grown tables under ids of their own, in drawn order, moved to the world's time."""
    names: dict[tuple[str, str], str] = {}
    for table, rows in grown.tables.items():
        for number, key in enumerate(rows):
            names[table, key] = setting.mint(setting.world.resources[table], FRESH + number)
    days = (now - grown.now) // DAY_S
    made: dict[str, dict[str, Record]] = {}
    for table, rows in grown.tables.items():
        fields = setting.world.resources[table].fields
        keys = rng.sample(sorted(rows), len(rows))
        made[table] = {
            names[table, key]: {
                "id": names[table, key],
                **{name: _moved(spec, rows[key][name], names, days) for name, spec in fields.items()},
            }
            for key in keys
        }
    return made


def _moved(spec: FieldSpec, value: Any, names: dict[tuple[str, str], str], days: int) -> Any:
    if value is None:
        return None
    if spec.kind == "ref":
        return names.get((spec.of or "", value))
    if spec.kind in ("date", "time"):
        return value + days * (1 if spec.kind == "date" else DAY_S)
    return value


def _keep(twin: Twin, table: str, count: int) -> None:
    """Leave so many of the twin's own records in the table; references to others go to those, else to the world's."""
    rows, own = twin.state.tables[table], twin.own[table]
    while own and len(own) < count:
        fresh = twin.setting.mint(twin.setting.world.resources[table], FRESH * 3 + len(own))
        rows[fresh] = {**rows[twin.rng.choice(own)], "id": fresh}
        own.append(fresh)
    dropped = set(own[count:])
    del own[count:]
    left = own or sorted(twin.world[table])
    for key in dropped:
        del rows[key]
    for other, name in twin.setting.refers.get(table, ()):
        for hit, record in twin.state.tables[other].items():
            if record[name] in dropped:
                twin.state.tables[other][hit] = {**record, name: twin.rng.choice(left) if left else None}


def _admit_references(twin: Twin, table: str, record: Record | None) -> None:
    for name, spec in twin.setting.world.resources[table].fields.items():
        if record is not None and spec.kind == "ref" and spec.of is not None:
            twin.admit(spec.of, record[name])
