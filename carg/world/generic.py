"""The generic operations of a resource: get, search, create, update, delete, batch get, aggregate."""

from __future__ import annotations

from dataclasses import replace

from carg.world.draft import Draft
from carg.world.model import FieldSpec, Input, Operation, Resource, Rule
from carg.world.types import Type

MOST_FILTERS = 6
PAGE = 20
"""Largest page of a search."""
DEFAULT_PAGE = 10
BATCH = 10
METRICS = ("count", "sum", "avg", "min", "max")


def resource_operations(draft: Draft, resource: Resource) -> list[Operation]:
    """One operation for each verb that the resource offers."""
    return [
        replace(_MAKERS[verb](draft, resource), roles=resource.roles.get(verb, frozenset())) for verb in resource.offers
    ]


def target_input(resource: str) -> Input:
    """The parameter that names the record an operation is about."""
    return Input(FieldSpec(resource, "ref", of=resource, about=f"id of the {_words(resource)}"), True, "target")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _get(draft: Draft, resource: Resource) -> Operation:
    one = _words(resource.name)
    about = f"Get one {one} by its id. {resource.about}"
    return Operation(f"get_{resource.name}", "get", resource.name, about, (target_input(resource.name),))


def _batch_get(draft: Draft, resource: Resource) -> Operation:
    item = FieldSpec("item", "ref", of=resource.name)
    ids = FieldSpec("ids", "list", item=item, length=(1, BATCH), about=f"ids of the {_words(resource.plural)}")
    about = f"Get several {_words(resource.plural)} by their ids; ids that don't exist are listed under missing."
    inputs = (Input(ids, True, "targets"),)
    return Operation(f"get_{resource.plural}_by_id", "batch_get", resource.name, about, inputs)


def _delete(draft: Draft, resource: Resource) -> Operation:
    one = _words(resource.name)
    rules = resource.rules.get("delete", ())
    for other, policy in resource.on_delete.items():
        rules += _restrict(draft, resource, other) if policy == "restrict" else ()
    about = f"Delete the {one}."
    for policy, words in (("cascade", "Deleted with it"), ("nullify", "References to it are emptied in")):
        if named := [_words(o) for o, p in resource.on_delete.items() if p == policy]:
            about += f" {words}: {', '.join(named)}."
    inputs = (target_input(resource.name),)
    return Operation(f"delete_{resource.name}", "delete", resource.name, about, inputs, rules=rules)


def _restrict(draft: Draft, resource: Resource, other: str) -> tuple[Rule, ...]:
    fields = [spec.name for spec in draft.fields[other].values() if spec.kind == "ref" and spec.of == resource.name]
    named = " or ".join(f"x.{name} == {resource.name}" for name in fields)
    return draft.reader.implied_rule(
        f"resources.{resource.name}.on_delete",
        f"{resource.name}_in_use_by_{other}",
        "state.conflict",
        f"not any({named} for x in {other})",
        f"{_words(resource.name).capitalize()} {{{resource.name}.id}} is still used by a {_words(other)}.",
        draft.scope({resource.name: Type("ref", resource.name)}),
        resource.name,
    )


def _create(draft: Draft, resource: Resource) -> Operation:
    inputs = []
    for spec in resource.fields.values():
        if "create" not in spec.written_by:
            continue
        free = bool(spec.optional) or spec.start is not None or spec.only_if is not None or spec.default is not None
        inputs.append(Input(spec, not free))
    about = f"Create a {_words(resource.name)}. {resource.about}"
    rules = resource.rules.get("create", ())
    return Operation(f"create_{resource.name}", "create", resource.name, about, tuple(inputs), rules=rules)


def _update(draft: Draft, resource: Resource) -> Operation:
    written = [spec for spec in resource.fields.values() if "update" in spec.written_by]
    inputs = (target_input(resource.name), *(Input(replace(spec, default=None), False) for spec in written))
    about = f"Change fields of a {_words(resource.name)}; fields that are left out stay as they are."
    rules = _nothing(draft, inputs) + resource.rules.get("update", ())
    return Operation(f"update_{resource.name}", "update", resource.name, about, inputs, rules=rules)


def _nothing(draft: Draft, inputs: tuple[Input, ...]) -> tuple[Rule, ...]:
    # Inputs that are left out are null in rules: an update of nothing is refused by comparing them all.
    names = {i.name: draft_type(i).or_null() for i in inputs[1:]}
    if not names or len(names) > 40:
        return ()
    scope = draft.scope(names)
    that, words = " or ".join(f"{name} != null" for name in names), "Nothing to change: give at least one field."
    return draft.reader.implied_rule("update", "nothing_to_update", "rule.cross_field", that, words, scope, None)


def draft_type(item: Input) -> Type:
    """The type of an input as rules see it: nothing when it may be left out."""
    kind = item.spec.type
    return kind.or_null(not item.required and item.spec.default is None)


def _search(draft: Draft, resource: Resource) -> Operation:
    inputs: list[Input] = []
    for name in resource.filters or _usual_filters(resource):
        inputs.extend(filter_inputs(resource.fields[name]))
    sortable = [n for n, s in resource.fields.items() if s.kind in ("integer", "number", "date", "time", "tally")]
    if sortable:
        inputs.append(
            Input(FieldSpec("sort_by", "choice", options=tuple(sortable[:6]), about="field to sort by"), False)
        )
        order = FieldSpec("order", "choice", options=("asc", "desc"), default="asc", about="direction of sorting")
        inputs.append(Input(order, False))
    limit = FieldSpec("limit", "integer", low=1, high=PAGE, default=DEFAULT_PAGE, about="most results of a page")
    offset = FieldSpec("offset", "integer", low=0, high=500, default=0, about="results to skip")
    inputs += [Input(limit, False), Input(offset, False)]
    about = f"Search {_words(resource.plural)}; all filters must match. Ordered by id unless sorted. {resource.about}"
    return Operation(f"search_{resource.plural}", "search", resource.name, about, tuple(inputs))


def _usual_filters(resource: Resource) -> list[str]:
    wanted: list[str] = []
    for kinds, most in (
        (("life",), 1),
        (("ref",), 2),
        (("choice",), 2),
        (("number", "integer", "tally"), 1),
        (("date",), 1),
    ):
        wanted += [name for name, spec in resource.fields.items() if spec.kind in kinds][:most]
    return wanted[:MOST_FILTERS]


def filter_inputs(spec: FieldSpec) -> list[Input]:
    """The filters that a field or column gives: by value, by bounds, by words."""
    plain = replace(spec, optional=0.0, start=None, only_if=None, default=None, unique=False, by=None, tally=None)
    if spec.kind in ("life", "choice", "ref", "boolean", "code", "email", "person"):
        if spec.kind == "life":
            plain = replace(plain, kind="choice")
        return [Input(plain, False, "equals", spec.name)]
    if spec.kind in ("number", "integer", "tally"):
        if spec.kind == "tally":
            number = "number" if spec.tally and spec.tally.field else "integer"
            plain = replace(plain, kind=number, low=0, high=1_000_000 if number == "number" else 1000)
        return [
            Input(replace(plain, name=f"min_{spec.name}"), False, "least", spec.name),
            Input(replace(plain, name=f"max_{spec.name}"), False, "most", spec.name),
        ]
    if spec.kind in ("date", "time"):
        return [
            Input(replace(plain, name=f"{spec.name}_from", low=-800, high=400), False, "least", spec.name),
            Input(replace(plain, name=f"{spec.name}_to", low=-800, high=400), False, "most", spec.name),
        ]
    if spec.kind == "list" and spec.item is not None:
        return [Input(replace(spec.item, name=f"has_{spec.name}"), False, "has", spec.name)]
    return [Input(replace(plain, name=f"{spec.name}_contains", kind="text", high=60), False, "contains", spec.name)]


def _aggregate(draft: Draft, resource: Resource) -> Operation:
    groups = [n for n, s in resource.fields.items() if s.kind in ("life", "choice", "ref", "boolean")]
    numbers = [n for n, s in resource.fields.items() if s.kind in ("integer", "number", "tally")]
    inputs = []
    if groups:
        inputs.append(
            Input(FieldSpec("group_by", "choice", options=tuple(groups[:6]), about="one result per value"), False)
        )
    if numbers:
        metric = FieldSpec("metric", "choice", options=METRICS, default="count", about="what to compute")
        inputs.append(Input(metric, False))
        inputs.append(
            Input(FieldSpec("field", "choice", options=tuple(numbers[:6]), about="field it is computed of"), False)
        )
    if resource.life:
        inputs += filter_inputs(resource.fields[resource.life])
    rules: tuple[Rule, ...] = ()
    if numbers:
        scope = draft.scope({i.name: draft_type(i) for i in inputs})
        that, words = "metric == 'count' or field != null", "The metric {metric} needs a field."
        rules = draft.reader.implied_rule(
            "aggregate", "field_required", "rule.cross_field", that, words, scope, "field"
        )
    about = f"Summarize {_words(resource.plural)}: count or compute over them, in groups if asked. {resource.about}"
    return Operation(f"summarize_{resource.plural}", "aggregate", resource.name, about, tuple(inputs), rules=rules)


_MAKERS = {
    "get": _get,
    "batch_get": _batch_get,
    "delete": _delete,
    "create": _create,
    "update": _update,
    "search": _search,
    "aggregate": _aggregate,
}
