"""What each kind of operation does once its arguments are known to be sound: the bodies and the changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carg.world.computing import compute, solve, sweep
from carg.world.model import EachEffect, Input, Operation
from carg.world.outcome import Reads, Rec, Refusal, Refused, reference_read
from carg.world.run import Run
from carg.world.state import Read
from carg.world.upkeep import check_always, keep_tallies, spare_tallies


def perform(run: Run) -> Any:
    """The canonical body of the operation; its changes lie in the run's overlay."""
    return _KINDS[run.operation.kind](run)


def _get(run: Run) -> Rec:
    return Rec(run.operation.subject, run.values[run.operation.inputs[0].name])


def _batch_get(run: Run) -> dict[str, Any]:
    resource = run.operation.subject
    table = run.state.tables[resource]
    wanted = list(dict.fromkeys(run.values["ids"]))
    for key in wanted:
        run.frame.reads.append((resource, key, None))
    return {
        "items": [Rec(resource, key) for key in wanted if key in table],
        "missing": [key for key in wanted if key not in table],
    }


def _matches(run: Run, items: tuple[Input, ...], resource: str, key: str) -> bool:
    for item in items:
        wanted = run.values[item.name]
        if item.of is None or wanted is None:
            continue
        value = run.frame.get(resource, key, item.of)
        if not _TESTS[item.role](value, wanted):
            return False
    return True


_TESTS: Mapping[str, Any] = {
    "equals": lambda value, wanted: value == wanted,
    "least": lambda value, wanted: value is not None and value >= wanted,
    "most": lambda value, wanted: value is not None and value <= wanted,
    "contains": lambda value, wanted: value is not None and wanted.lower() in str(value).lower(),
    "has": lambda value, wanted: value is not None and wanted in value,
}


def _search(run: Run) -> dict[str, Any]:
    operation, resource = run.operation, run.operation.subject
    start = len(run.frame.reads)
    found = [key for key in run.frame.scan(resource) if _matches(run, operation.inputs, resource, key)]
    sort_by = run.values.get("sort_by")
    if sort_by is not None:
        # Records without the value come last in either direction, as SQL's NULLS LAST has it.
        keyed = [(run.frame.get(resource, key, sort_by), key) for key in found]
        known = sorted((pair for pair in keyed if pair[0] is not None), key=lambda pair: pair[0])
        if run.values["order"] == "desc":
            known.reverse()
            known.sort(key=lambda pair: pair[0], reverse=True)
        found = [key for _, key in known] + [key for value, key in keyed if value is None]
    reads = tuple(run.frame.reads[start:])
    del run.frame.reads[start:]
    limit, offset = run.values["limit"], run.values["offset"]
    run.trace.values += [("/items", reads), ("/total", reads)]
    return {
        "items": [Rec(resource, key) for key in found[offset : offset + limit]],
        "total": len(found),
        "limit": limit,
        "offset": offset,
    }


def _aggregate(run: Run) -> dict[str, Any]:
    operation, resource = run.operation, run.operation.subject
    start = len(run.frame.reads)
    group_by, metric, name = (run.values.get(key) for key in ("group_by", "metric", "field"))
    groups: dict[Any, list[Any]] = {} if group_by else {None: []}
    for key in run.frame.scan(resource):
        if not _matches(run, operation.inputs, resource, key):
            continue
        group = run.frame.get(resource, key, group_by) if group_by else None
        value = run.frame.get(resource, key, name) if name and metric != "count" else 1
        if value is not None:
            groups.setdefault(group, []).append(value)
    reads = tuple(run.frame.reads[start:])
    del run.frame.reads[start:]
    results = [
        {"value": group, "result": _metric(metric or "count", values), "count": len(values)}
        for group, values in sorted(groups.items(), key=lambda pair: str(pair[0]))
    ]
    run.trace.values.append(("/groups", reads))
    return {"metric": metric or "count", "group_by": group_by, "groups": results}


def _metric(metric: str, values: list[Any]) -> float | None:
    if metric == "count":
        return len(values)
    if not values:
        return 0 if metric == "sum" else None
    if metric in ("min", "max"):
        return float((min if metric == "min" else max)(values))
    total: float = sum(values)
    return round(total if metric == "sum" else total / len(values), 4)


def _create(run: Run) -> Rec:
    operation = run.operation
    resource = run.setting.world.resources[operation.subject]
    given = {}
    for item in operation.inputs:
        value = run.values[item.name]
        if value is not None or (item.spec.start is None and item.spec.default is None):
            given[item.name] = (value, ())
    _check_unique(run, None)
    _check_state(run)
    key = run.make(resource, given)
    _settle(run)
    return Rec(resource.name, key)


def _check_state(run: Run) -> None:
    run.check(run.operation.rules, "state.order")
    run.check(run.operation.rules, "state.conflict")
    run.check(run.operation.rules, "rule.limit")


def _check_unique(run: Run, own: str | None) -> None:
    operation = run.operation
    resource = run.setting.world.resources[operation.subject]
    for item in operation.inputs:
        spec = resource.fields.get(item.name)
        wanted = run.values[item.name]
        if spec is None or not spec.unique or wanted is None:
            continue
        code = f"{resource.name}_{spec.name}_taken"
        run.trace.rules.append(code)
        start = len(run.frame.reads)
        for key in run.frame.scan(resource.name):
            if key != own and run.frame.get(resource.name, key, spec.name) == wanted:
                # The one that has it settles the matter, whoever else there is.
                run.frame.reads[start:] = [(resource.name, key, spec.name)]
                detail = {"resource": resource.name, "value": wanted}
                raise Refused(Refusal(code, "state.conflict", 409, item.name, detail=detail))


def _settle(run: Run) -> None:
    keep_tallies(run)
    check_always(run)


def _update(run: Run) -> Rec:
    operation = run.operation
    resource = operation.subject
    key = run.values[operation.inputs[0].name]
    _check_unique(run, key)
    _check_state(run)
    for item in operation.inputs[1:]:
        if (value := run.values[item.name]) is not None:
            run.write(resource, key, item.name, value, ())
    _settle(run)
    return Rec(resource, key)


def _delete(run: Run) -> dict[str, Any]:
    resource = run.operation.subject
    key = run.values[run.operation.inputs[0].name]
    _check_state(run)
    _remove(run, resource, key, ())
    _settle(run)
    return {"id": key, "deleted": True}


def _remove(run: Run, resource: str, key: str, reads: Reads) -> None:
    run.overlay.put(resource, key, None)
    run.trace.deleted.append((resource, key, reads))
    resources = run.setting.world.resources
    run.touched |= {(resource, name) for name in resources[resource].fields}
    policies = resources[resource].on_delete
    for other, name in run.setting.refers.get(resource, ()):
        if policies.get(other) == "cascade":
            run.trace.cascades.append((other, name))
            spare_tallies(run, other, set(resources[other].fields), _references(run, other, name))
        elif policies.get(other) == "nullify":
            spare_tallies(run, other, {name}, _references(run, other, name))
        for hit in run.after.ids(other):
            record = run.after.find(other, hit)
            if record is None or record[name] != key:
                continue
            here = (*reads, (other, hit, name))
            if policies.get(other) == "cascade":
                _remove(run, other, hit, here)
            elif policies.get(other) == "nullify":
                run.write(other, hit, name, None, here)


def _references(run: Run, table: str, name: str) -> Reads:
    return tuple((table, key, name) for key in run.after.ids(table))


def _action(run: Run) -> Any:
    operation = run.operation
    _check_state(run)
    for name, expression in operation.was:
        run.values[name], run.sources[name] = run.compute_apart(expression)
    targets = run.values[operation.inputs[0].name] if operation.each else [None]
    for key in dict.fromkeys(targets):
        if operation.each:
            run.aim(key)
        _apply_effects(run)
    _create_records(run)
    _settle(run)
    return _returns(run)


def _apply_effects(run: Run) -> None:
    operation = run.operation
    sets: list[tuple[str, str, str, Any, Reads]] = []
    for effect in operation.effects:
        target, path = run.compute_apart(effect.target)
        value, reads = run.compute_apart(effect.value)
        if path:
            # Whoever does not know which record it is knows none of them any more.
            run.spare(effect.of, None, effect.field, path)
        if target is not None:
            sets.append((effect.of, target, effect.field, value, path + reads))
    for each in operation.each_effects:
        sets += _each_sets(run, each)
    for table, target, name, value, reads in sets:
        run.write(table, target, name, value, reads)


def _each_sets(run: Run, each: EachEffect) -> list[tuple[str, str, str, Any, Reads]]:
    sets = []
    values = dict(run.values)
    conditions: list[Read] = []
    for key in run.frame.ids(each.resource):
        values[each.variable] = key
        holds, condition = run.compute_apart(each.where, values)
        conditions += condition
        for name, expression in each.values:
            if holds:
                value, reads = run.compute_apart(expression, values)
                sets.append((each.resource, key, name, value, condition + reads))
            else:
                run.spare(each.resource, key, name, condition)
    spare_tallies(run, each.resource, {name for name, _ in each.values}, tuple(conditions))
    return sets


def _create_records(run: Run) -> None:
    for creation in run.operation.creates:
        resource = run.setting.world.resources[creation.resource]
        items = run.compute(creation.over) or [] if creation.over is not None else [None]
        made = []
        for item in items:
            values = {**run.values, creation.variable: item} if creation.variable else run.values
            given = {}
            for name, expression in creation.values.items():
                given[name] = run.compute_after(expression, values)
            made.append(run.make(resource, given))
        run.values[creation.name] = made if creation.over is not None else made[0]


def _returns(run: Run) -> Any:
    body: dict[str, Any] = {}
    for name, expression in run.operation.returns:
        value, reads = run.compute_after(expression)
        if name == "":
            return Rec(expression.type.of or "", value)
        body[name] = value
        run.trace.values.append((f"/{name}", reads))
    return body


def _table(run: Run) -> dict[str, Any]:
    operation = run.operation
    table = run.setting.world.tables[operation.subject]
    names = [spec.name for spec in table.columns]
    read = reference_read(table.name)
    if table.key is not None:
        run.frame.reads.append(read)
        run.trace.values += [(f"/{name}", (read,)) for name in names if name != table.key]
        wanted = run.values[table.key]
        place = names.index(table.key)
        for row in table.rows:
            if row[place] == wanted or (isinstance(wanted, str) and str(row[place]).lower() == wanted.lower()):
                return dict(zip(names, row, strict=True))
        detail = {"id": wanted, "resource": operation.subject}
        raise Refused(Refusal(f"{table.key}_not_found", "state.not_found", 404, table.key, detail=detail))
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    found = [row for row in rows if _row_matches(operation, run.values, row)]
    run.trace.values += [("/rows", (read,)), ("/total", (read,))]
    return {"rows": found, "total": len(found)}


def _row_matches(operation: Operation, values: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return all(
        _TESTS[item.role](row[item.of], values[item.name])
        for item in operation.inputs
        if item.of is not None and values[item.name] is not None
    )


_KINDS: Mapping[str, Any] = {
    "get": _get,
    "batch_get": _batch_get,
    "search": _search,
    "aggregate": _aggregate,
    "create": _create,
    "update": _update,
    "delete": _delete,
    "action": _action,
    "compute": compute,
    "sweep": sweep,
    "solve": solve,
    "table": _table,
}
