"""Reading formulas and tables, and the operations they offer: compute, sweep, solve, look up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from carg.world.draft import Draft
from carg.world.fields import read_field
from carg.world.generic import draft_type, filter_inputs
from carg.world.model import FieldSpec, Formula, Input, Operation, Output, Table
from carg.world.reading import NAME, Reader, is_number
from carg.world.types import Type

FORMULA_KEYS = "about inputs let output require sweep solve empirical source example".split()
TABLE_KEYS = ("about", "source", "columns", "rows", "key")
SWEEP_MOST = 12
PLACEHOLDERS = ("name the real one", "todo", "tbd", "unknown", "various", "source", "example")


def read_formula(draft: Draft, name: str, value: Any) -> Formula | None:
    """One `[formulas.NAME]` entry; its example is not computed here."""
    reader, entry = draft.reader, f"formulas.{name}"
    raw = reader.table(entry, value, FORMULA_KEYS)
    if not NAME.fullmatch(name):
        reader.fault(entry, "must be a lower-case name")
    inputs = []
    for key, item in reader.table(f"{entry}.inputs", raw.get("inputs", {})).items():
        spec = read_field(reader, f"{entry}.inputs.{key}", key, item, draft.words, draft.all_fields)
        if spec is not None:
            inputs.append(spec)
    names = {spec.name: draft_type(Input(spec, not spec.optional and spec.default is None)) for spec in inputs}
    arguments = dict(names)
    lets = draft.read_lets(entry, raw, names)
    rules = reader.rules(f"{entry}.require", raw.get("require", []), draft.scope(names), arguments)
    outputs = _read_outputs(draft, entry, raw, names)
    example = reader.table(f"{entry}.example", raw.get("example", {}), [*arguments, *(o.name for o in outputs)])
    needed = {spec.name for spec in inputs if not spec.optional and spec.default is None} | {o.name for o in outputs}
    if missing := needed - example.keys():
        reader.fault(f"{entry}.example", f"lacks {', '.join(sorted(missing))}")
    numbers = [spec.name for spec in inputs if spec.kind in ("number", "integer")]
    return Formula(
        name=name,
        about=reader.knob_words(
            f"{entry}.about", reader.text(f"{entry}.about", raw.get("about")), {*draft.knobs, *draft.constants}
        ),
        inputs=tuple(inputs),
        lets=lets,
        outputs=outputs,
        rules=rules,
        source=read_source(reader, entry, raw.get("source")),
        example=example,
        empirical=raw.get("empirical") is True,
        sweeps=reader.names(f"{entry}.sweep", raw.get("sweep", []), numbers, "numeric input"),
        solves=reader.names(f"{entry}.solve", raw.get("solve", []), numbers, "numeric input"),
    )


def read_source(reader: Reader, entry: str, value: Any) -> str:
    """Where it was taken from; a placeholder is a fault: it must hold a year or the number of a standard."""
    text = reader.text(f"{entry}.source", value)
    if text and (not any(char.isdigit() for char in text) or text.lower().split(":")[0] in PLACEHOLDERS):
        reader.fault(f"{entry}.source", f"{text[:40]!r}: author, title, year; or the number of a standard")
    return text


def _read_outputs(draft: Draft, entry: str, raw: Mapping[str, Any], names: dict[str, Type]) -> tuple[Output, ...]:
    reader, outputs = draft.reader, []
    for key, value in reader.table(f"{entry}.output", raw.get("output", {})).items():
        item = reader.table(f"{entry}.output.{key}", value, ("is", "decimals", "unit", "about"))
        made = reader.expression(f"{entry}.output.{key}", item.get("is"), draft.scope(names))
        if made is None:
            continue
        numeric = made.type.kind in ("number", "integer")
        if numeric and made.type.kind == "number" and "decimals" not in item:
            reader.fault(f"{entry}.output.{key}", "a number needs decimals")
        decimals = (
            reader.whole(f"{entry}.output.{key}.decimals", item["decimals"], 0, 15) if "decimals" in item else None
        )
        outputs.append(Output(key, made, decimals, str(item.get("unit", "")), str(item.get("about", ""))))
        names[key] = made.type
    if not outputs:
        reader.fault(entry, "needs [output]")
    return tuple(outputs)


def formula_operations(draft: Draft, formula: Formula) -> list[Operation]:
    """The tool of the formula, one for each input it sweeps, one for each it solves for."""
    inputs = tuple(Input(spec, not spec.optional and spec.default is None) for spec in formula.inputs)
    if not formula.outputs:
        return []
    lets, rules = formula.lets, formula.rules
    base = Operation(formula.name, "compute", formula.name, formula.about, inputs, rules=rules, lets=lets)
    sweeps = [_sweep(draft, formula, base, name) for name in formula.sweeps]
    return [base, *sweeps, *(_solve(formula, base, name) for name in formula.solves)]


def _title(name: str) -> str:
    return name.replace("_", " ")


def _sweep(draft: Draft, formula: Formula, base: Operation, name: str) -> Operation:
    spec = next(spec for spec in formula.inputs if spec.name == name)
    plain = replace(spec, default=None, optional=0.0, shape="uniform")
    low = Input(replace(plain, name=f"{name}_from", about=f"first value of {_title(name)}"), True)
    high = Input(replace(plain, name=f"{name}_to", about=f"last value of {_title(name)}"), True)
    steps = Input(FieldSpec("steps", "integer", low=2, high=SWEEP_MOST, about="number of values, evenly spaced"), True)
    others = tuple(item for item in base.inputs if item.name != name)
    scope = draft.scope({low.name: Type("number"), high.name: Type("number")})
    that, words = f"{low.name} < {high.name}", f"{low.name} must be below {high.name}."
    rules = draft.reader.implied_rule("sweep", "empty_range", "rule.cross_field", that, words, scope, low.name)
    about = f"Results of {_title(formula.name)} over a range of {_title(name)}, one row for each value."
    return Operation(
        f"{formula.name}_by_{name}", "sweep", formula.name, about, (*others, low, high, steps), rules=rules, vary=name
    )


def _solve(formula: Formula, base: Operation, name: str) -> Operation:
    output = formula.outputs[0]
    about = f"wanted {_title(output.name)}"
    wanted = FieldSpec(f"target_{output.name}", "number", about, output.unit, -1e12, 1e12, output.decimals or 0)
    others = tuple(item for item in base.inputs if item.name != name)
    about = f"Find the {_title(name)} at which {_title(formula.name)} comes to a wanted {_title(output.name)}."
    return Operation(
        f"find_{name}_for_{formula.name}", "solve", formula.name, about, (*others, Input(wanted, True)), vary=name
    )


def read_table(draft: Draft, name: str, value: Any) -> Table | None:
    """One `[tables.NAME]` entry, its rows checked against its columns."""
    reader, entry = draft.reader, f"tables.{name}"
    raw = reader.table(entry, value, TABLE_KEYS)
    columns = [
        spec
        for key, item in reader.table(f"{entry}.columns", raw.get("columns", {})).items()
        if (spec := _read_column(reader, f"{entry}.columns.{key}", key, item)) is not None
    ]
    rows = [tuple(row) for row in reader.entries(f"{entry}.rows", raw.get("rows", [])) if isinstance(row, list)]
    good = [row for number, row in enumerate(rows) if _fits(reader, f"{entry}.rows[{number}]", columns, row)]
    if len(good) < 3:
        reader.fault(entry, "needs at least 3 rows")
    key = raw.get("key")
    if key is not None:
        key = reader.one(f"{entry}.key", key, [spec.name for spec in columns], "column")
    if key is not None:
        index = [spec.name for spec in columns].index(key)
        if len({row[index] for row in good}) < len(good):
            reader.fault(f"{entry}.rows", f"two rows have the same {key}")
    specs = tuple(_with_bounds(spec, [row[n] for row in good]) for n, spec in enumerate(columns))
    about = reader.text(f"{entry}.about", raw.get("about"))
    return Table(name, about, specs, tuple(good), read_source(reader, entry, raw.get("source")), key)


def _read_column(reader: Reader, entry: str, name: str, value: Any) -> FieldSpec | None:
    item = {value: True} if isinstance(value, str) else reader.table(entry, value)
    kind = next((kind for kind in ("text", "choice", "integer", "number", "boolean") if kind in item), None)
    if kind is None:
        reader.fault(entry, "a column is text, choice, integer, number or boolean")
        return None
    reader.table(entry, item, (kind, "unit", "about"))
    return FieldSpec(name, kind, about=str(item.get("about", "")), unit=str(item.get("unit", "")))


_CELL = {"text": (str,), "choice": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}


def _fits(reader: Reader, entry: str, columns: list[FieldSpec], row: tuple[Any, ...]) -> bool:
    if len(row) != len(columns):
        reader.fault(entry, f"has {len(row)} cells for {len(columns)} columns")
        return False
    for spec, cell in zip(columns, row, strict=True):
        number = spec.kind in ("integer", "number")
        if not isinstance(cell, _CELL[spec.kind]) or (number and not is_number(cell)):
            reader.fault(entry, f"{spec.name} must be a {spec.kind}, not {cell!r}")
            return False
    return True


def _with_bounds(spec: FieldSpec, cells: list[Any]) -> FieldSpec:
    if spec.kind in ("integer", "number") and cells:
        decimals = max((len(repr(float(c)).partition(".")[2]) if c != int(c) else 0) for c in cells)
        return replace(spec, low=min(cells), high=max(cells), decimals=min(decimals, 10))
    if spec.kind == "choice":
        return replace(spec, options=tuple(dict.fromkeys(cells)))
    return replace(spec, low=1, high=240)


def table_operation(table: Table) -> Operation:
    """A lookup by the key, or a search by any column."""
    if table.key is not None:
        spec = next(spec for spec in table.columns if spec.name == table.key)
        # The key is free text: what is not in the table is a plausible question, answered by not found.
        key = replace(spec, kind="text" if spec.kind == "choice" else spec.kind, options=(), high=80)
        if spec.kind in ("integer", "number"):
            key = spec
        return Operation(f"lookup_{table.name}", "table", table.name, table.about, (Input(key, True, "target"),))
    inputs = [item for spec in table.columns for item in filter_inputs(spec)]
    return Operation(f"search_{table.name}", "table", table.name, table.about, tuple(inputs[:8]))
