"""Shares with 95 % intervals: instances of services are drawn again, for answers within one are alike.

A bootstrap of ratios: points and counts of each measure are summed by instance, instances are drawn with replacement.
Two backends are compared under the same draws, so that what is hard for both cancels out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

DRAWS = 2_000
LEVEL = (2.5, 97.5)
SEED = 20_251

Scores = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, of how many (values for `facts`, answers for the rest), and its interval; None of one instance."""

    value: float
    n: int
    low: float | None
    high: float | None


def estimate(scores: Sequence[Scores], instances: Sequence[str]) -> dict[str, Estimate]:
    """Each measure over these answers, none of none; `instances` says of which service each was."""
    made: dict[str, Estimate] = {}
    if not scores:
        return made
    for name, ratio in _ratios(scores, instances).items():
        made[name] = Estimate(round(ratio.value, 4), ratio.n, *_bounds(ratio.drawn, ratio.n_instances))
    return made


def differences(scores: Sequence[Scores], others: Sequence[Scores], instances: Sequence[str]) -> dict[str, Estimate]:
    """By how much `others` are above `scores` on the same answers, in each measure that both have."""
    one, two = _ratios(scores, instances), _ratios(others, instances)
    made = {}
    for name in (name for name in one if name in two):
        spread = min(one[name].n_instances, two[name].n_instances)
        bounds = _bounds(two[name].drawn - one[name].drawn, spread)
        made[name] = Estimate(round(two[name].value - one[name].value, 4), min(one[name].n, two[name].n), *bounds)
    return made


class _Ratio(NamedTuple):
    """A share, of how many, in each draw, and how many instances have part in it."""

    value: float
    n: int
    drawn: Any
    n_instances: int


def _ratios(scores: Sequence[Scores], instances: Sequence[str]) -> dict[str, _Ratio]:
    import numpy as np

    names, points, counts, drawn = _sums(scores, instances)
    with np.errstate(invalid="ignore"):
        shares = (drawn @ points.T) / (drawn @ counts.T)
    totals = counts.sum(axis=1)
    return {
        name: _Ratio(
            float(points[at].sum() / totals[at]), round(totals[at]), shares[:, at], int((counts[at] > 0).sum())
        )
        for at, name in enumerate(names)
    }


def _sums(scores: Sequence[Scores], instances: Sequence[str]) -> tuple[list[str], Any, Any, Any]:
    """Names of measures, (measure, instance) points and counts, and (draw, instance) how often each was drawn."""
    import numpy as np

    names = list(dict.fromkeys(name for some in scores for name in some))
    order = {name: at for at, name in enumerate(names)}
    places = {name: at for at, name in enumerate(sorted(set(instances)))}
    points, counts = np.zeros((len(names), len(places))), np.zeros((len(names), len(places)))
    for some, instance in zip(scores, instances, strict=True):
        for name, (got, of) in some.items():
            points[order[name], places[instance]] += got
            counts[order[name], places[instance]] += of
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(places), np.full(len(places), 1 / len(places)), size=DRAWS)
    return names, points, counts, drawn


def _bounds(drawn: Any, n_instances: int) -> tuple[float | None, float | None]:
    import numpy as np

    if n_instances < 2:
        return None, None
    low, high = np.nanpercentile(drawn, LEVEL)
    return round(float(low), 4), round(float(high), 4)
