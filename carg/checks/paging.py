"""Checks of searches: filters, limit, total and order hold for the records that an answer lists."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from carg.checks.check import check
from carg.checks.views import Turn, find, is_same, is_scalar, plain
from carg.records import Json

LIMITS = frozenset({"limit", "pagesize", "perpage", "maxresults", "maxitems", "top", "first", "take"})
OFFSETS = frozenset({"offset", "page", "pagenumber", "skip", "start", "startindex", "cursor", "pagetoken", "after"})
TOTALS = frozenset({"total", "totalcount", "totalresults", "totalitems", "totalsize"})
SORTS = frozenset({"sort", "sortby", "orderby"})
DIRECTIONS = frozenset({"order", "direction", "sortorder", "sortdir", "sortdirection", "dir"})
_ENDS = {"min": 1, "minimum": 1, "max": -1, "maximum": -1}


@check(recorded=False)
def filters_hold(turn: Turn) -> str | None:
    """Every record that a search lists passes the filters of the call: equal, at least, at most, containing."""
    for record in _listed(turn):
        fields = {plain(name): value for name, value in record.items()}
        for name, wanted in turn.named.items():
            if complaint := _fails(fields, name, wanted):
                return complaint
    return None


def _fails(fields: dict[str, Json], name: str, wanted: Json) -> str | None:
    if name in fields and name not in LIMITS | OFFSETS | SORTS | DIRECTIONS:
        value = fields[name]
        if is_scalar(value) and is_scalar(wanted) and not _matches(value, wanted):
            return f"{name} is {value!r:.60}, asked for {wanted!r:.60}"
        return None
    for end, sign in _ENDS.items():
        if name.startswith(end) or name.endswith(end):
            value = fields.get(name.removeprefix(end).removesuffix(end))
            if _is_number(value) and _is_number(wanted) and (value - wanted) * sign < 0:
                return f"{name} is {wanted!r}, but a record has {value!r}"
    return None


def _matches(value: Json, wanted: Json) -> bool:
    if isinstance(value, str) and isinstance(wanted, str):
        return wanted.casefold() in value.casefold()
    return wanted is None or is_same(value, wanted)


@check(recorded=False)
def limit_holds(turn: Turn) -> str | None:
    """A search lists no more records than the call or the default of the parameter allows."""
    limit, listed = _limit(turn), _listed(turn)
    return f"{len(listed)} records for a limit of {limit}" if limit is not None and len(listed) > limit else None


def _limit(turn: Turn) -> int | None:
    given = next((value for name, value in turn.named.items() if name in LIMITS), None)
    if given is None and turn.definition:
        properties = turn.definition.parameters.get("properties", {})
        given = next((item.get("default") for name, item in properties.items() if plain(name) in LIMITS), None)
    return given if isinstance(given, int) else None


@check(recorded=False)
def totals_hold(turn: Turn) -> str | None:
    """A total is at least the number of records listed, and equal to it where all fit on the first page."""
    listed, total = _listed(turn), _total(turn)
    if total is None or turn.degraded:
        return None
    if total < len(listed):
        return f"a total of {total} with {len(listed)} records listed"
    limit, whole = _limit(turn), not turn.named.keys() & OFFSETS
    if whole and limit is not None and len(listed) < limit and total != len(listed):
        return f"a total of {total}, but only {len(listed)} records on a page for {limit}"
    return None


def _total(turn: Turn) -> int | None:
    if turn.definition is None or turn.definition.records_result is None or not turn.ok:
        return None
    beside = find(turn.exchange.response.body, turn.definition.records_result.rpartition(".")[0])
    places = beside if isinstance(beside, dict) else {}
    inner = (item for item in places.values() if isinstance(item, dict))
    for place in (places, *inner):
        for name, value in place.items():
            if plain(name) in TOTALS and _is_number(value):
                return int(value)
    return None


@check(recorded=False)
def sort_holds(turn: Turn) -> str | None:
    """Records stand in the order that the call asks for."""
    wanted = next((value for name, value in turn.named.items() if name in SORTS), None)
    if not isinstance(wanted, str):
        return None
    name = plain(wanted.lstrip("+-").replace(":", " ").partition(" ")[0])
    direction = next((str(value) for key, value in turn.named.items() if key in DIRECTIONS), "")
    falls = wanted.startswith("-") or "desc" in f"{wanted} {direction}".lower()
    values = [{plain(key): value for key, value in record.items()}.get(name) for record in _listed(turn)]
    known = [value for value in values if value is not None]
    if not (all(_is_number(value) for value in known) or all(isinstance(value, str) for value in known)):
        return None
    for one, other in pairwise(known):
        if one != other and (one < other) == falls and not _differs_by_case(one, other):
            return f"sorted by {wanted!r}, but {one!r:.40} stands before {other!r:.40}"
    return None


def _differs_by_case(one: Any, other: Any) -> bool:
    """Two texts whose order depends on how capitals are sorted, which definitions do not say."""
    return isinstance(one, str) and (one < other) != (one.casefold() < other.casefold())


def _listed(turn: Turn) -> list[dict[str, Json]]:
    if turn.definition is None or turn.definition.records_result is None or not turn.ok:
        return []
    items = find(turn.exchange.response.body, turn.definition.records_result)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
