"""Loading a domain file with a world: TOML in, a compiled World out, or every fault of the file at once."""

from __future__ import annotations

import hashlib
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

from carg.errors import DomainError
from carg.records import FAULT_ORDER
from carg.world.actions import action_operation
from carg.world.conventions import draw_convention
from carg.world.fields import Words, field_types, finish_field, read_field
from carg.world.formulas import formula_operations, read_formula, read_table, table_operation
from carg.world.generic import resource_operations
from carg.world.model import (
    GENERIC,
    KINDS,
    FieldSpec,
    Goal,
    Grammar,
    Knob,
    Operation,
    Resource,
    Rule,
    Service,
    Tally,
    World,
)
from carg.world.reading import NAME, RESERVED, SLOT, Reader, did_you_mean, is_number, texts_in
from carg.world.types import DATE as DATE_TYPE
from carg.world.types import INTEGER, NUMBER, TEXT, TIME, Scope, Type

MAX_FILE_BYTES = 512_000
NUMBER_SLOT = re.compile(r"\w*:\d{1,6}(-\d{1,6})?")
"""A slot of a grammar that a number fills: {n:3-9}."""
SEED_KEYS = ("title", "category", "summary", "topics", "held_out")
WORLD_KEYS = (
    "kind starts span knobs constants vocab text resources actions goals formulas tables services draft".split()
)
POLICIES = ("restrict", "cascade", "nullify")
RESOURCE_KEYS = "about id plural offers initial pace on_delete filters roles always rules fields".split()


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


@lru_cache(maxsize=64)
def _load_cached(path: Path, stamp: tuple[int, int]) -> World:
    return load_world_text(path.read_bytes(), path)


def load_world(path: Path) -> World:
    """The compiled world of a domain file. Raises DomainError listing every fault with file, entry and what is allowed."""
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
    roles = {name: reader.texts(f"services.{name}.roles", item.get("roles", ["user"])) for name, item in services.items()}
    draft.roles = tuple(dict.fromkeys(role for several in roles.values() for role in several))
    _read_resources(draft)
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
            _add(reader, operations, [table_operation(draft, table)])
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


def _constant_type(value: Any) -> Type:
    if isinstance(value, str):
        return TEXT
    return INTEGER if isinstance(value, int) else NUMBER


def _read_words(draft: Draft) -> None:
    reader, raw = draft.reader, draft.raw
    for name, value in reader.table("knobs", raw.get("knobs", {})).items():
        item = reader.table(f"knobs.{name}", value, ("values", "unit", "about"))
        values = item.get("values")
        known = isinstance(values, list) and all(isinstance(v, str) or is_number(v) for v in values)
        if not isinstance(values, list) or not known or len(values) < 2 or len({isinstance(v, str) for v in values}) > 1:
            reader.fault(f"knobs.{name}", "values must be a list of at least two numbers (or texts); the usual one first")
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


def _read_resources(draft: Draft) -> None:
    reader = draft.reader
    raws = reader.tables("resources", draft.raw.get("resources", {}))
    for name, value in raws.items():
        item = reader.table(f"resources.{name}", value, RESOURCE_KEYS)
        if not NAME.fullmatch(name) or name in RESERVED:
            reader.fault(f"resources.{name}", f"{name!r} cannot name a resource: lower case, and no reserved word")
        specs: dict[str, FieldSpec] = {}
        for key, entry in reader.table(f"resources.{name}.fields", item.get("fields", {})).items():
            known = {**draft.all_fields, **{f"{name}.{k}": v for k, v in specs.items()}}
            spec = read_field(reader, f"resources.{name}.fields.{key}", key, entry, draft.words, known)
            if spec is not None:
                specs[key] = spec
        draft.fields[name] = specs
        draft.types[name] = {**field_types(specs, item.get("fields", {})), "id": Type("ref", name)}
    for name in draft.fields:
        _finish_fields(draft, name, raws[name].get("fields", {}))
    for name, value in raws.items():
        draft.resources[name] = _read_resource(draft, name, value)


def _finish_fields(draft: Draft, name: str, raw: Mapping[str, Any]) -> None:
    reader = draft.reader
    before: dict[str, Type] = {}
    for key, spec in draft.fields[name].items():
        entry = f"resources.{name}.fields.{key}"
        done = finish_field(reader, entry, spec, raw[key], draft.scope(before))
        if spec.kind == "tally":
            done = replace(done, tally=_read_tally(draft, entry, name, raw[key]))
        draft.fields[name][key] = done
        before[key] = draft.types[name][key]
        if spec.grammar is not None:
            _check_grammar(draft, entry, spec.grammar, name)
    lives = [key for key, spec in draft.fields[name].items() if spec.kind == "life"]
    if len(lives) > 1:
        reader.fault(f"resources.{name}.fields", f"has two life cycles: {', '.join(lives)}")


def _check_grammar(draft: Draft, entry: str, grammar: str, resource: str) -> None:
    found = draft.words.grammars[grammar]
    known = {*found.slots, *draft.words.vocab, *draft.types[resource]}
    for text, _ in (*found.forms, *(pair for slot in found.slots.values() for pair in slot)):
        for slot in SLOT.findall(text):
            fits = slot in known or NUMBER_SLOT.fullmatch(slot) or slot.partition(".")[0] in draft.fields[resource]
            if not fits:
                draft.reader.fault(entry, f"text.{grammar}: slot {{{slot}}} is unknown{did_you_mean(slot, known)}")


def _read_tally(draft: Draft, entry: str, owner: str, raw: Mapping[str, Any]) -> Tally | None:
    reader = draft.reader
    resource, _, summed = str(raw.get("count", raw.get("sum"))).partition(".")
    spec = draft.fields.get(resource, {}).get(str(raw.get("by")))
    if spec is None or spec.kind != "ref" or spec.of != owner:
        reader.fault(entry, f"by = {raw.get('by')!r} must be a field of {resource} that refers to {owner}")
        return None
    if summed and draft.types[resource].get(summed, TEXT).kind not in ("number", "integer"):
        reader.fault(entry, f"{resource}.{summed} is no number")
        return None
    where = None
    if "where" in raw:
        scope = Scope({**draft.names, resource: Type("ref", resource)}, draft.types)
        where = reader.expression(f"{entry}.where", raw["where"], scope, "boolean")
    return Tally(resource, spec.name, summed or None, where)


def _read_resource(draft: Draft, name: str, item: Mapping[str, Any]) -> Resource:
    reader, entry = draft.reader, f"resources.{name}"
    specs = draft.fields[name]
    own = draft.scope(draft.types[name])
    always = [
        {"that": rule, "code": f"{name}_inconsistent", "say": f"This would leave the {name} inconsistent."}
        if isinstance(rule, str)
        else rule
        for rule in reader.entries(f"{entry}.always", item.get("always", []))
    ]
    rules: dict[str, tuple[Any, ...]] = {}
    target = {name: Type("ref", name)}
    for verb, entries in reader.table(f"{entry}.rules", item.get("rules", {}), ("create", "update", "delete")).items():
        values = {
            key: kind.or_null(verb == "update" or kind.nullable)
            for key, kind in draft.types[name].items()
            if "." not in key and key != "id" and verb in specs[key].written_by
        }
        scope = draft.scope({**(target if verb != "create" else {}), **(values if verb != "delete" else {})})
        found = [reader.rule(f"{entry}.rules.{verb}[{n}]", raw, scope, values | target) for n, raw in enumerate(reader.entries(f"{entry}.rules.{verb}", entries))]
        rules[verb] = tuple(rule for rule in found if rule)
    refers = {res: None for res, fs in draft.fields.items() for spec in fs.values() if spec.of == name}
    policies = reader.table(f"{entry}.on_delete", item.get("on_delete", {}), refers)
    on_delete = {
        other: policy
        for other in refers
        if other in policies
        and (policy := reader.one(f"{entry}.on_delete.{other}", policies[other], POLICIES, "policy")) is not None
    }
    offers = reader.names(f"{entry}.offers", item.get("offers", []), GENERIC, "generic operation")
    if "delete" in offers and (missing := refers.keys() - on_delete.keys() - {name}):
        reader.fault(f"{entry}.on_delete", f"delete is offered: say what becomes of {', '.join(sorted(missing))}")
    initial = reader.pair(f"{entry}.initial", item.get("initial", [0, 0]), 0, 200) or (0, 0)
    return Resource(
        name=name,
        plural=str(item.get("plural", f"{name}s")),
        prefix=str(item.get("id", name[:3].upper())),
        about=reader.text(f"{entry}.about", item.get("about")),
        fields=specs,
        offers=offers,
        initial=(int(initial[0]), int(initial[1])),
        pace=reader.number(f"{entry}.pace", item.get("pace", 0.0), 0, 1),
        on_delete=on_delete,
        always=tuple(
            rule
            for n, raw in enumerate(always)
            if (rule := reader.rule(f"{entry}.always[{n}]", raw, own, specs_types(specs)))
            and not _reads_caller(reader, f"{entry}.always[{n}]", rule)
        ),
        rules=rules,
        roles={
            verb: frozenset(reader.names(f"{entry}.roles.{verb}", roles, draft.roles, "role"))
            for verb, roles in reader.table(f"{entry}.roles", item.get("roles", {}), GENERIC).items()
        },
        filters=reader.names(f"{entry}.filters", item.get("filters", []), specs, "field"),
        life=next((key for key, spec in specs.items() if spec.kind == "life"), None),
    )


def _reads_caller(reader: Reader, entry: str, rule: Rule) -> bool:
    """Whether an invariant reads what is no part of the state; a fault."""
    names = sorted(rule.that.names & {"now", "today", "role", "actor"})
    for name in names:
        reader.fault(entry, f"an invariant that reads {name} would be broken by time or by another caller")
    return bool(names)


def specs_types(specs: Mapping[str, FieldSpec]) -> dict[str, Type]:
    """Field name -> type."""
    return {name: spec.type for name, spec in specs.items()}


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
        if not texts_in(item.get("roles", ["user"])):
            reader.fault(f"services.{name}.roles", "somebody must call it")
        services[name] = Service(
            name,
            reader.text(f"services.{name}.about", item.get("about")),
            tuple(mine),
            texts_in(item.get("roles", ["user"])),
            never,
            must,
        )
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


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        try:
            loaded = load_world(Path(argument))
        except DomainError as problem:
            print(problem.message, problem.hint, sep="\n")
            continue
        authored = sum(operation.authored for operation in loaded.operations.values())
        print(f"{argument}: sound; {len(loaded.operations)} tools, {authored} authored")
