"""Checks of searches: filters, limit, total and order hold for the records that an answer lists."""

from __future__ import annotations

from itertools import pairwise

from carg.checks.check import check
from carg.checks.views import Turn, agrees, is_scalar, listed, plain, rank
from carg.records import Json
from carg.world.shadow import at_path

LIMITS = frozenset({"limit", "pagesize", "perpage", "maxresults", "maxitems", "top", "first", "take"})
OFFSETS = frozenset(
    {"offset", "page", "pagenumber", "skip", "start", "startindex", "startat", "cursor", "pagetoken", "after"}
)
TOTALS = frozenset({"total", "totalcount", "totalresults", "totalitems", "totalsize", "count"})
SORTS = frozenset({"sort", "sortby", "orderby"})
DIRECTIONS = frozenset({"order", "direction", "sortorder", "sortdir", "sortdirection", "dir"})
_ENDS = {"min": 1, "minimum": 1, "max": -1, "maximum": -1}


@check(recorded=False)
def filters_hold(turn: Turn) -> str | None:
    """Every record that a search lists passes the filters of the call: equal, at least, at most, containing."""
    for record in listed(turn):
        fields = {plain(name): value for name, value in record.items()}
        for name, wanted in turn.named.items():
            if complaint := _fails(fields, name, wanted):
                return complaint
    return None


def _fails(fields: dict[str, Json], name: str, wanted: Json) -> str | None:
    if name in fields and name not in LIMITS | OFFSETS | SORTS | DIRECTIONS:
        fits = wanted is None or not is_scalar(wanted) or _matches(fields[name], wanted)
        return None if fits else f"{name} is {fields[name]!r:.60}, asked for {wanted!r:.60}"
    for end, sign in _ENDS.items():
        if name.startswith(end) or name.endswith(end):
            value, bound = (rank(item) for item in (fields.get(name.removeprefix(end).removesuffix(end)), wanted))
            if value and bound and value[0] == bound[0] != "text" and value != bound and (value < bound) == (sign > 0):
                return f"{name} is {wanted!r}, but a record has {value[1][0]!r}"
    part = fields.get(name.removesuffix("contains")) if name.endswith("contains") else None
    if isinstance(part, str) and isinstance(wanted, str) and wanted.casefold() not in part.casefold():
        return f"{name} is {wanted!r:.60}, but a record has {part!r:.60}"
    return None


def _matches(value: Json, wanted: Json) -> bool:
    if isinstance(value, list):
        return any(not is_scalar(item) or agrees(item, wanted) for item in value)
    if isinstance(value, str) and isinstance(wanted, str) and wanted.casefold() in value.casefold():
        return True
    return not is_scalar(value) or agrees(value, wanted)


@check(recorded=False)
def limit_holds(turn: Turn) -> str | None:
    """A search lists no more records than the call or the default of the parameter allows."""
    limit, shown = _limit(turn), listed(turn)
    return f"{len(shown)} records for a limit of {limit}" if limit is not None and len(shown) > limit else None


def _limit(turn: Turn) -> int | None:
    given = next((value for name, value in turn.named.items() if name in LIMITS), None)
    if given is None and turn.definition:
        properties = turn.definition.parameters.get("properties", {})
        given = next((item.get("default") for name, item in properties.items() if plain(name) in LIMITS), None)
    return given if isinstance(given, int) else None


@check(recorded=False)
def totals_hold(turn: Turn) -> str | None:
    """A total is at least the number of records listed, and equal to it where all fit on the first page."""
    shown, total = listed(turn), _total(turn)
    if total is None or turn.degraded:
        return None
    if total < len(shown):
        return f"a total of {total} with {len(shown)} records listed"
    limit, whole = _limit(turn), not turn.named.keys() & OFFSETS
    if whole and limit is not None and len(shown) < limit and total != len(shown):
        return f"a total of {total}, but only {len(shown)} records on a page for {limit}"
    return None


def _total(turn: Turn) -> int | None:
    if turn.definition is None or turn.definition.records_result is None or not turn.ok:
        return None
    beside = at_path(turn.exchange.response.body, turn.definition.records_result.rpartition(".")[0])
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
    values = [{plain(key): value for key, value in record.items()}.get(name) for record in listed(turn)]
    ranks = [found for value in values if (found := rank(value))]
    for one, other in pairwise(ranks):
        if one[0] == other[0] and one != other and (one < other) == falls and not _may_swap(one[1], other[1]):
            return f"sorted by {wanted!r}, but {one[1][0]!r:.40} stands before {other[1][0]!r:.40}"
    return None


def _may_swap(one: tuple[float | str, ...], other: tuple[float | str, ...]) -> bool:
    """Texts may be sorted by rules that definitions do not tell, where they differ in more than plain letters."""
    return not all(isinstance(part, float) or part.replace(" ", "").isascii() for part in (*one, *other))


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
