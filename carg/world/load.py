"""Loading a domain file with a world: TOML in, a compiled World out, or every fault of the file at once."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from carg.errors import DomainError
from carg.records import FAULT_ORDER
from carg.world.actions import action_operation
from carg.world.conventions import draw_convention
from carg.world.draft import Draft
from carg.world.fields import Words
from carg.world.formulas import formula_operations, read_formula, read_table, table_operation
from carg.world.generic import resource_operations
from carg.world.model import KINDS, Goal, Grammar, Knob, Operation, Rule, Service, World
from carg.world.reading import Reader, did_you_mean, is_number, texts_in
from carg.world.resources import read_resources
from carg.world.types import Type

MAX_FILE_BYTES = 512_000
SEED_KEYS = ("title", "category", "summary", "topics", "held_out")
WORLD_KEYS = (
    "kind starts span knobs constants vocab text resources actions goals formulas tables services draft".split()
)


@lru_cache(maxsize=64)
def _load_cached(path: Path, stamp: tuple[int, int]) -> World:
    return load_world_text(path.read_bytes(), path)


def load_world(path: Path) -> World:
    """The compiled world of a domain file. Raises DomainError with every fault: file, entry, what is allowed."""
    try:
        about = path.stat()
    except OSError as fault:
        raise DomainError(f"{path}: {fault.strerror}", "give the path of a domain file") from fault
    return _load_cached(path.resolve(), (about.st_mtime_ns, about.st_size))


def load_world_text(text: bytes, path: Path) -> World:
    """The compiled world of a file's bytes; `path` names it in faults and gives name and category."""
    reader = Reader(path.name)
    if len(text) > MAX_FILE_BYTES:
        raise DomainError(f"{path.name} is larger than {MAX_FILE_BYTES} bytes", "split the domain")
    try:
        raw = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise DomainError(f"{path.name}: {fault}", "mend the TOML; inline tables stay on one line") from fault
    world = _read_world(reader, raw, path, hashlib.sha256(text).hexdigest()[:16])
    if reader.faults:
        count = len(reader.faults)
        raise DomainError(
            "\n".join(reader.faults), f"{count} fault{'s' * (count > 1)}; the format is told in domains/README.md"
        )
    return world


def _read_world(reader: Reader, raw: Mapping[str, Any], path: Path, digest: str) -> World:
    reader.table("file", dict(raw), (*SEED_KEYS, *WORLD_KEYS))
    draft = Draft(reader, raw)
    _read_words(draft)
    services = reader.tables("services", raw.get("services", {}))
    roles = {
        name: reader.texts(f"services.{name}.roles", item.get("roles", ["user"])) for name, item in services.items()
    }
    draft.roles = tuple(dict.fromkeys(role for several in roles.values() for role in several))
    read_resources(draft)
    operations: dict[str, Operation] = {}
    for resource in draft.resources.values():
        _add(reader, operations, resource_operations(draft, resource))
    for name, item in reader.table("actions", raw.get("actions", {})).items():
        _add(reader, operations, [made] if (made := action_operation(draft, name, item)) else [])
    formulas = {}
    for name, item in reader.table("formulas", raw.get("formulas", {})).items():
        if (formula := read_formula(draft, name, item)) is not None:
            formulas[name] = formula
            _add(reader, operations, formula_operations(draft, formula))
    tables = {}
    for name, item in reader.table("tables", raw.get("tables", {})).items():
        if (table := read_table(draft, name, item)) is not None:
            tables[name] = table
            _add(reader, operations, [table_operation(table)])
    made_services = _read_services(draft, services, operations)
    span = reader.table("span", raw.get("span", {}), ("days", "steps"))
    kind = raw.get("kind", "records")
    if kind not in KINDS:
        reader.fault("kind", f"{kind!r} is unknown{did_you_mean(str(kind), KINDS)}")
    return World(
        name=path.stem,
        category=path.parent.name,
        title=str(raw.get("title", path.stem)),
        summary=str(raw.get("summary", "")),
        kind=str(kind),
        held_out=raw.get("held_out") is True,
        digest=digest,
        start_day=_day(reader, raw.get("starts", date(2024, 3, 1))),
        days=reader.whole("span.days", span.get("days", 300), 1, 5000),
        steps=reader.whole("span.steps", span.get("steps", 200), 1, 500),
        knobs=draft.knobs,
        constants=draft.constants,
        vocab=draft.words.vocab,
        grammars=draft.words.grammars,
        resources=draft.resources,
        formulas=formulas,
        tables=tables,
        operations=operations,
        services=made_services,
        goals=_read_goals(draft, raw.get("goals", [])),
    )


def _day(reader: Reader, value: Any) -> int:
    if isinstance(value, datetime) or not isinstance(value, date):
        reader.fault("starts", "must be a date, like 2024-03-01")
        return 19783
    return (value - date(1970, 1, 1)).days


def _add(reader: Reader, operations: dict[str, Operation], more: list[Operation]) -> None:
    for operation in more:
        if operation.name in operations:
            reader.fault(operation.name, "two tools have this name")
        operations[operation.name] = operation


def _read_words(draft: Draft) -> None:
    reader, raw = draft.reader, draft.raw
    for name, value in reader.table("knobs", raw.get("knobs", {})).items():
        item = reader.table(f"knobs.{name}", value, ("values", "unit", "about"))
        values = item.get("values")
        values = values if isinstance(values, list) else []
        alike = all(isinstance(v, str) for v in values) or all(map(is_number, values))
        if not alike or len(values) < 2:
            reader.fault(
                f"knobs.{name}", "values must be a list of at least two numbers (or texts); the usual one first"
            )
            continue
        whole = all(isinstance(v, int | str) for v in values)
        values = values if whole else [float(v) for v in values]
        draft.knobs[name] = Knob(name, tuple(values), str(item.get("unit", "")), str(item.get("about", "")))
    for name, value in reader.table("constants", raw.get("constants", {})).items():
        item = reader.table(f"constants.{name}", value, ("value", "unit", "about"))
        if not is_number(item.get("value")):
            reader.fault(f"constants.{name}", "needs value = a number")
            continue
        draft.constants[name] = (item["value"], str(item.get("unit", "")))
    vocab = {
        name: reader.weighted(f"vocab.{name}", value)
        for name, value in reader.table("vocab", raw.get("vocab", {})).items()
    }
    grammars = {}
    for name, value in reader.table("text", raw.get("text", {})).items():
        item = reader.table(f"text.{name}", value)
        forms = reader.weighted(f"text.{name}.forms", item.get("forms", []))
        slots = {slot: reader.weighted(f"text.{name}.{slot}", raw) for slot, raw in item.items() if slot != "forms"}
        grammars[name] = Grammar(forms, slots)
    resources = raw.get("resources", {})
    named = [name for name, item in resources.items() if isinstance(item, dict)] if isinstance(resources, dict) else []
    draft.words = Words(vocab, grammars, tuple(named))


def _read_services(draft: Draft, raws: Mapping[str, Any], operations: dict[str, Operation]) -> dict[str, Service]:
    reader = draft.reader
    groups: dict[str, list[str]] = {}
    for name, operation in operations.items():
        groups.setdefault(operation.subject if operation.kind != "action" else name, []).append(name)
    services: dict[str, Service] = {}
    taken: dict[str, str] = {}
    for name, value in raws.items():
        item = reader.table(f"services.{name}", value, ("about", "offers", "roles", "style"))
        mine: list[str] = []
        for group in reader.names(f"services.{name}.offers", item.get("offers", []), groups, "offer"):
            if group in taken:
                reader.fault(f"services.{name}.offers", f"{group!r} is offered by {taken[group]} already")
            taken[group] = name
            mine.extend(groups[group])
        never, must = _read_style(reader, f"services.{name}.style", item.get("style", {}))
        roles = texts_in(item.get("roles", ["user"]))
        if not roles:
            reader.fault(f"services.{name}.roles", "somebody must call it")
        about = reader.text(f"services.{name}.about", item.get("about"))
        services[name] = Service(name, about, tuple(mine), roles, never, must)
        for key in mine:
            operations[key] = replace(operations[key], service=name, rules=in_order(operations[key]))
    for group in groups:
        if group not in taken:
            reader.fault("services", f"no service offers {group!r}")
    return services


def _read_style(reader: Reader, entry: str, value: Any) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    style = reader.table(entry, value, ("never", "must"))
    never = {
        key: reader.texts(f"{entry}.never.{key}", values)
        for key, values in reader.table(f"{entry}.never", style.get("never", {})).items()
    }
    must = {
        key: reader.text(f"{entry}.must.{key}", wanted)
        for key, wanted in reader.table(f"{entry}.must", style.get("must", {})).items()
    }
    try:
        draw_convention(Random(0), never=never, must=must)
    except DomainError as fault:
        reader.fault(entry, f"{fault.message}; {fault.hint}")
    return never, must


def in_order(operation: Operation) -> tuple[Rule, ...]:
    """The operation's rules in the order in which faults are reported."""
    return tuple(sorted(operation.rules, key=lambda rule: FAULT_ORDER.index(rule.fault)))


def _read_goals(draft: Draft, raws: Any) -> tuple[Goal, ...]:
    reader, goals = draft.reader, []
    for number, value in enumerate(reader.entries("goals", raws)):
        entry = f"goals[{number}]"
        item = reader.table(entry, value, ("on", "want", "reach", "raise"))
        on = reader.one(f"{entry}.on", item.get("on"), draft.resources, "resource")
        if on is None:
            continue
        scope = draft.scope({on: Type("ref", on)})
        if ("reach" in item) == ("raise" in item):
            reader.fault(entry, "needs one of reach = a condition, raise = a number")
            continue
        kinds = ("boolean",) if "reach" in item else ("number", "integer")
        made = reader.expression(entry, item.get("reach", item.get("raise")), scope, *kinds)
        if made is not None:
            goals.append(Goal(reader.text(f"{entry}.want", item.get("want")), on, made, "raise" in item))
    return tuple(goals)
