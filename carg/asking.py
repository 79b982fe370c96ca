"""`ask`: one question to a model, paid at most once, and an answer that fits its schema.

    render -> cache -> gate -> backend under retry -> journal -> read -> check -> ask again with the complaint

This module alone knows cache, retry, budget and repair. Every raw reply is in the journal before it is read, so a
killed run pays again at most the calls in flight. Many questions at a time are the business of `runner`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from weakref import WeakValueDictionary

import tenacity

from carg.backends import Backend, Reply, Request
from carg.errors import BackendError, CargError, ConfigError, RateLimited, ReplyError, TryLater
from carg.journal import Journal
from carg.pacing import Gate, Pace
from carg.prompts import load_prompt, render_prompt
from carg.records import Json, digest
from carg.replies import count_unusable, read_reply, strip_thoughts

MAX_REPAIRS = 2
"""A model that fails a third time at the same question fails a fourth time too; the record is given up."""
LONGEST_WAIT_S = 300.0
"""A server that asks for a longer pause than this ends the run with TryLater: cron comes again."""
STEP_S = 5.0
SILENT_CALLS = 20
"""So many calls in a row without an answer, each after all its tries, mean that the server is down."""
FIRST_SILENT_CALLS = 2
"""The same where none was answered yet: a wrong address shows at the first questions, however few they are."""

Check = Callable[[Json], str | None]
"""A complaint that the model can mend, or None when the answer will do."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one invocation may spend; None is no limit. Calls in flight are finished, so a little more is spent."""

    max_cost: float | None = None
    """US dollars."""
    max_tokens: int | None = None
    """Tokens in and out together."""
    max_minutes: float | None = None


@dataclass(slots=True)
class Counts:
    """What asking took: replies are `cached` or `paid`; `failed` are questions given up."""

    asked: int = 0
    cached: int = 0
    paid: int = 0
    retries: int = 0
    rate_limited: int = 0
    repairs: int = 0
    failed: int = 0
    thoughts: int = 0
    fences: int = 0
    prose: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __iadd__(self, other: Counts) -> Counts:
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))
        return self


@dataclass(slots=True)
class Ask:
    """A model that can be asked. `await ask("respond", {...})` is a JSON value that fits the prompt's reply schema.

    `model` names the backend in the cache key; `width` bounds the calls in flight. Raises ReplyError when the answer
    stays wrong, BackendError when there is none, TryLater when the budget is spent, ConfigError when none can come.
    """

    backend: Backend
    journal: Journal
    model: str
    sampling: Mapping[str, Json] = field(default_factory=dict)
    width: int = 32
    budget: Budget = Budget()
    tries: int = 6
    timeout_s: float = 300.0
    pace: Pace = field(default_factory=Pace)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ledger: dict[tuple[str, str], Counts] = field(default_factory=dict)
    """Counts by (prompt, model)."""
    gate: Gate = field(init=False)
    _replies: dict[str, int] = field(init=False)
    _asked: WeakValueDictionary[str, asyncio.Lock] = field(init=False, default_factory=WeakValueDictionary)
    _began: float = field(init=False, default_factory=time.monotonic)
    _over: CargError | None = field(init=False, default=None)
    _silent: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.gate = Gate(self.width)
        self._replies = {entry["key"]: offset for offset, entry in self.journal.scan()}

    async def __call__(
        self,
        name: str,
        variables: Mapping[str, Json],
        *,
        sample: int = 0,
        schema: dict[str, Json] | None = None,
        accept: dict[str, Json] | None = None,
        check: Check | None = None,
    ) -> Json:
        """The answer to the prompt `name`; `schema` narrows the prompt's own, `check` adds a complaint of its own.

        `accept` is a looser schema that an answer may fit instead, where its parts are judged one by one.
        """
        prompt = load_prompt(name)
        messages = render_prompt(prompt, variables)
        wanted = schema or prompt.reply
        counts = self._counts(name)
        counts.asked += 1
        for attempt in range(1 + MAX_REPAIRS):
            request = Request(name, prompt.digest, messages, wanted, self.sampling, sample)
            reply = await self._answer(request, attempt, counts)
            try:
                return _read(reply, accept or wanted, check, counts)
            except ReplyError as fault:
                count_unusable(fault.reason)
                if attempt == MAX_REPAIRS:
                    counts.failed += 1
                    raise ReplyError(f"prompt {name}: {fault.message}", fault.text, fault.reason) from fault
                counts.repairs += 1
                messages = (*messages, *_complaint(reply, fault.message))
        raise AssertionError("unreachable")

    async def text(self, name: str, messages: Sequence[Mapping[str, str]], *, sample: int = 0) -> str:
        """The answer to messages as they are, as text without thoughts: nothing is parsed or asked again.

        Raises ReplyError when it was cut, else what asking raises.
        """
        counts = self._counts(name)
        counts.asked += 1
        reply = await self._answer(Request(name, "", tuple(messages), None, self.sampling, sample), 0, counts)
        if reply.finish_reason == "length":
            counts.failed += 1
            count_unusable("cut")
            raise ReplyError(f"{name}: the answer was cut at the longest length allowed", reply.text, "cut")
        said, thought = strip_thoughts(reply.text)
        counts.thoughts += reply.thought or bool(thought)
        return said

    def totals(self) -> Counts:
        """The counts of all prompts together."""
        whole = Counts()
        for counts in self.ledger.values():
            whole += counts
        return whole

    def _counts(self, name: str) -> Counts:
        return self.ledger.setdefault((name, self.model), Counts())

    async def _answer(self, request: Request, attempt: int, counts: Counts) -> Reply:
        """The reply in the journal, else a paid one; of equal questions asked at the same time one pays."""
        key = digest(self.model, request.digest)
        lock = self._asked.setdefault(key, asyncio.Lock())
        async with lock:
            if (offset := self._replies.get(key)) is not None:
                counts.cached += 1
                entry = self.journal.at(offset)
                return Reply(**{item.name: entry[item.name] for item in fields(Reply) if item.name in entry})
            return await self._insist(request, key, attempt, counts)

    async def _insist(self, request: Request, key: str, attempt: int, counts: Counts) -> Reply:
        """A paid reply, after as many tries as it takes and `tries` allows."""
        try:
            try:
                return await self._pay(request, key, attempt, counts)
            except BackendError as fault:
                return await self._retry(fault, lambda: self._pay(request, key, attempt, counts))
        except BackendError as fault:
            counts.failed += 1
            self._note_silence(fault)
            raise
        except (ConfigError, TryLater) as fault:
            self._over = self._over or fault
            raise

    async def _retry(self, first: BackendError, pay: Callable[[], Awaitable[Reply]]) -> Reply:
        """The further tries; the first was made outside, for most succeed and tenacity would take a tenth of a call."""
        failed = [first]

        async def attempt() -> Reply:
            if failed:
                raise failed.pop()
            return await pay()

        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self.tries),
            wait=_pause,
            retry=tenacity.retry_if_exception(lambda fault: isinstance(fault, BackendError) and fault.retryable),
            sleep=self._rest,
            reraise=True,
        )
        return await retrying(attempt)

    async def _pay(self, request: Request, key: str, attempt: int, counts: Counts) -> Reply:
        """One call, and its reply in the journal before anything else can go wrong."""
        while self._over is None and (wait := self.pace.reserve()) > 0:
            await self._rest(wait)
        async with self.gate:
            self._stop_if_over()
            try:
                async with asyncio.timeout(self.timeout_s):
                    reply = await self.backend.complete(request)
            except TimeoutError as fault:
                counts.retries += 1
                said = f"{self.model}: no answer in {self.timeout_s:g} s"
                raise BackendError(said, "raise --timeout, or ask for less at a time", retryable=True) from fault
            except BackendError as fault:
                self._note_refusal(fault, counts)
                raise
            self.gate.note(refused=False)
            self._silent = 0
            self._replies[key] = self.journal.append(_entry(key, request, reply, attempt))
        self.pace.note(reply.tokens_in + reply.tokens_out)
        counts.paid += 1
        counts.tokens_in += reply.tokens_in
        counts.tokens_out += reply.tokens_out
        counts.cost += reply.cost or 0.0
        if reply.cost is None and self.budget.max_cost is not None:
            raise ConfigError(
                f"{self.model}: no price is known, so --max-cost means nothing", "give --max-tokens instead"
            )
        return reply

    async def _rest(self, seconds: float) -> None:
        """Waits in short steps, so that a run which is over does not wait for the longest of its waits."""
        while seconds > 0 and self._over is None:
            await self.sleep(min(seconds, STEP_S))
            seconds -= STEP_S

    def _note_refusal(self, fault: BackendError, counts: Counts) -> None:
        limited = isinstance(fault, RateLimited)
        counts.retries += fault.retryable
        counts.rate_limited += limited
        self.gate.note(refused=limited)
        if fault.retry_after_s is not None and fault.retry_after_s > LONGEST_WAIT_S:
            raise TryLater(
                f"{self.model}: the server asks to wait {fault.retry_after_s:.0f} s", "run the same command again then"
            ) from fault

    def _note_silence(self, fault: BackendError) -> None:
        if not fault.retryable:
            return
        self._silent += 1
        ever_answered = any(counts.paid for counts in self.ledger.values())
        if self._silent >= (SILENT_CALLS if ever_answered else FIRST_SILENT_CALLS):
            said = f"{self._silent} calls in a row had no answer, the last: {fault.message}"
            self._over = self._over or TryLater(said, fault.hint)

    def _stop_if_over(self) -> None:
        if self._over is None:
            self._over = self._spent()
        if self._over is not None:
            raise self._over

    def _spent(self) -> TryLater | None:
        if self.budget == Budget():
            return None
        total, budget = self.totals(), self.budget
        spent = {
            "--max-cost": (total.cost, budget.max_cost),
            "--max-tokens": (total.tokens_in + total.tokens_out, budget.max_tokens),
            "--max-minutes": ((time.monotonic() - self._began) / 60, budget.max_minutes),
        }
        for flag, (used, limit) in spent.items():
            if limit is not None and used >= limit:
                said = f"the budget is spent: {flag} {limit:g} ({used:.4g} used)"
                return TryLater(said, "run the same command again: it goes on where it stopped")
        return None


def _read(reply: Reply, schema: dict[str, Json], check: Check | None, counts: Counts) -> Json:
    value, rules = read_reply(reply, schema)
    counts.thoughts += reply.thought or "thought" in rules
    counts.fences += "fence" in rules
    counts.prose += "prose" in rules
    if check is not None and (complaint := check(value)):
        raise ReplyError(complaint, reply.text, "complaint")
    return value


def _complaint(reply: Reply, said: str) -> tuple[dict[str, str], ...]:
    """What the model wrote, shortened, and what is wrong with it."""
    text, _ = strip_thoughts(reply.text)
    return (
        {"role": "assistant", "content": text[:6000] or "(nothing)"},
        {"role": "user", "content": f"This cannot be used: {said}.\nAnswer again, whole and mended, JSON only."},
    )


def _entry(key: str, request: Request, reply: Reply, attempt: int) -> dict[str, Json]:
    return {
        "key": key,
        "request": request.digest,
        "prompt": request.prompt,
        "attempt": attempt,
        "model": reply.model,
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "tokens_in": reply.tokens_in,
        "tokens_out": reply.tokens_out,
        "cost": reply.cost,
        "thought": reply.thought,
    }


_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: what the server asked for, else a random one that doubles in its bound."""
    fault = state.outcome.exception() if state.outcome else None
    asked = fault.retry_after_s if isinstance(fault, BackendError) else None
    return _backoff(state) if asked is None else asked
