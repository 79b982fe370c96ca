"""The records of a service without a world, as accepted answers reveal them: by resource and id.

One mechanism for the state that an LLM is shown in a session, for what may not be contradicted, and for a stand-in that
has no model at all. It knows a tool's effect and the places of ids and records, nothing of its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from carg.records import Definition, Json, Op

Record = dict[str, Json]


@dataclass(slots=True)
class Shadow:
    """What is known of a store. A record is None once it was deleted; nothing says that others do not exist."""

    tables: dict[str, dict[str, Record | None]] = field(default_factory=dict)

    def take(self, definition: Definition, arguments: Record, body: Json) -> tuple[Op, ...]:
        """Takes up an accepted answer, and says what changed: one operation for each record it told of."""
        table = definition.resource or ""
        subject = subject_of(definition, arguments)
        if definition.effect == "delete":
            return self._put(table, subject, None) if subject is not None else ()
        if definition.effect == "compute":
            return ()
        written = _scalars(arguments) if definition.effect in ("create", "update") else {}
        shown = list(records_in(definition, body))
        if not shown and subject is not None and isinstance(body, dict):
            shown = [(subject, _scalars(body) if definition.records_result is None else {})]
        ops: list[Op] = []
        for name, record in shown:
            known = self.tables.get(table, {}).get(name) or {}
            echoed = {key: value for key, value in written.items() if key in record or key in known}
            ops += self._put(table, name, {**known, **echoed, **record})
        return tuple(ops)

    def knows(self, definition: Definition, arguments: Record) -> bool | None:
        """Whether the record that a call names is there: True, False once it was deleted, None where nobody knows."""
        subject = subject_of(definition, arguments)
        if subject is None or definition.effect == "create":
            return None
        table = self.tables.get(definition.resource or "", {})
        return table[subject] is not None if subject in table else None

    def shown(self) -> dict[str, Json]:
        """The tables as a model is shown them; deleted records say so."""
        return {
            table: {name: "deleted" if record is None else record for name, record in records.items()}
            for table, records in self.tables.items()
        }

    def _put(self, table: str, name: str, record: Record | None) -> tuple[Op, ...]:
        records = self.tables.setdefault(table, {})
        if name in records and records[name] == record:
            return ()
        records[name] = record
        return (Op(table, name, record),)


def subject_of(definition: Definition, arguments: Record) -> str | None:
    """The id, as text, of the record that a call names; None where it names none or a list."""
    value = at_path(arguments, definition.id_argument) if definition.id_argument is not None else None
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def records_in(definition: Definition, body: Json) -> Iterator[tuple[str, Record]]:
    """(id, record) of each record that a body shows, where `id_result` says which field the id is."""
    if definition.id_result is None:
        return
    parent, _, key = definition.id_result.rpartition(".")
    if definition.records_result is None:
        found = [at_path(body, parent)]
    else:
        items = at_path(body, definition.records_result)
        found = items if isinstance(items, list) else []
    for record in found:
        if isinstance(record, dict) and isinstance(record.get(key), str | int):
            yield str(record[key]), record


def at_path(value: Json, path: str) -> Json:
    """The value at a dotted path, None where there is none; the empty path is the whole."""
    for step in path.split(".") if path else ():
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _scalars(value: Record) -> Record:
    return {name: item for name, item in value.items() if not isinstance(item, dict | list)}
