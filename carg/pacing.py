"""How many calls a server gets at a time (Gate), and how many a minute (Pace)."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

_UNITS_S = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LIMITS = [
    (scarce, *(pattern.format(part) for part in ("remaining", "limit", "reset")))
    for scarce in ("requests", "tokens", "input-tokens", "output-tokens")
    for pattern in (f"x-ratelimit-{{}}-{scarce}", f"anthropic-ratelimit-{scarce}-{{}}")
]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")


class Gate:
    """At most `limit` calls in flight; lowered on a sustained share of 429, raised again when they stop.

    A stray 429 costs the one call its wait and nothing else: the limit moves only after WINDOW answers in a row were
    looked at, down by a quarter when more than a third of them were 429, up by an eighth when fewer than one in seven.
    Strays that do not depend on the calls in flight, be they one in five, thus do not keep a run at a crawl.
    """

    WINDOW = 40
    LOWER, RAISE = 1 / 3, 1 / 7

    def __init__(self, width: int) -> None:
        self.width = self.limit = width
        self.busy = 0
        """Calls in flight now."""
        self._free = asyncio.Semaphore(width)
        self._owed = 0
        self._seen: deque[bool] = deque(maxlen=self.WINDOW)

    async def __aenter__(self) -> None:
        await self._free.acquire()
        self.busy += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None
    ) -> None:
        self.busy -= 1
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    def note(self, *, refused: bool) -> None:
        """Counts one answer, and moves the limit when a window is full."""
        self._seen.append(refused)
        if len(self._seen) < self.WINDOW:
            return
        share = sum(self._seen) / self.WINDOW
        if share > self.LOWER and self.limit > 1:
            self._move(-max(1, self.limit // 4))
        elif share < self.RAISE and self.limit < self.width:
            self._move(min(self.width - self.limit, max(1, self.width // 8)))

    def _move(self, step: int) -> None:
        self.limit += step
        self._seen.clear()
        if step < 0:
            self._owed -= step
            return
        forgiven = min(step, self._owed)
        self._owed -= forgiven
        for _ in range(step - forgiven):
            self._free.release()


@dataclass(slots=True)
class Pace:
    """Limits of an account: requests and tokens a minute; None is no limit.

    A virtual clock says when the next call may begin: a call moves it on by its share of a minute, the tokens of a
    reply by theirs. So the limits hold on average, with no more burst than BURST_S seconds of calls.
    """

    rpm: float | None = None
    tpm: float | None = None
    _free_at: float = field(default=0.0, init=False)
    _steps: dict[str, float] = field(default_factory=dict, init=False)
    """Seconds between calls that the server's own words ask for, by what is scarce."""

    BURST_S = 1.0
    LOW = 0.1
    """Share of a limit below which calls are spread."""
    LONGEST_STEP_S = 60.0
    """A limit of a day that is spent is told by a 429, which ends the visit; waiting for it here would not."""

    def reserve(self) -> float:
        """0 where a call may begin now (it is counted), else the seconds to wait before asking again."""
        if self.rpm is None and self.tpm is None and not self._steps:
            return 0.0
        now = time.monotonic()
        self._free_at = max(self._free_at, now - self.BURST_S)
        if self._free_at > now:
            return self._free_at - now
        self._free_at += max(60 / self.rpm if self.rpm else 0.0, *self._steps.values(), 0.0)
        return 0.0

    def learn(self, headers: Mapping[str, str], n_tokens: int = 0) -> None:
        """Takes the headers (names in lower case) of an answer that took `n_tokens`.

        While a limit is far, nothing is held back. When less than a tenth is left, calls go as the server's bucket
        fills again: what was taken from it comes back within the time named by reset.
        """
        for scarce, left, limit, reset_s in limits_of(headers):
            share = max(1, n_tokens) if "tokens" in scarce else 1
            is_low = left < self.LOW * limit if limit else left < 2 * share
            taken = limit - left if limit else share
            self._steps.pop(scarce, None)
            if is_low and taken > 0:
                self._steps[scarce] = min(reset_s, reset_s * share / taken, self.LONGEST_STEP_S)

    def note(self, n_tokens: int) -> None:
        """Counts the tokens of a reply."""
        if self.tpm:
            self._free_at += 60 * n_tokens / self.tpm


def limits_of(headers: Mapping[str, str]) -> Iterator[tuple[str, float, float | None, float]]:
    """What is scarce, how much is left, of how much (None: not told), and the seconds until it is full again.

    As OpenAI and most others write them, and as Anthropic does. Names in `headers` are in lower case.
    """
    for scarce, *names in _LIMITS:
        if (left := _number(headers.get(names[0]))) is not None:
            limit, reset_s = _number(headers.get(names[1])), read_duration(headers.get(names[2], ""))
            if reset_s is not None:
                yield scarce, left, limit, reset_s


def read_duration(text: str) -> float | None:
    """Seconds of a text such as 6m0s, 1.2s, 12ms or 59, or until a time such as 2026-01-01T00:00:00Z; else None."""
    if (plain := _number(text)) is not None:
        return plain
    if _MOMENT.match(text):
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            return max(0.0, (datetime.fromisoformat(text) - datetime.now(UTC)).total_seconds())
    found = re.findall(r"(\d+\.?\d*)(ms|[dhms])", text)
    if not found or "".join(number + unit for number, unit in found) != text:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in found)


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        return None
