"""Errors: each rule that a definition documents refuses some call and lets another pass.

Those that random calls did not reach are looked for by `search`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from carg.domain_check.calls import Reached
from carg.domain_check.findings import Findings, entry_of
from carg.domain_check.search import find_case
from carg.domain_check.static import names_every_state
from carg.domain_check.trials import Trial
from carg.world.describing import all_rules
from carg.world.model import Operation, Resource, Rule, World

ENGINE_CODES = ("nothing_to_update", "field_required", "empty_range")
"""Rules that the engine itself adds; its tests reach them."""
PASSES_LEAST = 8
"""A rule that this many calls came to and none passed is looked at: does it ever hold?"""


@dataclass(frozen=True, slots=True)
class Aim:
    """One rule with the operations that it can refuse, where it is written, and whether a person wrote it for them."""

    rule: Rule
    operations: tuple[Operation, ...]
    entry: str
    authored: bool
    owner: Resource | None = None
    """The resource whose invariant it is."""


def check_rules(found: Findings, world: World, trials: list[Trial], reached: Reached) -> None:
    """Faults for authored rules that are never reached, or always; warnings for those the format implies."""
    aims = [*_own_aims(world), *_invariant_aims(world)]
    natural, searched, never = 0, 0, 0
    for aim in aims:
        if any(reached.hits[operation.name, id(aim.rule.words)] for operation in aim.operations):
            natural += 1
        elif any(find_case(trials, operation, aim.rule, aim.owner, hit=True) for operation in aim.operations[:4]):
            searched += 1
        else:
            never += 1
            _tell_unreached(found, aim)
    for label, count in (("rules", len(aims)), ("by random calls", natural), ("by search", searched), ("never", never)):
        found.row("errors reached", label, str(count))
    for aim in aims:
        _check_passed(found, trials, aim, reached)


def _own_aims(world: World) -> Iterator[Aim]:
    for operation in world.operations.values():
        for rule in operation.rules:
            if operation.kind in ("update", "aggregate", "sweep") and rule.code in ENGINE_CODES:
                continue
            if rule.code == _moves_code(world, operation) and names_every_state(world, operation):
                continue
            implied = operation.kind == "delete" and rule.code.startswith(f"{operation.subject}_in_use_by_")
            part = f"rules.{operation.kind}" if operation.kind in ("create", "update", "delete") else "require"
            if implied:
                part = "on_delete"
            elif rule.that.source.startswith(f"{operation.subject}.") and rule.code == _moves_code(world, operation):
                part = "moves"
            yield Aim(rule, (operation,), f"{entry_of(operation)}.{part}", not implied)


def _moves_code(world: World, operation: Operation) -> str | None:
    if not operation.moves_from:
        return None
    life = world.resources[operation.subject].life
    only = operation.moves_from[0] if len(operation.moves_from) == 1 else None
    return f"{operation.subject}_not_{only}" if only else f"invalid_{operation.subject}_{life}"


def _invariant_aims(world: World) -> Iterator[Aim]:
    documented = {operation.name: all_rules(world, operation) for operation in world.operations.values()}
    for resource in world.resources.values():
        for number, rule in enumerate(resource.always):
            touching = [
                operation
                for operation in world.operations.values()
                if any(rule is other for other in documented[operation.name])
            ]
            # Rules of the actions may stand before an invariant: then it is a safety net, not an error.
            yield Aim(rule, tuple(touching), f"resources.{resource.name}.always[{number}]", False, resource)


def _tell_unreached(found: Findings, aim: Aim) -> None:
    names = ", ".join(operation.name for operation in aim.operations[:3]) or "no tool"
    text = (
        f"{names}: {aim.rule.code} `{aim.rule.that.source}` was never reached, in no grown and no changed state: "
        "another rule, an invariant or a range already makes it hold; loosen that, or take the rule out"
    )
    (found.fault if aim.authored else found.warn)(aim.entry, text)


def _check_passed(found: Findings, trials: list[Trial], aim: Aim, reached: Reached) -> None:
    if aim.owner is not None:
        return
    (operation,) = aim.operations
    tried = reached.tried[operation.name, aim.rule.code]
    if tried < PASSES_LEAST or reached.coded[operation.name, aim.rule.code] < tried:
        return
    if find_case(trials, operation, aim.rule, None, hit=False):
        found.warn(
            aim.entry, f"{operation.name}: {aim.rule.code} refused all of {tried} calls that came to it in grown states"
        )
    else:
        found.fault(
            aim.entry,
            f"{operation.name}: {aim.rule.code} `{aim.rule.that.source}` refused all of {tried} calls that came to "
            "it, in changed states too: nothing makes it hold",
        )
