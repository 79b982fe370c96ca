"""Single rows: several exchanges on independent records share one system text; siblings come as a pair of rows."""

from __future__ import annotations

from random import Random

from carg.records import Exchange, Op, Opening, Session, digest
from carg.schemas import validator
from carg.world.composing import Take, choose_tools
from carg.world.failing import (
    draw_blunt,
    draw_broken,
    draw_crossed,
    draw_missing,
    draw_refused,
    draw_sibling,
    draw_unsigned,
)
from carg.world.openings import add_up, draw_actor
from carg.world.service import Service
from carg.world.singles import Item, Singles


def make_rows(singles: Singles, items: list[Item]) -> list[Session]:
    """One row of plain items, or two complementary ones where items have siblings."""
    paired = [item for item in items if item.without or item.patch]
    if not paired:
        return [made] if (made := _play(singles, items, [False] * len(items), None)) else []
    sides = [singles.rng.random() < 0.5 for _ in items]
    pair = digest("pair", singles.opening.id, [item.text for item in items])
    one = _play(singles, items, sides, pair)
    other = _play(singles, items, [not side for side in sides], pair)
    return [made for made in (one, other) if made is not None]


def _play(singles: Singles, items: list[Item], loose: list[bool], pair: str | None) -> Session | None:
    siblings: dict[str, list[str]] = {}
    patch: dict[tuple[str, str], Op] = {}
    for item, side in zip(items, loose, strict=True):
        if side and item.without:
            siblings.setdefault(item.operation, []).append(item.without)
        if side:
            patch |= {(op.table, op.id): op for op in item.patch}
    service = singles.service.with_siblings(siblings)
    # Both rows of a pair show the same tools in the same order.
    rng = Random(pair) if pair else singles.rng
    names = choose_tools(service, dict.fromkeys(item.operation for item in items), rng)
    # Two items may have changed what one count is of.
    ops = add_up(service.setting, singles.opening, patch.values()) if patch else ()
    asked = items
    for _ in range(3):
        take = Take(service, singles.opening, singles.actor, names, ops, siblings)
        for item in asked:
            take.ask(item.text, item.note, item.directive)
        made = take.close("single", rng, pair=pair)
        if made is None:
            return None
        # A single exchange that is not determined is dropped, and the rest played again without it.
        pairs = zip(asked, made.exchanges, strict=True)
        kept = [item for item, exchange in pairs if exchange.train and not (ops and _is_odd(service, exchange))]
        if len(kept) == len(asked):
            return made
        asked = kept
    return None


def _is_odd(service: Service, exchange: Exchange) -> bool:
    """The tool cannot answer so: a status laid over a record may leave empty what the way to it would have filled."""
    definition = service.definitions.get(exchange.call.tool or "")
    if definition is None or not exchange.response.ok or exchange.directive is not None:
        return False
    return not validator(definition.returns or {}).is_valid(exchange.response.body)


def draw_singles(service: Service, opening: Opening, rng: Random, budget: int) -> list[Session]:
    """Single rows of about `budget` exchanges, in the mix of the design."""
    world, made, count = service.world, list[Session](), 0
    roles = world.services[service.instance.service].roles
    idle = 0
    while count < budget and idle < 60:
        singles = Singles(service, opening, rng)
        singles.actor = (
            opening.actor if rng.random() < 0.5 else draw_actor(world, service.instance, rng, rng.choice(roles))
        )
        items: list[Item] = []
        paired = rng.random() < PAIRED_ROWS
        for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
            item = draw_pair_item(singles) if paired else draw_plain_item(singles)
            if item is not None and item.operation not in {other.operation for other in items}:
                items.append(item)
        rows = make_rows(singles, items) if items else []
        idle = 0 if rows else idle + 1
        made += rows
        count += sum(len(row.exchanges) for row in rows)
    return made


PAIRED_ROWS = 0.42
"""Share of drawn rows that come as minimal pairs (each makes two)."""


def draw_pair_item(singles: Singles) -> Item | None:
    """An item with a sibling: by definition, by state, or by a record removed; now and then a plain valid one."""
    chance = singles.rng.random()
    if chance < 0.44:
        return draw_sibling(singles)
    if chance < 0.72:
        return draw_refused(singles) or draw_sibling(singles)
    if chance < 0.81:
        return draw_missing(singles) or draw_sibling(singles)
    return singles.valid()


def draw_plain_item(singles: Singles) -> Item | None:
    """An item without a sibling, by the mix."""
    chance = singles.rng.random()
    for share, draw in (
        (0.62, Singles.valid),
        (0.715, Singles.lookalike),
        (0.81, Singles.disturbed),
        (0.84, draw_crossed),
        (0.89, draw_refused),
        (0.915, draw_missing),
        (0.955, draw_unsigned),
        (0.98, draw_broken),
        (1.0, draw_blunt),
    ):
        if chance < share:
            return draw(singles)
    return None
