"""Two bodies beside each other, leaf by leaf: which of the determined values came out the same."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from carg.records import Json, canonical


def leaves(value: Json, pointer: str) -> Iterator[tuple[str, Json]]:
    """(JSON pointer, value) of every part of a body that holds no other; empty lists and objects are leaves."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if not items or not value:
        yield pointer, value
        return
    for key, item in items:
        yield from leaves(item, f"{pointer}/{key}")


def compare_bodies(
    true: Json, said: Json, invented: Iterable[str] = (), *, is_rounded: bool = False
) -> tuple[int, int, bool]:
    """(determined values that are right, how many there are, whether all are and no other value was added).

    `invented` are JSON pointers of the true body; each covers what lies below it. With `is_rounded`, decimal numbers
    may differ by one in the last place that the true one shows.
    """
    covers = set(invented)
    given = dict(leaves(said, ""))
    wanted = {place: value for place, value in leaves(true, "") if not is_covered(place, covers)}
    right = sum(place in given and _is_same(value, given[place], is_rounded) for place, value in wanted.items())
    added = any(place not in wanted and not is_covered(place, covers) for place in given)
    return right, len(wanted), right == len(wanted) and not added


def is_covered(place: str, covers: Collection[str]) -> bool:
    """Whether a JSON pointer is one of `covers`, or lies below one."""
    return bool(covers) and any(place == cover or place.startswith(f"{cover}/") for cover in covers)


def _is_same(true: Json, said: Json, is_rounded: bool) -> bool:
    if canonical(true) == canonical(said):
        return True
    numbers = isinstance(true, float) and isinstance(said, int | float) and not isinstance(said, bool)
    if not is_rounded or not numbers:
        return False
    decimals = len(repr(true).partition(".")[2]) if "e" not in repr(true) else 9
    return bool(abs(true - said) <= 1.001 * 10.0**-decimals)
