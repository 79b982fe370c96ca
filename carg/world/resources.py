"""Reading the resources of a domain file: fields, tallies, rules, invariants, and what a deletion does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from carg.world.draft import Draft
from carg.world.fields import field_types, finish_field, read_field
from carg.world.model import GENERIC, FieldSpec, Resource, Rule, Tally
from carg.world.reading import NAME, RESERVED, SLOT, Reader, did_you_mean
from carg.world.types import TEXT, Scope, Type

NUMBER_SLOT = re.compile(r"\w*:\d{1,6}(-\d{1,6})?")
"""A slot of a grammar that a number fills: {n:3-9}."""
POLICIES = ("restrict", "cascade", "nullify")
RESOURCE_KEYS = "about id plural offers initial pace on_delete filters roles always rules fields".split()


def read_resources(draft: Draft) -> None:
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
    own, types = draft.scope(draft.types[name]), {key: spec.type for key, spec in specs.items()}
    always = [
        {"that": rule, "code": f"{name}_inconsistent", "say": f"This would leave the {name} inconsistent."}
        if isinstance(rule, str)
        else rule
        for rule in reader.entries(f"{entry}.always", item.get("always", []))
    ]
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
            if (rule := reader.rule(f"{entry}.always[{n}]", raw, own, types))
            and not _reads_caller(reader, f"{entry}.always[{n}]", rule)
        ),
        rules=_read_rules(draft, name, item),
        roles={
            verb: frozenset(reader.names(f"{entry}.roles.{verb}", roles, draft.roles, "role"))
            for verb, roles in reader.table(f"{entry}.roles", item.get("roles", {}), GENERIC).items()
        },
        filters=reader.names(f"{entry}.filters", item.get("filters", []), specs, "field"),
        life=next((key for key, spec in specs.items() if spec.kind == "life"), None),
    )


def _read_rules(draft: Draft, name: str, item: Mapping[str, Any]) -> dict[str, tuple[Rule, ...]]:
    """The rules of each verb that the resource offers."""
    reader, entry = draft.reader, f"resources.{name}"
    rules: dict[str, tuple[Rule, ...]] = {}
    target = {name: Type("ref", name)}
    for verb, entries in reader.table(f"{entry}.rules", item.get("rules", {}), ("create", "update", "delete")).items():
        values = {
            key: kind.or_null(verb == "update" or kind.nullable)
            for key, kind in draft.types[name].items()
            if "." not in key and key != "id" and verb in draft.fields[name][key].written_by
        }
        scope = draft.scope({**(target if verb != "create" else {}), **(values if verb != "delete" else {})})
        rules[verb] = reader.rules(f"{entry}.rules.{verb}", entries, scope, values | target)
    return rules


def _reads_caller(reader: Reader, entry: str, rule: Rule) -> bool:
    """Whether an invariant reads what is no part of the state; a fault."""
    names = sorted(rule.that.names & {"now", "today", "role", "actor"})
    for name in names:
        reader.fault(entry, f"an invariant that reads {name} would be broken by time or by another caller")
    return bool(names)
