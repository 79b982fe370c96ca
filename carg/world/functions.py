"""What expressions may call: functions with their types, constants, and the guarded operators behind them.

All are total over their types or raise Uncomputable; none can loop longer than its stated bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

DAY_S = 86_400
SOLVE_STEPS = 80
"""Halvings of an interval: more than the 53 bits of a double can use."""
TOTAL_STEPS = 1000

CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e}


class Uncomputable(ArithmeticError):
    """A value that does not exist: division by zero, a root of a negative number, an overflow."""


@dataclass(frozen=True, slots=True)
class Function:
    """How a function is typed: how many arguments, of which kinds (empty: any), what it gives ("same": as given)."""

    run: Callable[..., Any]
    arity: tuple[int, int]
    takes: tuple[str, ...]
    gives: str
    partial: bool = False
    """Whether it can give nothing for something."""


def _guard(run: Callable[..., float]) -> Callable[..., Any]:
    def guarded(*values: Any) -> Any:
        if None in values:
            return None
        try:
            result = run(*values)
        except (ValueError, OverflowError, ZeroDivisionError) as fault:
            raise Uncomputable(str(fault)) from fault
        if type(result) is float and math.isfinite(result):  # First: formulas that add up terms live here.
            return result
        if isinstance(result, complex | float):
            raise Uncomputable("not a finite number")
        return result

    return guarded


def _null(run: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *values: None if None in values else run(*values)


def month_of(day: int) -> int:
    """Month 1-12 of a date in days since 1970-01-01."""
    return day_to_date(day).month


def day_to_date(day: int) -> date:
    """The calendar date of a day number (days since 1970-01-01)."""
    return date(1970, 1, 1) + timedelta(days=day)


def _day_number(value: int) -> int:
    # Times are seconds, dates are days; both far apart in size: 1e6 days is the year 4707.
    return value if abs(value) < 1_000_000 else value // DAY_S


def _days_between(a: int, b: int) -> float:
    if abs(a) < 1_000_000 or abs(b) < 1_000_000:
        return _day_number(b) - _day_number(a)
    return (b - a) / DAY_S


_N = ("number", "integer")
_T = ("date", "time")
FUNCTIONS: Mapping[str, Function] = {
    "min": Function(_null(min), (2, 8), (*_N, *_T), "same"),
    "max": Function(_null(max), (2, 8), (*_N, *_T), "same"),
    "abs": Function(_null(abs), (1, 1), _N, "same"),
    "round": Function(
        _guard(lambda x, decimals=0: round(x, int(decimals)) if decimals else round(x)), (1, 2), _N, "number"
    ),
    "floor": Function(_guard(math.floor), (1, 1), _N, "integer"),
    "ceil": Function(_guard(math.ceil), (1, 1), _N, "integer"),
    **{
        name: Function(_guard(getattr(math, name)), (1, 1), _N, "number")
        for name in "sqrt cbrt exp log log10 log2 sin cos tan asin acos atan sinh cosh tanh erf radians degrees".split()
    },
    "atan2": Function(_guard(math.atan2), (2, 2), _N, "number"),
    "hypot": Function(_guard(math.hypot), (2, 3), _N, "number"),
    "norm_cdf": Function(_guard(lambda x: 0.5 * (1 + math.erf(x / math.sqrt(2)))), (1, 1), _N, "number"),
    "norm_pdf": Function(_guard(lambda x: math.exp(-x * x / 2) / math.sqrt(2 * math.pi)), (1, 1), _N, "number"),
    "len": Function(_null(len), (1, 1), ("list", "text"), "integer"),
    "lower": Function(_null(str.lower), (1, 1), ("text",), "text"),
    "upper": Function(_null(str.upper), (1, 1), ("text",), "text"),
    "coalesce": Function(lambda value, other: other if value is None else value, (2, 2), (), "same"),
    "days_between": Function(_null(_days_between), (2, 2), _T, "number"),
    "hours_between": Function(_null(lambda a, b: (b - a) / 3600), (2, 2), ("time",), "number"),
    "minutes_between": Function(_null(lambda a, b: (b - a) / 60), (2, 2), ("time",), "number"),
    "add_days": Function(
        _null(lambda t, n: int(t + (n if abs(t) < 1_000_000 else n * DAY_S))), (2, 2), (*_T, *_N), "first"
    ),
    "add_hours": Function(_null(lambda t, n: int(t + n * 3600)), (2, 2), ("time", *_N), "time"),
    "add_minutes": Function(_null(lambda t, n: int(t + n * 60)), (2, 2), ("time", *_N), "time"),
    "date_of": Function(_null(lambda t: t // DAY_S), (1, 1), ("time",), "date"),
    "month": Function(_null(lambda t: month_of(_day_number(t))), (1, 1), _T, "integer"),
    "year": Function(_null(lambda t: day_to_date(_day_number(t)).year), (1, 1), _T, "integer"),
    "weekday": Function(_null(lambda t: day_to_date(_day_number(t)).weekday()), (1, 1), _T, "integer"),
    "hour": Function(_null(lambda t: datetime.fromtimestamp(t, UTC).hour), (1, 1), ("time",), "integer"),
}


def _divide(a: float, b: float) -> float | None:
    if a is None or b is None:
        return None
    if b == 0:
        raise Uncomputable("division by zero")
    quotient = a / b
    if not math.isfinite(quotient):
        raise Uncomputable("a quotient too large")
    return quotient


def _power(a: float, b: float) -> float | None:
    if a is None or b is None:
        return None
    try:
        result: float | complex = float(a) ** float(b)
    except (OverflowError, ZeroDivisionError) as fault:
        raise Uncomputable(str(fault)) from fault
    if isinstance(result, complex):
        raise Uncomputable("a root of a negative number")
    return result


def _modulo(a: float, b: float) -> float | None:
    if a is None or b is None:
        return None
    if b == 0:
        raise Uncomputable("division by zero")
    return a % b


def _known(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _solve(run: Callable[[float], float | None], low: float, high: float) -> float | None:
    """A root of `run` between low and high by halving, or nothing when the ends have one sign."""
    a, b = run(low), run(high)
    if a is None or b is None or a * b > 0:
        return None
    if a == 0:
        return low
    for _ in range(SOLVE_STEPS):
        middle = (low + high) / 2
        value = run(middle)
        if value is None:
            return None
        if (value > 0) == (a > 0):
            low, moved = middle, middle != low
        else:
            high, moved = middle, middle != high
        if not moved:  # No number lies between the two any more.
            break
    return (low + high) / 2


def _total(run: Callable[[int], float | None], low: float, high: float) -> float | None:
    if high - low > TOTAL_STEPS:
        raise Uncomputable(f"a total of more than {TOTAL_STEPS} terms")
    whole = 0.0
    for step in range(int(low), int(high) + 1):
        value = run(step)
        if value is None:
            return None
        whole += value
    return whole


RUNTIME: Mapping[str, Any] = {
    **{f"_f_{name}": function.run for name, function in FUNCTIONS.items()},
    "bool": bool,
    "_add": lambda a, b: None if a is None or b is None else a + b,
    "_sub": lambda a, b: None if a is None or b is None else a - b,
    "_mul": lambda a, b: None if a is None or b is None else a * b,
    "_neg": _null(lambda a: -a),
    "_div": _divide,
    "_floordiv": lambda a, b: None if _divide(a, b) is None else math.floor(a // b),
    "_mod": _modulo,
    "_pow": _power,
    "_lt": lambda a, b: a is not None and b is not None and a < b,
    "_le": lambda a, b: a is not None and b is not None and a <= b,
    "_gt": lambda a, b: a is not None and b is not None and a > b,
    "_ge": lambda a, b: a is not None and b is not None and a >= b,
    "_part": lambda value, name: None if value is None else value.get(name),
    "_count": lambda values: sum(1 for _ in values),
    "_sum": lambda values: sum(_known(values)),
    "_any": any,
    "_all": all,
    "_min": lambda values: min(_known(values), default=None),
    "_max": lambda values: max(_known(values), default=None),
    "_avg": lambda values: sum(known) / len(known) if (known := _known(values)) else None,
    "_solve": _solve,
    "_total": _total,
}
