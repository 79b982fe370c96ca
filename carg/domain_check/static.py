"""What the file alone tells: counts of tools, who can call them, ways into each state, fields that nothing writes."""

from __future__ import annotations

from collections import Counter

from carg.domain_check.findings import Findings, entry_of
from carg.world.describing import all_rules
from carg.world.model import FieldSpec, Operation, Resource, World
from carg.world.types import Expression

TOOLS_LEAST = 67
AUTHORED_LEAST = 0.4
ACTIONS_LEAST = 15
SERVICES_LEAST = 2


def check_counts(found: Findings, world: World) -> None:
    """Enough tools, enough of them authored, enough actions and services."""
    kinds = Counter(operation.kind for operation in world.operations.values())
    total, authored = len(world.operations), sum(operation.authored for operation in world.operations.values())
    for kind, count in kinds.most_common():
        found.row("tools by kind", kind, str(count))
    found.row("tools by kind", "all", f"{total}, {authored / max(total, 1):.0%} authored")
    if total < TOOLS_LEAST:
        found.fault("file", f"{total} tools; a world has {TOOLS_LEAST} or more")
    if authored < AUTHORED_LEAST * total:
        need = -int(-(AUTHORED_LEAST * total - authored) // (1 - AUTHORED_LEAST))
        found.fault("file", f"{authored} of {total} tools are authored; add {need} actions, formulas or tables")
    if len(world.services) < SERVICES_LEAST:
        found.fault("services", f"{len(world.services)} services; a world has {SERVICES_LEAST} or more")
    if world.kind == "records" and kinds["action"] < ACTIONS_LEAST:
        found.fault("actions", f"{kinds['action']} actions; a records world has {ACTIONS_LEAST} or more")


def check_operations(found: Findings, world: World) -> None:
    """Each tool can be called by somebody of its service, and its own errors have codes of their own."""
    for operation in world.operations.values():
        entry = entry_of(operation)
        service = world.services.get(operation.service)
        if service is not None and operation.roles and not operation.roles & set(service.roles):
            found.fault(
                entry,
                f"{operation.name} is for {', '.join(sorted(operation.roles))}, but {service.name} is called by "
                f"{', '.join(service.roles)}: nobody can call it",
            )
        for code, count in Counter(rule.code for rule in operation.rules).items():
            if count > 1:
                found.fault(entry, f"{count} rules have the code {code!r}; each error needs its own, or one rule")
        if names_every_state(world, operation):
            found.fault(f"{entry}.moves", "lists every state, so it refuses nothing: leave moves out, or some states")
        if operation.authored and len(codes := {rule.code for rule in all_rules(world, operation)}) > 12:
            found.warn(entry, f"{operation.name} has {len(codes)} errors; more than 12 are hard to read")


def check_lives(found: Findings, world: World) -> None:
    """Each state of each life cycle is one that some operation, or a start, writes."""
    for resource in world.resources.values():
        if resource.life is None:
            continue
        life = resource.fields[resource.life]
        ways = written_states(world, resource, life)
        for state in life.options:
            if state not in ways:
                found.fault(
                    f"resources.{resource.name}.fields.{life.name}",
                    f'nothing ever leads to {state!r}: no action has moves = "... -> {state}" or sets it; '
                    "add one, or take the state out",
                )


def names_every_state(world: World, operation: Operation) -> bool:
    """Whether `moves` lists all states of the target, so that it refuses nothing."""
    resource = world.resources.get(operation.subject)
    if not operation.moves_from or resource is None or resource.life is None:
        return False
    return set(resource.fields[resource.life].options) <= set(operation.moves_from)


def written_states(world: World, resource: Resource, life: FieldSpec) -> set[str]:
    """The states that some operation writes, or that records start in."""
    made: set[str] = {life.starts or ""}
    if life.start is not None:
        made |= _values(life.start, life)
    for operation in world.operations.values():
        for table, name, value in operation.writes():
            if (table, name) == (resource.name, life.name):
                made |= _values(value, life)
    return made


def _values(expression: Expression, life: FieldSpec) -> set[str]:
    # A text without known options can be any state.
    return set(expression.type.options or life.options)


def check_fields(found: Findings, world: World) -> None:
    """Names the fields that only actions may write and that none writes."""
    raised = {(e.of, e.field) for o in world.operations.values() for e in o.effects}
    raised |= {(e.resource, name) for o in world.operations.values() for e in o.each_effects for name, _ in e.values}
    created = {(c.resource, name) for o in world.operations.values() for c in o.creates for name in c.values}
    for resource in world.resources.values():
        for name, spec in resource.fields.items():
            entry = f"resources.{resource.name}.fields.{name}"
            if (
                spec.kind in ("life", "tally")
                or spec.written_by & {"create", "update"}
                or "actions" not in spec.written_by
            ):
                continue
            if (resource.name, name) in raised:
                continue
            if (resource.name, name) in created:
                if spec.kind in ("integer", "number"):
                    found.row(
                        "numbers set once, at creation", f"{resource.name}.{name}", "no action raises or lowers it"
                    )
            elif spec.kind in ("integer", "number"):
                found.warn(entry, "no action raises or lowers this number; let one set it, or change written_by")
            elif spec.start is not None:
                found.warn(entry, "written_by actions, but no action sets it: it keeps its start for ever")
