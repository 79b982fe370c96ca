"""How far our tools and answers are from real ones: the same numbers for both, side by side, to push up run by run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median

from carg.checks.views import leaves
from carg.records import Exchange, Json, Tool
from carg.schemas import types_of, walk
from carg.stats import Table, share

BOUNDING = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "maxLength", "maxItems", "pattern"})

Measure = Callable[[Sequence[Tool], Sequence[Exchange]], Json]


def compare_realism(
    ours: Sequence[Tool],
    real: Sequence[Tool],
    *,
    our_exchanges: Iterable[Exchange] = (),
    real_exchanges: Iterable[Exchange] = (),
) -> Table:
    """One row a measure: ours, real. Values are None where there is nothing to measure; sizes are characters / 4."""
    sides = ((ours, list(our_exchanges)), (real, list(real_exchanges)))
    rows = tuple((name, *(measure(*side) for side in sides)) for name, measure in MEASURES.items())
    return Table("Realism", ("measure", "ours", "real"), rows)


def _parameters(tools: Sequence[Tool]) -> list[dict[str, Json]]:
    """Every parameter schema, nested ones too, without the objects around them."""
    return [node for tool in tools for path, node in walk(tool.parameters) if path and "properties" not in node]


def _share_of(is_so: Callable[[dict[str, Json]], bool]) -> Measure:
    def measure(tools: Sequence[Tool], _: Sequence[Exchange]) -> Json:
        nodes = _parameters(tools)
        return share(sum(map(is_so, nodes)), len(nodes)) if nodes else None

    return measure


def _quantile(values: Iterable[float], part: float) -> float | None:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 2) if ordered else None


def _depth(schema: dict[str, Json] | None) -> int:
    """How deep objects and lists nest in a schema: one for each level of properties or items on a JSON pointer."""
    steps = (path.split("/") for path, _ in walk(schema or {}))
    return max((sum(step in ("properties", "items") for step in path) for path in steps), default=0)


def _bodies(exchanges: Sequence[Exchange]) -> Iterator[Json]:
    return (item.response.body for item in exchanges if item.response.ok)


def _sizes(exchanges: Sequence[Exchange]) -> list[float]:
    return [len(item.response.text) / 4 for item in exchanges if item.response.ok]


def _nulls(_: Sequence[Tool], exchanges: Sequence[Exchange]) -> Json:
    values = [value for body in _bodies(exchanges) for _, value in leaves(body)]
    return share(sum(value is None for value in values), len(values)) if values else None


def _text_length(_: Sequence[Tool], exchanges: Sequence[Exchange]) -> Json:
    lengths = [len(value) for body in _bodies(exchanges) for _, value in leaves(body) if isinstance(value, str)]
    return median(lengths) if lengths else None


def _error_share(_: Sequence[Tool], exchanges: Sequence[Exchange]) -> Json:
    return share(sum(not item.response.ok for item in exchanges), len(exchanges)) if exchanges else None


def _n_parameters(tools: Sequence[Tool]) -> list[float]:
    return [len(tool.parameters.get("properties", {})) for tool in tools]


def _optional_share(tools: Sequence[Tool], _: Sequence[Exchange]) -> Json:
    n_required = sum(len(tool.parameters.get("required", ())) for tool in tools)
    n_all = int(sum(_n_parameters(tools)))
    return share(n_all - n_required, n_all) if n_all else None


MEASURES: dict[str, Measure] = {
    "tools": lambda tools, _: len(tools),
    "parameters, median": lambda tools, _: _quantile(_n_parameters(tools), 0.5),
    "parameters, 90 %": lambda tools, _: _quantile(_n_parameters(tools), 0.9),
    "optional parameters": _optional_share,
    "depth of parameters, 90 %": lambda tools, _: _quantile((_depth(tool.parameters) for tool in tools), 0.9),
    "depth of returns, 90 %": lambda tools, _: _quantile((_depth(tool.returns) for tool in tools if tool.returns), 0.9),
    "parameters with enum": _share_of(lambda node: "enum" in node),
    "parameters with bounds": _share_of(lambda node: bool(node.keys() & BOUNDING)),
    "parameters with format": _share_of(lambda node: "format" in node),
    "parameters described": _share_of(lambda node: bool(node.get("description"))),
    "strings among parameters": _share_of(lambda node: "string" in types_of(node)),
    "description, median": lambda tools, _: _quantile((len(tool.description) / 4 for tool in tools), 0.5),
    "body, median": lambda _, exchanges: _quantile(_sizes(exchanges), 0.5),
    "body, 95 %": lambda _, exchanges: _quantile(_sizes(exchanges), 0.95),
    "nulls among values": _nulls,
    "text length, median": _text_length,
    "error share": _error_share,
}
"""Every measure by its name in the table."""
