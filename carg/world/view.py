"""What of an opening state a row shows: records as compact rows under one header a table, counts, and what holds of ids
that are not listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from carg.records import Json
from carg.world.model import World
from carg.world.presenting import Surface
from carg.world.setting import mint_id
from carg.world.state import State, Tables

RULES = {
    "closed": "Every id that exists is listed.",
    "open": "Ids that are not listed here and were not deleted exist, too.",
}
MODES = {"partial": 0.72, "full": 0.1, "summary": 0.1, "withheld": 0.08}
"""Share of rows by mode, where a state exists at all."""
REFERENCE_SHARE = 0.85
"""How often a reference table that is asked about is shown, where it is small enough."""
MOST_REFERENCE = 2500
"""Characters of a reference table that is shown."""
BUDGETS = (1000, 2000, 3500)
"""Characters a partial view may take; the needed records come first, so larger ones carry more distractors."""
MOST_RECORDS = 40


@dataclass(frozen=True, slots=True)
class View:
    """mode: full, partial, summary, withheld. `ids` lists the records shown; `rule` is "open", "closed" or ""."""

    mode: str
    ids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rule: str = ""
    counters: bool = False
    references: tuple[str, ...] = ()
    """Reference tables that are shown."""

    def to_json(self) -> dict[str, Json]:
        """As Session.view holds it."""
        return {
            "mode": self.mode,
            "ids": {name: list(keys) for name, keys in self.ids.items()},
            "rule": self.rule,
            "counters": self.counters,
            "references": list(self.references),
        }


def view_of(value: Mapping[str, Json]) -> View:
    """The view of a session's record."""
    ids = {name: tuple(keys) for name, keys in value.get("ids", {}).items()}
    references = tuple(value.get("references", ()))
    return View(value.get("mode", "withheld"), ids, value.get("rule", ""), bool(value.get("counters")), references)


def service_tables(world: World, service: str) -> tuple[str, ...]:
    """The tables that a service's tools can touch: its subjects, what they refer to, read, or write."""
    wanted: dict[str, None] = {}
    for name in world.services[service].operations:
        operation = world.operations[name]
        if operation.subject in world.resources:
            wanted[operation.subject] = None
        for item in operation.inputs:
            spec = item.spec.item if item.spec.kind == "list" and item.spec.item else item.spec
            if spec.kind == "ref" and spec.of:
                wanted[spec.of] = None
        expressions = [rule.that for rule in operation.rules] + [made for _, made in operation.lets]
        expressions += [item for effect in operation.effects for item in (effect.target, effect.value)]
        expressions += [value for creation in operation.creates for value in creation.values.values()]
        expressions += [value for _, value in operation.returns]
        for expression in expressions:
            wanted |= {table: None for table, _ in sorted(expression.cells)}
            wanted |= dict.fromkeys(sorted(expression.tables))
        wanted |= {effect.of: None for effect in operation.effects}
        wanted |= {creation.resource: None for creation in operation.creates}
        wanted |= {each.resource: None for each in operation.each_effects}
    return tuple(name for name in world.resources if name in wanted)


def draw_view(
    surface: Surface,
    state: State,
    tables: Iterable[str],
    needed: list[tuple[str, str]],
    scanned: Iterable[str],
    rng: Random,
    *,
    mode: str | None = None,
) -> View:
    """A view for exchanges that read `needed` records and looked through `scanned` tables."""
    tables = [name for name in tables if state.tables.get(name) is not None]
    counters = surface.factors["id_style"] in ("prefixed_sequence", "integer")
    if not tables:
        return View("withheld")
    mode = mode or rng.choices(list(MODES), list(MODES.values()))[0]
    if mode in ("withheld", "summary"):
        # Of an empty table the count tells all.
        counted = mode == "summary"
        return View(mode, dict.fromkeys(tables, ()) if counted else {}, "open", counters and counted)
    sizes = {(name, key): _size(record) for name in tables for key, record in state.tables[name].items()}
    budget = rng.choice(BUDGETS)
    if mode == "full" and sum(sizes.values()) > max(BUDGETS):
        mode = "partial"
    if mode == "full":
        return View("full", {name: tuple(sorted(state.tables[name])) for name in tables}, "closed", counters)
    wanted = [cell for cell in needed if cell in sizes]
    for name in scanned:
        # A table that was looked through is worth showing whole where it is small: then the answer is determined.
        whole = [(name, key) for key in sorted(state.tables.get(name, {}))]
        if name in tables and sum(sizes.get(cell, 0) for cell in whole) <= budget * 2 // 3:
            wanted += whole
    known = set(wanted)
    others = [cell for cell in sizes if cell not in known]
    rng.shuffle(others)
    chosen: dict[tuple[str, str], None] = {}
    used = 0
    for cell in [*wanted, *others]:
        if cell in chosen:
            continue
        if used + sizes[cell] > budget or len(chosen) >= MOST_RECORDS:
            if cell not in needed:
                continue
            if used > max(BUDGETS):
                break
        chosen[cell] = None
        used += sizes[cell]
    ids = {name: tuple(sorted(key for table, key in chosen if table == name)) for name in tables}
    return View("partial", ids, rng.choice(("closed", "closed", "open")), counters)


def _size(record: Mapping[str, Any]) -> int:
    return len(orjson.dumps(record)) * 2 // 3


def draw_references(surface: Surface, names: Iterable[str], rng: Random) -> tuple[str, ...]:
    """Which of the reference tables that are asked about are shown."""
    small = [name for name in names if len(show_reference(surface, name)) <= MOST_REFERENCE]
    return tuple(name for name in small if rng.random() < REFERENCE_SHARE)


def show_reference(surface: Surface, name: str) -> str:
    """A reference table as the system text shows it."""
    table = surface.world.tables[name]
    head = " | ".join(surface.case(spec.name) for spec in table.columns)
    rows = [" | ".join(_cell(value) for value in row) for row in table.rows]
    return "\n".join([f"reference {name}:", head, *rows])


def show_view(surface: Surface, state: State, tables: Iterable[str], view: View) -> str:
    """The opening state as the system text shows it; "" where it is withheld."""
    lines = [show_reference(surface, name) for name in view.references]
    if view.mode == "withheld":
        if any(state.tables.get(name) for name in tables):
            lines.append("Records are not shown. Ids that were not deleted exist.")
        return "\n".join(lines)
    for name in tables:
        table = state.tables.get(name, {})
        shown = [key for key in view.ids.get(name, ()) if key in table]
        lines += _show_table(surface, state, name, table, shown, view)
    if view.rule:
        lines.append(RULES[view.rule])
    return "\n".join(lines)


def _show_table(
    surface: Surface, state: State, name: str, table: Mapping[str, Any], shown: list[str], view: View
) -> list[str]:
    resource = surface.world.resources[name]
    head = f"{resource.plural}: {len(table)}"
    if view.mode == "summary" and resource.life is not None:
        tally: dict[str, int] = {}
        for record in table.values():
            tally[record[resource.life]] = tally.get(record[resource.life], 0) + 1
        head += f" ({', '.join(f'{count} {status}' for status, count in sorted(tally.items()))})"
    if view.counters:
        number = state.counters.get(name, 0) + 1
        head += f", next id {mint_id(surface.factors['id_style'], resource.prefix, number, '')}"
    if not shown:
        return [_others(surface, head, table, shown, view)]
    fields = surface.fields(name)
    columns = "id | " + " | ".join(presented for _, presented, _ in fields)
    rows = [f"{head}", columns]
    for key in shown:
        record = table[key]
        kept, line = surface.lines.get((name, key), (None, ""))
        if kept is not record:  # The sessions of an opening share its records.
            cells = [_cell(show(record[spec.name])) for spec, _, show in fields]
            line = f"{surface.show_id(key)} | " + " | ".join(cells)
            surface.lines[name, key] = record, line
        rows.append(line)
    rows[0] = _others(surface, rows[0], table, shown, view)
    return rows


def _others(surface: Surface, head: str, table: Mapping[str, Any], shown: list[str], view: View) -> str:
    rest = sorted(set(table) - set(shown))
    if view.rule != "closed" or not rest or view.mode == "summary":
        return head
    return f"{head}, not shown: {', '.join(str(surface.show_id(key)) for key in rest)}"


def _cell(value: Json) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return orjson.dumps(value).decode()
    return str(value).replace("|", "/").replace("\n", " ")


def patch_tables(tables: Tables, patch: Iterable[Any]) -> Tables:
    """The tables with a session's patch laid over them; records are shared."""
    made = {name: dict(table) for name, table in tables.items()}
    for op in patch:
        if op.record is None:
            made[op.table].pop(op.id, None)
        else:
            made[op.table][op.id] = op.record
    return made
