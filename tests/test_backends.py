"""Backends against a real HTTP server: litellm and the direct road give the same replies and map the same errors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from loopback import KEY, Loopback, serve

from carg.backends import Backend, Reply, Request, open_backend
from carg.backends.faults import refusal, retry_after, without_keys
from carg.errors import BackendError, CargError, ConfigError, RateLimited, StoreError, TryLater
from carg.pacing import Pace

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:pydantic\.")
Got = TypeVar("Got")
REQUEST = Request("calls", "d", ({"role": "system", "content": "?"}, {"role": "user", "content": "hello"}))
WITH_SCHEMA = Request("calls", "d", REQUEST.messages, {"type": "object"}, {"temperature": 0.5})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    with serve() as running:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("CARG_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_API_BASE", running.url)
        yield running


@pytest.fixture(params=["litellm", "translated", "direct"])
def road(request: pytest.FixtureRequest, server: Loopback, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The api_base that the direct road is given; None for litellm's, which find it in litellm's own variable."""
    monkeypatch.setenv("CARG_LITELLM", "full" if request.param == "litellm" else "")
    return server.url if request.param == "direct" else None


@pytest.fixture
def gtm(tmp_path: Path) -> str:
    """The name of a backend whose folder looks like one of `carg finetune`."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    return f"gtm:{tmp_path / 'mine'}"


def with_backend(
    road: str | None, work: Callable[[Backend], Awaitable[Got]], *, model: str = "openai/gpt-5-mini"
) -> Got:
    async def main() -> Got:
        async with open_backend(model, api_base=road) as backend:
            return await work(backend)

    return asyncio.run(main())


def error_of(road: str | None, *, model: str = "openai/gpt-5-mini", request: Request = REQUEST) -> CargError:
    with pytest.raises(CargError) as caught:
        with_backend(road, lambda backend: backend.complete(request), model=model)
    return caught.value


def test_a_reply_comes_whole(road: str | None) -> None:
    """Text, finish reason and tokens are as the server gave them; litellm knows the price of a known model."""
    reply = with_backend(road, lambda backend: backend.complete(REQUEST))

    assert (reply.text, reply.finish_reason) == ('{"said":"hello"}', "stop")
    assert (reply.tokens_in, reply.tokens_out) == (100, 50)
    assert (reply.cost is None) == (road is not None)


def test_a_cut_reply_says_so(road: str | None, server: Loopback) -> None:
    """finish_reason length arrives as such."""
    server.shares = {"length": 1.0}

    assert with_backend(road, lambda backend: backend.complete(REQUEST)).finish_reason == "length"


def test_a_server_without_response_format_is_asked_without_it(road: str | None, server: Loopback) -> None:
    """It is refused once, dropped, and remembered."""
    server.takes_schema = False

    async def work(backend: Backend) -> list[Reply]:
        return [await backend.complete(WITH_SCHEMA) for _ in range(3)]

    assert len(with_backend(road, work, model="openai/gpt-4o-mini")) == 3
    assert (server.n_asked, server.with_schema) == (4, 1)


def test_the_schema_is_sent_where_it_is_taken(road: str | None, server: Loopback) -> None:
    """response_format goes with every request that has a schema."""
    with_backend(road, lambda backend: backend.complete(WITH_SCHEMA), model="openai/gpt-4o-mini")

    assert (server.n_asked, server.with_schema) == (1, 1)


@pytest.mark.parametrize("kind", ["500", "reset", "torn"])
def test_trouble_on_the_way_is_retryable(road: str | None, server: Loopback, kind: str) -> None:
    """A server error, a reset connection and a cut body may go well the next time."""
    server.shares = {kind: 1.0}
    fault = error_of(road)

    assert isinstance(fault, BackendError)
    assert fault.retryable


def test_429_names_the_wait_that_the_server_asks_for(road: str | None, server: Loopback) -> None:
    """Retry-After comes with the error."""
    server.shares, server.retry_after = {"429": 1.0}, "7"
    fault = error_of(road)

    assert isinstance(fault, RateLimited)
    assert fault.retry_after_s == 7


def test_a_spent_quota_is_not_tried_again(road: str | None, server: Loopback) -> None:
    """A 429 for want of money is no matter of waiting a second."""
    server.shares = {"quota": 1.0}

    assert isinstance(error_of(road), TryLater)


def test_a_wrong_key_is_a_setting_and_never_quoted(
    road: str | None, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server echoes the key in its refusal; the error does not, and names the variable to set."""
    server.key = KEY
    for name in ("OPENAI_API_KEY", "CARG_API_KEY"):
        monkeypatch.setenv(name, "sk-wrong-9876543210")
    fault = error_of(road)

    assert isinstance(fault, ConfigError)
    assert "API_KEY" in fault.hint
    assert "9876543210" not in f"{fault.message} {fault.hint}"


def test_an_unknown_model_is_a_setting(road: str | None, server: Loopback) -> None:
    """404 ends the run: no request of it can go well."""
    fault = error_of(road, model="openai/unknown")

    assert isinstance(fault, ConfigError)
    assert server.n_asked == 1


def test_an_unreachable_server_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at port 9: the same for both roads."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_BASE", "http://127.0.0.1:9/v1")
    for road in (None, "http://127.0.0.1:9/v1"):
        fault = error_of(road)
        assert isinstance(fault, BackendError)
        assert fault.retryable


@pytest.mark.parametrize(
    ("model", "api_base"),
    [("gpt-99", None), ("world", None), ("gtm:NOSUCH", None), ("m", "ftp://x"), ("m", "x:1"), ("m@http://", None)],
)
def test_names_that_are_no_backend_are_refused_at_once(model: str, api_base: str | None) -> None:
    """An unknown provider, the worlds, a folder without a model, and addresses that are none are settings to mend."""
    with pytest.raises(ConfigError) as caught:
        with_backend(api_base, lambda backend: backend.complete(REQUEST), model=model)

    assert caught.value.hint


def test_the_direct_road_sends_no_key_of_a_provider(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only CARG_API_KEY goes to a host that the user names."""
    monkeypatch.delenv("CARG_API_KEY")
    server.key = KEY

    assert "None" in error_of(server.url).message


def test_each_server_gets_its_own_key_alone(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODEL@URL sends the key of that host and port, and neither CARG_API_KEY nor a provider's."""
    host, port = server.url.split("/")[2].split(":")
    server.key = "sk-of-this-host-000"
    fault = error_of(None, model=f"openai/gpt-5-mini@{server.url}")
    name = f"CARG_API_KEY_{host.replace('.', '_')}_{port}"

    assert "None" in fault.message
    assert name in fault.hint
    monkeypatch.setenv(name, server.key)
    reply = with_backend("http://127.0.0.1:9/v1", lambda backend: backend.complete(REQUEST), model=f"m@{server.url}")
    assert reply.text == '{"said":"hello"}'


def test_no_redirect_is_followed(server: Loopback) -> None:
    """A key would go to a host that nobody named; a server that has moved is a setting to mend."""
    server.moved = "http://127.0.0.1:9/v1/chat/completions"
    fault = error_of(server.url)

    assert isinstance(fault, ConfigError)
    assert "moved" in fault.hint


def test_reasoning_apart_from_the_text_is_noted(road: str | None, server: Loopback) -> None:
    """reasoning_content is neither part of the text nor lost from sight."""
    server.reasoning = "Let me see."
    reply = with_backend(road, lambda backend: backend.complete(REQUEST))

    assert (reply.text, reply.thought) == ('{"said":"hello"}', True)


def test_sampling_arrives(road: str | None, server: Loopback) -> None:
    """reasoning_effort goes to the server as it was given."""
    request = Request("calls", "d", REQUEST.messages, None, {"reasoning_effort": "low"})
    with_backend(road, lambda backend: backend.complete(request))

    assert server.last["reasoning_effort"] == "low"


def test_limits_are_learned_on_every_road(road: str | None, server: Loopback) -> None:
    """A server that says that its requests are used up slows the calls that follow."""
    server.limits = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-reset-requests": "60s",
    }
    pace = Pace()

    async def main() -> None:
        async with open_backend("openai/gpt-5-mini", api_base=road, pace=pace) as backend:
            await backend.complete(REQUEST)

    asyncio.run(main())
    waits = [pace.reserve() for _ in range(3)]

    assert waits[0] == 0
    assert waits[-1] > 0


def test_the_direct_road_takes_an_address_without_a_path(server: Loopback) -> None:
    """http://host:port is completed with /v1, as all such servers have it."""
    reply = with_backend(server.url.removesuffix("/v1"), lambda backend: backend.complete(REQUEST))

    assert reply.text == '{"said":"hello"}'


@pytest.mark.parametrize("raw", [b"<html>welcome</html>", b"[]", b'{"choices": []}', b'{"choices": [{}]}'])
def test_an_answer_that_is_no_completion_is_a_backend_error(server: Loopback, raw: bytes) -> None:
    """A gateway's page with status 200 is passing trouble, not an answer, and no crash."""
    server.raw = raw
    fault = error_of(server.url)

    assert isinstance(fault, BackendError)
    assert "no chat completion" in fault.message


def test_help_imports_no_litellm() -> None:
    """Opening the package of backends, and the direct road, loads none of the heavy packages."""
    code = (
        "import sys, carg.asking, carg.runner, carg.backends.chat, carg.backends.direct\n"
        "print([name for name in ('litellm', 'torch', 'transformers', 'polars', 'pyarrow') if name in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_a_replay_misses_by_name(tmp_path: Path) -> None:
    """A recorded reply is found by its request; a request that was not recorded names prompt and digest."""
    entry = (
        b'{"key":"k","request":"%s","prompt":"calls","attempt":0,"model":"m","text":"{}","finish_reason":"stop",'
        b'"tokens_in":1,"tokens_out":2,"cost":3.0}\n' % REQUEST.digest.encode()
    )
    (tmp_path / "replies.jsonl").write_bytes(entry + b'{"torn')
    name = f"replay:{tmp_path / 'replies.jsonl'}"

    reply = with_backend(None, lambda backend: backend.complete(REQUEST), model=name)
    assert reply == Reply("{}", "stop", 1, 2, 0.0, "m")
    with pytest.raises(BackendError, match=f"'calls', request {WITH_SCHEMA.digest}"):
        with_backend(None, lambda backend: backend.complete(WITH_SCHEMA), model=name)
    with pytest.raises(StoreError):
        with_backend(None, lambda backend: backend.complete(REQUEST), model="replay:nowhere")


def test_a_gtm_decodes_what_waits_together(monkeypatch: pytest.MonkeyPatch, gtm: str) -> None:
    """What waits goes together whatever its sampling, what comes later joins; cut answers and tokens are told."""
    batches: list[list[tuple[float, int, int]]] = []

    def serve(gtm: str, take: Any, give: Any) -> None:
        while batch := take():
            batches.append([(asked.temperature, asked.max_new_tokens, asked.seed) for _, asked in batch])
            for key, asked in batch:
                text = asked.messages[-1]["content"]
                if text == "long":
                    give(key, BackendError("no room", "ask less"))
                else:
                    give(key, SimpleNamespace(text=f"{gtm}: {text}", n_prompt=5, n_tokens=7, is_cut=text == "cut"))

    def asked(content: str, sample: int = 0, **sampling: Any) -> Request:
        return Request("respond", "d", ({"role": "user", "content": content},), None, sampling, sample)

    fake = SimpleNamespace(
        load_gtm=lambda folder: folder.name,
        serve=serve,
        Asked=lambda *parts: SimpleNamespace(**dict(zip(ASKED, parts, strict=True))),
    )
    monkeypatch.setitem(sys.modules, "carg.gtm.decode", fake)

    async def work(backend: Backend) -> Any:
        requests = [asked("a"), asked("cut", 3, temperature=0.5, max_tokens=9), asked("long")]
        together = await asyncio.gather(*map(backend.complete, requests), return_exceptions=True)
        return [*together, await backend.complete(asked("later"))]

    replies = with_backend(None, work, model=gtm)

    told = [(r.text, r.finish_reason, r.tokens_in, r.tokens_out) for r in (replies[0], replies[1], replies[3])]
    assert told == [("mine: a", "stop", 5, 7), ("mine: cut", "length", 5, 7), ("mine: later", "stop", 5, 7)]
    assert isinstance(replies[2], BackendError)
    assert batches == [[(0.0, 1024, 0), (0.5, 9, 3), (0.0, 1024, 0)], [(0.0, 1024, 0)]]


ASKED = ("messages", "schema", "max_new_tokens", "temperature", "seed")


@pytest.mark.parametrize("broken", ["load_gtm", "serve"])
def test_a_fault_of_a_gtm_reaches_all_who_wait(monkeypatch: pytest.MonkeyPatch, gtm: str, broken: str) -> None:
    """Whether it cannot be loaded or breaks at work: nobody waits for ever, and the next request tries anew."""

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    def serve(gtm: str, take: Any, give: Any) -> None:
        take()
        fail()

    fake = SimpleNamespace(load_gtm=lambda folder: folder.name, serve=serve, Asked=lambda *_: None)
    if broken == "load_gtm":
        fake.load_gtm = fail
    monkeypatch.setitem(sys.modules, "carg.gtm.decode", fake)

    async def work(backend: Backend) -> Any:
        both = [backend.complete(REQUEST), backend.complete(WITH_SCHEMA)]
        return [
            *await asyncio.gather(*both, return_exceptions=True),
            *await asyncio.gather(backend.complete(REQUEST), return_exceptions=True),
        ]

    faults = with_backend(None, work, model=gtm)

    assert [str(fault) for fault in faults] == ["broken"] * 3


def test_the_digest_of_a_request_sees_what_changes_the_answer() -> None:
    """Messages, sampling, sample and prompt count; the schema, which a server may or may not enforce, does not."""
    base = REQUEST.digest

    assert Request("calls", "d", REQUEST.messages, {"type": "array"}).digest == base
    changed = [
        Request("calls", "e", REQUEST.messages),
        Request("calls", "d", REQUEST.messages[:1]),
        Request("calls", "d", REQUEST.messages, None, {"temperature": 1}),
        Request("calls", "d", REQUEST.messages, None, {}, 1),
    ]
    assert base not in {request.digest for request in changed}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, None), ({"retry-after": "2.5"}, 2.5), ({"retry-after-ms": "40"}, 0.04), ({"retry-after": "soon"}, None)],
)
def test_retry_after_is_read(headers: dict[str, str], expected: float | None) -> None:
    """Seconds and milliseconds are numbers of seconds; what cannot be read is no wait."""
    assert retry_after(headers) == expected


def test_retry_after_may_be_a_date() -> None:
    """A date in a minute is about a minute; one in the past is no wait."""
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    asked = retry_after({"retry-after": soon})

    assert asked is not None
    assert 50 < asked <= 60
    assert retry_after({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0


def test_what_looks_like_a_key_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of key variables, and keys of unknown origin by their form."""
    monkeypatch.setenv("SOME_API_KEY", "opensesame42")

    assert without_keys("a opensesame42 b sk-abcdef123456, Bearer qwertz") == "a [key] b [key], Bearer [key]"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_other_refusals_concern_one_request(status: int) -> None:
    """A request that is too long fails alone and is not sent again."""
    fault = refusal(status, "too long", model="m", key_name="K")

    assert type(fault) is BackendError
    assert not fault.retryable
