"""carg.pacing: what a server says of its limits spreads the calls; carg.runner: failed slots can be owed again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import KEY, serve

from carg.asking import Ask
from carg.backends import open_backend
from carg.backends.faults import retry_after
from carg.errors import ReplyError, StoreError
from carg.journal import Journal
from carg.pacing import Gate, Pace, read_duration
from carg.runner import Outcome, Outcomes


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("carg.pacing.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def headers(left: int, limit: int, reset: str, scarce: str = "requests") -> dict[str, str]:
    return {
        f"x-ratelimit-remaining-{scarce}": str(left),
        f"x-ratelimit-limit-{scarce}": str(limit),
        f"x-ratelimit-reset-{scarce}": reset,
    }


def begun(pace: Pace, clock: Clock, seconds: float) -> int:
    """How many calls begin within so many seconds when each asks as soon as it may."""
    end, count = clock.now + seconds, 0
    while clock.now < end and count < 10_000:
        wait = pace.reserve()
        count += wait == 0
        clock.now += wait
    return count


def test_a_limit_that_is_far_holds_nothing_back(clock: Clock) -> None:
    """With more than a tenth left, no call waits."""
    pace = Pace()
    pace.learn(headers(501, 5000, "59.8s"))

    assert [pace.reserve() for _ in range(1000)] == [0.0] * 1000


def test_a_limit_that_is_near_sets_the_pace_at_which_it_fills(clock: Clock) -> None:
    """4,990 of 5,000 requests taken come back in 59.8 s: 83 calls a second, until more is left again."""
    pace = Pace()
    pace.learn(headers(10, 5000, "59.8s"))

    assert begun(pace, clock, 10) == pytest.approx(834 + 83, abs=2)
    pace.learn(headers(4000, 5000, "12s"))
    assert [pace.reserve() for _ in range(100)] == [0.0] * 100


def test_no_pause_is_longer_than_a_minute(clock: Clock) -> None:
    """A daily limit that is spent holds each call back a minute at most: its refusal then ends the visit."""
    pace = Pace()
    pace.learn({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6h"})

    assert begun(pace, clock, 120) == 3


def test_tokens_are_paced_by_what_a_call_takes(clock: Clock) -> None:
    """9,500 of 10,000 tokens come back in a minute; calls of 500 tokens then begin some 19 times a minute."""
    pace = Pace()
    pace.learn(headers(500, 10_000, "1m0s", "tokens"), n_tokens=500)

    assert begun(pace, clock, 60) == pytest.approx(20, abs=1)


def test_the_stricter_of_two_limits_holds(clock: Clock) -> None:
    """What the user allows and what the server says are both kept."""
    pace = Pace(rpm=60)
    pace.learn(headers(10, 5000, "59.8s"))

    assert begun(pace, clock, 30) == pytest.approx(31, abs=1)


@pytest.mark.parametrize("scarce", ["requests", "tokens", "input-tokens", "output-tokens"])
def test_limits_in_the_words_of_anthropic_are_learned(clock: Clock, scarce: str) -> None:
    """Names of their own, and a reset that is a time of day."""
    soon = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {"remaining": "10", "limit": "5000", "reset": soon}
    pace = Pace()
    pace.learn({f"anthropic-ratelimit-{scarce}-{part}": value for part, value in named.items()}, n_tokens=1)

    assert begun(pace, clock, 10) == pytest.approx(834 + 83, abs=20)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12ms", 0.012), ("1.5s", 1.5), ("6m0s", 360.0), ("1h2m3s", 3723.0), ("1d", 86400.0), ("59", 59.0), ("", None)],
)
def test_durations_read_as_servers_write_them(text: str, seconds: float | None) -> None:
    """As OpenAI, Groq and others write them; plain numbers are seconds."""
    assert read_duration(text) == pytest.approx(seconds)


@given(st.text(max_size=12), st.text(max_size=6), st.text(max_size=6), st.integers(0, 10**9))
def test_no_header_makes_it_crash_or_stop(left: str, limit: str, reset: str, n_tokens: int) -> None:
    """Whatever a server writes, calls go on; nonsense changes nothing."""
    pace = Pace()
    pace.learn(
        {
            f"x-ratelimit-{name}-tokens": text
            for name, text in (("remaining", left), ("limit", limit), ("reset", reset))
        },
        n_tokens,
    )

    assert pace.reserve() == 0.0


@pytest.mark.parametrize(
    ("given_headers", "seconds"),
    [
        ({"retry-after": "3", **headers(0, 5, "9s")}, 3.0),
        (headers(0, 5, "9s"), 9.0),
        (headers(0, 5, "9s") | headers(0, 5, "2m", "tokens"), 120.0),
        (headers(1, 5, "9s"), None),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
            },
            0,
        ),
        ({}, None),
    ],
)
def test_a_refusal_without_retry_after_waits_for_the_spent_limit(
    given_headers: dict[str, str], seconds: float | None
) -> None:
    """Retry-After goes first; then the longest reset of a limit that is spent."""
    assert retry_after(given_headers) == seconds


def test_a_server_that_tells_its_limits_slows_the_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP: after the first answer says that nothing is left for a minute, the next call waits."""
    monkeypatch.setenv("CARG_API_KEY", KEY)
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        pace._free_at = 0.0

    async def ask_twice(url: str) -> None:
        async with open_backend("m", api_base=url, pace=pace) as backend:
            with Journal(tmp_path / "replies.jsonl") as journal:
                ask = Ask(backend, journal, "m", pace=pace, sleep=sleep)
                for number in range(3):
                    await ask.text(
                        "simulate", [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], sample=number
                    )

    pace = Pace()
    with serve() as server:
        server.limits = headers(0, 1, "60s")
        asyncio.run(ask_twice(server.url))

    assert waits
    assert max(waits) > 1


def test_text_is_taken_as_it_is(tmp_path: Path) -> None:
    """No schema, no parsing, thoughts removed; an answer that was cut is an error that holds what came."""

    async def ask_for(url: str) -> str:
        async with open_backend("m", api_base=url) as backend:
            with Journal(tmp_path / "replies.jsonl") as journal:
                return await Ask(backend, journal, "m").text("simulate", [{"role": "user", "content": "a"}] * 2)

    with serve() as server:
        server.answer = lambda messages: "Error E1: no such hive"
        server.first = {"length": 1}
        with pytest.raises(ReplyError, match="cut") as caught:
            asyncio.run(ask_for(server.url))
        assert caught.value.text == "Error E1: n"
        (tmp_path / "replies.jsonl").unlink()
        server.first = {"think": 1}
        assert asyncio.run(ask_for(server.url)) == "Error E1: no such hive"
        assert server.with_schema == 0


# Slots that are owed again.


def test_failed_slots_are_owed_again(tmp_path: Path) -> None:
    """Only failed ones: where answers were bad, others are asked for; where none came, the same; after a kill too."""
    with Journal(tmp_path / "slots.jsonl") as journal:
        outcomes = Outcomes(journal)
        outcomes.store("good", Outcome("accepted", {"tools": [{"id": 1}]}))
        outcomes.store("bad", Outcome("failed", {}, "ReplyError: not JSON"))
        outcomes.store("short", Outcome("failed", {}, "RecordError: ended early"))
        outcomes.store("down", Outcome("failed", {}, "BackendError: 500"))
        assert outcomes.owe_failed() == 3
        assert outcomes.owe_failed() == 0

    with Journal(tmp_path / "slots.jsonl") as journal:
        outcomes = Outcomes(journal)
        names = ["good", "bad", "short", "down"]
        assert [name in outcomes for name in names] == [True, False, False, False]
        assert [outcomes.lap(name) for name in names] == [0, 1, 1, 0]
        assert not outcomes.tally(names).is_whole
        outcomes.store("bad", Outcome("failed", {}, "ReplyError: not JSON"))
        assert outcomes.owe_failed() == 1
        assert outcomes.lap("bad") == 2
        outcomes.store("bad", Outcome("accepted", {}))
        with pytest.raises(StoreError, match="ended twice"):
            outcomes.store("bad", Outcome("accepted", {}))


@pytest.mark.parametrize(("share", "least", "most"), [(0.05, 256, 256), (0.2, 128, 256), (0.6, 1, 16)])
def test_strays_leave_the_limit_and_a_crowd_lowers_it(share: float, least: int, most: int) -> None:
    """One 429 in five that comes whatever is in flight keeps no run at a crawl; three in five are a limit."""
    gate, rng = Gate(256), Random(3)
    for _ in range(4_000):
        gate.note(refused=rng.random() < share)

    assert least <= gate.limit <= most
