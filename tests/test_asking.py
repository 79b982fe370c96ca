"""carg.asking, carg.replies and carg.runner: paid once, journalled first, retried, mended, bounded, never lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import KEY, Loopback, serve

from carg.asking import MAX_REPAIRS, Ask, Budget
from carg.backends import Reply, Request, open_backend
from carg.errors import BackendError, CargError, ConfigError, ReplyError, StoreError, TryLater
from carg.journal import Journal
from carg.pacing import Gate, Pace
from carg.replies import read_reply, strip_thoughts
from carg.runner import Outcome, Outcomes, run_slots

Got = TypeVar("Got")
DEFINITION = {
    "parameters": {
        "type": "object",
        "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
}
VARIABLES = {"definition": DEFINITION, "state": "-", "caller": "-", "n_valid": 2, "n_invalid": 1}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("CARG_API_KEY", KEY)
        yield running


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


def asking(
    server: Loopback, folder: Path, work: Callable[[Ask], Awaitable[Got]], *, model: str = "m", **settings: Any
) -> Got:
    """What `work` gives with an Ask on the direct road, its journal in the folder."""

    async def main() -> Got:
        async with open_backend(model, api_base=server.url) as backend:
            with Journal(folder / "replies.jsonl") as journal:
                return await work(Ask(backend, journal, model, **{"sleep": no_sleep, **settings}))

    return asyncio.run(main())


def journal_of(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "replies.jsonl").read_bytes().splitlines()]


def test_the_same_question_is_paid_once(server: Loopback, tmp_path: Path) -> None:
    """Within a run and over runs; another sample or other sampling is another question."""

    async def work(ask: Ask) -> tuple[Any, int, int]:
        first = await ask("calls", VARIABLES)
        assert first == await ask("calls", VARIABLES)
        await ask("calls", VARIABLES, sample=1)
        return first, ask.totals().paid, ask.totals().cached

    first, paid, cached = asking(server, tmp_path, work)
    again, *_ = asking(server, tmp_path, work)
    asking(server, tmp_path, work, sampling={"temperature": 0.1})

    assert again == first
    assert (paid, cached, server.n_asked) == (2, 1, 4)


def test_equal_questions_at_the_same_time_are_paid_once(server: Loopback, tmp_path: Path) -> None:
    """Twenty ask the same while the first call is under way: one pays."""

    async def work(ask: Ask) -> Any:
        return await asyncio.gather(*(ask("calls", VARIABLES) for _ in range(20)))

    values = asking(server, tmp_path, work)

    assert values == [values[0]] * 20
    assert server.n_paid == 1


def test_a_recorded_run_replays_without_a_server(server: Loopback, tmp_path: Path) -> None:
    """replay: answers the same questions from the journal, mended ones included."""
    server.first = {"nonsense": 1, "length": 1}

    async def work(ask: Ask) -> Any:
        return await ask("calls", VARIABLES)

    value = asking(server, tmp_path, work)

    async def replayed() -> Any:
        async with open_backend(f"replay:{tmp_path / 'replies.jsonl'}") as backend:
            with Journal(tmp_path / "again.jsonl") as journal:
                return await work(Ask(backend, journal, "replay"))

    assert asyncio.run(replayed()) == value
    assert server.n_asked == 3


@pytest.mark.parametrize("kind", ["429", "500", "reset", "torn"])
def test_passing_trouble_is_tried_again(server: Loopback, tmp_path: Path, kind: str) -> None:
    """Three bad tries, then an answer: one reply is paid, three retries are counted."""
    server.first = {kind: 3}

    async def work(ask: Ask) -> Any:
        await ask("calls", VARIABLES)
        return ask.totals()

    counts = asking(server, tmp_path, work)
    assert (counts.paid, counts.retries, counts.rate_limited) == (1, 3, 3 * (kind == "429"))


def test_a_hanging_server_is_left(server: Loopback, tmp_path: Path) -> None:
    """No answer in the time given is passing trouble too."""
    server.first = {"hang": 1}

    async def work(ask: Ask) -> Any:
        await ask("calls", VARIABLES)
        return ask.totals().retries

    assert asking(server, tmp_path, work, timeout_s=0.1) == 1


def test_the_wait_is_what_the_server_asks_for(server: Loopback, tmp_path: Path) -> None:
    """Retry-After is honoured per call; without it the wait is random and grows."""
    server.first, server.retry_after = {"429": 2, "500": 1}, "7"
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    asking(server, tmp_path, lambda ask: ask("calls", VARIABLES), sleep=note)

    assert waits[:4] == [5, 2, 5, 2]  # seven seconds twice, in steps
    assert 0 <= sum(waits[4:]) <= 2


def test_a_run_that_is_over_wakes_those_who_wait(server: Loopback, tmp_path: Path) -> None:
    """A wrong key found while another call sits out its Retry-After: the waiting one stops at its next step."""
    server.first, server.retry_after = {"429": 1}, "200"
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)
        server.key = "sk-changed-00000000"
        await asyncio.sleep(0.002)

    async def work(ask: Ask) -> list[Any]:
        questions = (ask("calls", VARIABLES, sample=sample) for sample in range(2))
        return await asyncio.gather(*questions, return_exceptions=True)

    server.delay_s = 0.001
    faults = asking(server, tmp_path, work, sleep=note, width=1)

    assert isinstance(faults[0], ConfigError)
    assert len(waits) < 40


def test_a_very_long_wait_ends_the_run(server: Loopback, tmp_path: Path) -> None:
    """A server that wants an hour is visited by the next cron run."""
    server.first, server.retry_after = {"429": 1}, "3600"

    with pytest.raises(TryLater, match="3600"):
        asking(server, tmp_path, lambda ask: ask("calls", VARIABLES))


@pytest.mark.parametrize(
    ("kind", "counted"), [("fence", "fences"), ("think", "thoughts"), ("prose", "prose"), ("", "cached")]
)
def test_wrapping_is_taken_off_and_counted(server: Loopback, tmp_path: Path, kind: str, counted: str) -> None:
    """Fences, reasoning and prose around the JSON cost no second call."""
    server.first = {kind: 1} if kind else {}

    async def work(ask: Ask) -> Any:
        value = await ask("calls", VARIABLES)
        return len(value["calls"]), ask.totals()

    n_calls, counts = asking(server, tmp_path, work)
    assert (n_calls, counts.paid, getattr(counts, counted)) == (3, 1, int(bool(kind)))


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("length", "cut off after 50 tokens"),
        ("nonsense", "'calls' is a required property"),
        ("refuse", "not JSON"),
        ("empty", "empty"),
    ],
)
def test_a_wrong_answer_is_asked_again_with_the_complaint(
    server: Loopback, tmp_path: Path, kind: str, complaint: str
) -> None:
    """The complaint goes to the model; every raw reply is in the journal, the wrong one first."""
    server.first = {kind: 1}
    asked: list[Any] = []
    right = server.answer

    def listen(messages: list[Any]) -> Any:
        asked.append(messages)
        return right(messages)

    server.answer = listen

    async def work(ask: Ask) -> Any:
        await ask("calls", VARIABLES)
        return ask.totals()

    counts = asking(server, tmp_path, work)

    assert (counts.paid, counts.repairs, counts.failed) == (2, 1, 0)
    assert complaint in asked[-1][-1]["content"]
    assert [entry["attempt"] for entry in journal_of(tmp_path)] == [0, 1]


def test_a_model_that_answers_nonsense_for_ever_fails_at_the_third_time(server: Loopback, tmp_path: Path) -> None:
    """Failure is an error with the text as received, after 1 + MAX_REPAIRS calls."""
    server.shares = {"nonsense": 1.0}

    with pytest.raises(ReplyError, match="calls") as caught:
        asking(server, tmp_path, lambda ask: ask("calls", VARIABLES))

    assert caught.value.text == '{"weather": "fine"}'
    assert server.n_paid == 1 + MAX_REPAIRS


def test_the_callers_own_check_complains_too(server: Loopback, tmp_path: Path) -> None:
    """A check sees the parsed value; its complaint is asked back like a schema fault."""
    seen: list[Any] = []

    def check(value: Any) -> str | None:
        seen.append(value)
        return "too few calls" if len(seen) == 1 else None

    asking(server, tmp_path, lambda ask: ask("calls", VARIABLES, check=check))

    assert len(seen) == 2


def test_a_wrong_key_stops_everything_with_one_error(server: Loopback, tmp_path: Path) -> None:
    """The first refusal stops all other questions; the key is nowhere in journal or error."""
    server.key = "sk-another-key-000000"

    async def work(ask: Ask) -> list[Any]:
        questions = (ask("calls", VARIABLES, sample=sample) for sample in range(50))
        return await asyncio.gather(*questions, return_exceptions=True)

    faults = asking(server, tmp_path, work, width=2)

    assert {str(fault) for fault in faults} == {str(faults[0])}
    assert isinstance(faults[0], ConfigError)
    assert server.n_asked <= 2
    assert KEY.encode() not in (tmp_path / "replies.jsonl").read_bytes()
    assert KEY not in str(faults[0])


def test_a_server_that_is_down_ends_the_run(server: Loopback, tmp_path: Path) -> None:
    """After a few questions that nobody answered, the others are not tried any more."""
    server.shares = {"500": 1.0}

    async def work(ask: Ask) -> None:
        async def make(sample: int) -> Outcome:
            return Outcome("accepted", {"calls": await ask("calls", VARIABLES, sample=sample)})

        await run_slots(((str(n), n) for n in range(200)), make, width=4, on_done=lambda _name, _outcome: None)

    with pytest.raises(TryLater, match="calls in a row"):
        asking(server, tmp_path, work, width=2, tries=2)
    assert server.n_asked < 30


@pytest.mark.parametrize(
    ("budget", "flag"),
    [
        (Budget(max_tokens=400), "--max-tokens"),
        (Budget(max_minutes=0.0), "--max-minutes"),
        (Budget(max_cost=0.0), "--max-cost"),
    ],
)
def test_a_spent_budget_says_try_later(server: Loopback, tmp_path: Path, budget: Budget, flag: str) -> None:
    """The error names the flag; what is in the journal is still answered, at no cost."""
    asking(server, tmp_path, lambda ask: ask("calls", VARIABLES))

    async def work(ask: Ask) -> Any:
        await ask("calls", VARIABLES)
        for sample in range(1, 9):
            await ask("calls", VARIABLES, sample=sample)

    with pytest.raises(TryLater, match=flag):
        asking(server, tmp_path, work, budget=budget)
    assert server.n_asked == (4 if budget.max_tokens else 1)


def test_a_budget_in_dollars_needs_a_price(server: Loopback, tmp_path: Path) -> None:
    """--max-cost with a server of unknown price is a setting to mend, not a promise to break."""
    with pytest.raises(ConfigError, match="price"):
        asking(server, tmp_path, lambda ask: ask("calls", VARIABLES), budget=Budget(max_cost=1.0))


def test_calls_in_flight_never_exceed_the_width(server: Loopback, tmp_path: Path) -> None:
    """The gate bounds what the server sees."""
    server.delay_s = 0.002

    async def work(ask: Ask) -> Any:
        await asyncio.gather(*(ask("calls", VARIABLES, sample=sample) for sample in range(60)))

    asking(server, tmp_path, work, width=7)

    assert server.most_in_flight == 7


def test_stray_429s_leave_the_width_alone() -> None:
    """One in ten is waited out by its own call; a sustained half lowers the limit; quiet raises it again."""
    gate = Gate(32)
    for number in range(400):
        gate.note(refused=number % 10 == 0)
    assert gate.limit == 32
    for number in range(400):
        gate.note(refused=number % 2 == 0)
    assert gate.limit < 8
    for _ in range(2000):
        gate.note(refused=False)
    assert gate.limit == 32


def test_the_pace_spreads_calls_over_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 480 requests and 60,000 tokens a minute: an eighth of a second a call, a millisecond a token."""
    now = [1000.0]
    monkeypatch.setattr("carg.pacing.time", SimpleNamespace(monotonic=lambda: now[0]))
    pace = Pace(rpm=480, tpm=60_000)

    n_begun = 0
    while pace.reserve() == 0:
        n_begun += 1
    assert n_begun == 9  # the burst of a second, and the call that ends it
    assert pace.reserve() == 0.125
    pace.note(500)
    assert pace.reserve() == 0.625
    now[0] += 0.625
    assert pace.reserve() == 0
    assert Pace().reserve() == 0


def test_a_paced_run_waits(server: Loopback, tmp_path: Path) -> None:
    """Ask sleeps as long as the pace says, and every question is still answered."""
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0.001)

    async def work(ask: Ask) -> int:
        await asyncio.gather(*(ask("calls", VARIABLES, sample=sample) for sample in range(4)))
        return ask.totals().paid

    assert asking(server, tmp_path, work, sleep=note, pace=Pace(rpm=3000, tpm=3_000_000)) == 4
    assert max(waits, default=0) < 1


@given(st.lists(st.booleans(), max_size=400), st.integers(1, 20))
def test_the_gate_keeps_its_books(refusals: list[bool], width: int) -> None:
    """However the limit moved, exactly `limit` calls can be in flight when all have come home."""

    async def main() -> tuple[int, int]:
        gate = Gate(width)
        for refused in refusals:
            async with gate:
                gate.note(refused=refused)
        for _ in range(width):  # debts are paid by calls that come home
            if gate.limit < width and gate._owed:
                async with gate:
                    pass
        n_open = 0
        while not gate._free.locked():
            await gate.__aenter__()
            n_open += 1
        return n_open - gate._owed, gate.limit

    n_open, limit = asyncio.run(main())
    assert n_open == limit
    assert 1 <= limit <= width


@given(st.text(alphabet="ab{}`\n<think>/", max_size=60))
def test_reading_never_raises_anything_else(text: str) -> None:
    """Any text is read, or a ReplyError says why not."""
    try:
        reading = read_reply(Reply(text, "stop", 1, 1, None, "m"), {})
    except ReplyError as fault:
        assert fault.text == text
    else:
        assert reading.value is not ...


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("<think>a</think>b", "b"),
        ("<THINK>a\n</THINK>\n{}", "{}"),
        ("reasoned at length</think>{}", "{}"),
        ("<think>never ends {}", ""),
        ("<reasoning>x</reasoning><think>y</think>z", "z"),
        ('{"a": "<b>"}', '{"a": "<b>"}'),
    ],
)
def test_reasoning_is_stripped_by_rule(text: str, bare: str) -> None:
    """Closed, unopened and unclosed reasoning; tags of other names stay."""
    assert strip_thoughts(text) == (bare, ("thought",) if bare != text else ())


# The runner.


def outcomes_of(folder: Path, slots: list[str], make: Callable[[str], Awaitable[Outcome]], width: int) -> Outcomes:
    journal = Journal(folder / "outcomes.jsonl")
    outcomes = Outcomes(journal)
    waiting = ((name, name) for name in slots if name not in outcomes)
    try:
        asyncio.run(run_slots(waiting, make, width=width, on_done=outcomes.store))
    finally:
        journal.sync()
    return outcomes


async def mixed(name: str) -> Outcome:
    await asyncio.sleep(0)
    if name.endswith("7"):
        raise ReplyError("nonsense", "text")
    if name.endswith("3"):
        raise ZeroDivisionError("a bug")
    if name.endswith("5"):
        return Outcome("rejected", {}, "not wanted", 2)
    return Outcome("accepted", {"tools": [{"name": name}]}, "", 1)


@pytest.mark.parametrize("width", [1, 32])
def test_each_slot_ends_once_and_the_sum_holds(tmp_path: Path, width: int) -> None:
    """Accepted, rejected and failed make up what was requested; order of completion never shows."""
    slots = [f"s{number}" for number in range(100)]
    outcomes = outcomes_of(tmp_path, slots, mixed, width)
    tally = outcomes.tally(slots)

    assert (tally.requested, tally.accepted, tally.rejected, tally.failed) == (100, 70, 10, 20)
    assert tally.is_whole
    assert tally.candidates == 70 + 20
    made = [outcome.records["tools"][0]["name"] for outcome in outcomes.read(slots) if outcome.status == "accepted"]
    assert made == [name for name in slots if name[-1] not in "357"]
    with pytest.raises(StoreError, match="twice"):
        outcomes.store("s1", Outcome("accepted", {}))


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A spent budget stops new slots, lets those under way end, and the next run makes only what is left."""
    made: Counter[str] = Counter()

    async def until_spent(name: str) -> Outcome:
        await asyncio.sleep(0)
        if sum(made.values()) >= 30:
            raise TryLater("spent")
        made[name] += 1
        return Outcome("accepted", {})

    slots = [f"s{number}" for number in range(100)]
    with pytest.raises(TryLater):
        outcomes_of(tmp_path, slots, until_spent, 8)
    assert len((tmp_path / "outcomes.jsonl").read_bytes().splitlines()) == 30

    async def rest(name: str) -> Outcome:
        made[name] += 1
        return Outcome("accepted", {})

    assert outcomes_of(tmp_path, slots, rest, 8).tally(slots).is_whole
    assert set(made.values()) == {1}


KILLED = """
import asyncio, json, sys
from pathlib import Path
from carg.asking import Ask
from carg.backends import open_backend
from carg.runner import Outcome, Outcomes, run_slots
from carg.journal import Journal

VARIABLES = json.loads(sys.argv[3])

async def main(url, folder):
    async with open_backend("m", api_base=url) as backend:
        with Journal(folder / "replies.jsonl") as replies, Journal(folder / "outcomes.jsonl") as journal:
            ask, outcomes = Ask(backend, replies, "m", width=16), Outcomes(journal)
            async def make(slot):
                value = await ask("calls", VARIABLES, sample=slot)
                return Outcome("accepted", {"calls": value["calls"]})
            slots = {f"s{n}": n for n in range(200)}
            waiting = ((name, n) for name, n in slots.items() if name not in outcomes)
            await run_slots(waiting, make, width=32, on_done=outcomes.store)
            print(outcomes.tally(slots).accepted)

asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
"""


def test_kill_9_pays_again_at_most_the_calls_in_flight(server: Loopback, tmp_path: Path) -> None:
    """Killed hard in the middle, the same command again: nothing lost, nothing double, at most `width` paid twice."""
    server.delay_s = 0.003
    n_served = 0
    right = server.answer

    def distinct(messages: list[Any]) -> Any:
        nonlocal n_served
        n_served += 1
        return right(messages)

    server.answer = distinct
    command = [sys.executable, "-c", KILLED, server.url, str(tmp_path), orjson.dumps(VARIABLES).decode()]
    root = Path(__file__).parents[1]
    victim = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while n_served < 80 and time.monotonic() < deadline:
        time.sleep(0.001)
    os.kill(victim.pid, signal.SIGKILL)
    victim.wait()
    with (tmp_path / "replies.jsonl").open("ab") as file:
        file.write(b'{"key": "torn')

    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "200"
    assert n_served - 200 <= 16
    slots = [entry["slot"] for entry in map(orjson.loads, (tmp_path / "outcomes.jsonl").read_bytes().splitlines())]
    assert sorted(slots) == sorted({f"s{number}" for number in range(200)})


def test_a_run_through_every_trouble_ends(server: Loopback, tmp_path: Path) -> None:
    """Every kind of misbehaviour at once: all slots end, and the sum holds."""
    kinds = ["429", "500", "reset", "torn", "length", "fence", "think", "prose", "refuse", "nonsense", "empty"]
    server.shares = dict.fromkeys(kinds, 0.05)

    async def work(ask: Ask) -> Any:
        with Journal(tmp_path / "outcomes.jsonl") as journal:
            outcomes = Outcomes(journal)

            async def make(sample: int) -> Outcome:
                value = await ask("calls", VARIABLES, sample=sample)
                return Outcome("accepted", {"calls": value["calls"]})

            slots = {str(number): number for number in range(150)}
            await run_slots(slots.items(), make, width=24, on_done=outcomes.store)
            return outcomes.tally(slots), ask.totals()

    tally, counts = asking(server, tmp_path, work, width=16)

    assert tally.is_whole
    assert tally.accepted > 140
    assert counts.paid == server.n_paid == len(journal_of(tmp_path))
    assert counts.asked == 150


def test_errors_of_the_whole_run_are_not_data() -> None:
    """Which errors fail a slot and which stop the run."""

    async def main(fault: Exception) -> list[Outcome]:
        ended: list[Outcome] = []

        async def make(_: int) -> Outcome:
            raise fault

        await run_slots([("a", 1)], make, width=1, on_done=lambda _, outcome: ended.append(outcome))
        return ended

    for fault in (ReplyError("x", "t"), BackendError("x"), KeyError("x")):
        assert [outcome.status for outcome in asyncio.run(main(fault))] == ["failed"]
    for stopping in (TryLater("x"), ConfigError("x"), StoreError("x")):
        with pytest.raises(CargError):
            asyncio.run(main(stopping))


def test_a_request_knows_its_question() -> None:
    """The digest of a Request is stable: recorded runs stay readable."""
    request = Request("calls", "d", ({"role": "user", "content": "é"},), None, {"temperature": 1.0}, 3)

    assert (
        request.digest
        == Request("calls", "d", ({"content": "é", "role": "user"},), None, {"temperature": 1.0}, 3).digest
    )
