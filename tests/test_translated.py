"""The contract of the translated road: the request that `acompletion` sends, and the reply that it reads, exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson
import pytest

from carg.backends import Reply, Request
from carg.backends.chat import Chat
from carg.backends.translated import PROVIDERS, Translated, translated
from carg.backends.wire import Wire
from carg.pacing import Pace

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:pydantic\.")
KEY = "sk-of-this-provider-0123456789"
MODELS = {
    "openai": ("gpt-5-mini", "gpt-4o-mini"),
    "anthropic": ("claude-sonnet-4-5", "claude-3-haiku-20240307"),
    "cerebras": ("llama3.1-8b",),
    "dashscope": ("qwen-max",),
    "deepinfra": ("meta-llama/Meta-Llama-3.1-8B-Instruct",),
    "deepseek": ("deepseek-chat", "deepseek-reasoner"),
    "featherless_ai": ("featherless-ai/Qwerky-72B",),
    "fireworks_ai": ("accounts/fireworks/models/llama-v3p1-8b-instruct",),
    "groq": ("llama-3.3-70b-versatile", "openai/gpt-oss-20b"),
    "hosted_vllm": ("qwen",),
    "hyperbolic": ("meta-llama/Llama-3.2-3B-Instruct",),
    "mistral": ("mistral-large-latest", "magistral-medium-latest"),
    "moonshot": ("kimi-latest",),
    "nebius": ("meta-llama/Meta-Llama-3.1-8B-Instruct",),
    "novita": ("deepseek/deepseek-r1",),
    "nvidia_nim": ("meta/llama3-70b-instruct",),
    "openrouter": ("openai/gpt-4o-mini", "anthropic/claude-3.5-sonnet"),
    "perplexity": ("sonar",),
    "sambanova": ("Meta-Llama-3.1-8B-Instruct",),
    "together_ai": ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "unlisted-model"),
    "xai": ("grok-3-mini", "grok-4"),
}
MESSAGES = ({"role": "system", "content": "You are a tool."}, {"role": "user", "content": "Answer é."})
SCHEMAS = (
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 9}}, "required": ["a"]},
    {"type": "object", "properties": {"b": {"enum": [1, None]}}, "additionalProperties": False},
)
SAMPLINGS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 0.5, "max_tokens": 777},
    {"reasoning_effort": "low"},
    {"seed": 3, "top_k": 5, "stop": ["a"]},
    {"temperature": 1, "max_tokens": 5000, "reasoning_effort": "medium", "top_p": 0.9},
)
ANSWERS: tuple[dict[str, Any], ...] = (
    {},
    {"finish_reason": "length"},
    {"content": None},
    {"reasoning_content": "hm", "details": {"reasoning_tokens": 30}},
    {"cached": 64},
)


class Post:
    """Stands where requests leave the process: notes them, and answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.answer = b""
        from litellm.llms.custom_httpx.aiohttp_transport import LiteLLMAiohttpTransport

        async def for_litellm(_: Any, request: httpx.Request) -> httpx.Response:
            self.note(str(request.url), request.headers, request.content)
            return httpx.Response(200, content=self.answer, headers={"Content-Type": "application/json"})

        async def for_us(_: Wire, url: str, payload: bytes, headers: Mapping[str, str]) -> tuple[bytes, dict[str, str]]:
            self.note(url, headers, payload)
            return self.answer, {}

        monkeypatch.setattr(LiteLLMAiohttpTransport, "handle_async_request", for_litellm)
        monkeypatch.setattr(Wire, "post", for_us)

    def note(self, url: str, headers: Mapping[str, str], payload: bytes) -> None:
        told = {name.lower(): value for name, value in headers.items()}
        kept = {name for name in told if name in ("authorization", "x-api-key") or name.startswith("anthropic-")}
        self.seen.append((url, {name: told[name] for name in kept}, orjson.loads(payload)))


def completion(
    model: str,
    content: str | None = '{"a": "b"}',
    finish_reason: str = "stop",
    reasoning_content: str | None = None,
    details: Mapping[str, int] | None = None,
    cached: int = 0,
) -> bytes:
    """What an OpenAI-compatible provider answers."""
    message = {"role": "assistant", "content": content}
    if reasoning_content:
        message["reasoning_content"] = reasoning_content
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    if cached:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if details:
        usage["completion_tokens_details"] = details
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}
    return orjson.dumps({**whole, "service_tier": "default", "system_fingerprint": "f"})


def message(
    model: str,
    content: str | None = '{"a": "b"}',
    finish_reason: str = "stop",
    reasoning_content: str | None = None,
    details: Mapping[str, int] | None = None,
    cached: int = 0,
) -> bytes:
    """What Anthropic answers."""
    blocks = [{"type": "thinking", "thinking": reasoning_content, "signature": "s"}] if reasoning_content else []
    blocks += [{"type": "text", "text": content}] if content else []
    reason = {"stop": "end_turn", "length": "max_tokens"}[finish_reason]
    usage = {"input_tokens": 100, "output_tokens": 50, "cache_read_input_tokens": cached}
    told = {"id": "m", "type": "message", "role": "assistant", "model": model, "content": blocks}
    return orjson.dumps({**told, "stop_reason": reason, "stop_sequence": None, "usage": usage})


def opened(name: str) -> tuple[Chat, Translated]:
    chat = Chat(name)
    fast = translated(chat, Pace())
    assert fast is not None
    return chat, fast


async def both(chat: Chat, fast: Translated, post: Post, requests: Sequence[Request]) -> list[tuple[Reply, Reply]]:
    answer, replies = message if chat.provider == "anthropic" else completion, []
    for number, request in enumerate(requests):
        post.answer = answer(chat.name, **ANSWERS[number % len(ANSWERS)])
        replies.append((await chat.complete(request), await fast.complete(request)))
    return replies


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    Chat("openai/gpt-4o-mini")  # litellm is imported as `chat` imports it
    for provider in PROVIDERS:
        monkeypatch.setenv(f"{provider.upper()}_API_KEY", KEY)
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://localhost:8000/v1")
    return Post(monkeypatch)


def test_the_contract_covers_each_provider() -> None:
    """No provider is translated unproved."""
    assert tuple(MODELS) == PROVIDERS


@pytest.mark.parametrize("name", [f"{provider}/{model}" for provider, models in MODELS.items() for model in models])
def test_the_same_request_leaves_and_the_same_reply_is_read(name: str, post: Post) -> None:
    """Address, keys and body are those of litellm, for each sampling and schema, first and later requests."""
    requests = [
        Request("calls", "d", (MESSAGES[0], {"role": "user", "content": f"{number}"}), schema, sampling)
        for sampling in SAMPLINGS
        for number, schema in enumerate((None, *SCHEMAS, None))
    ]

    replies = asyncio.run(both(*opened(name), post, requests))

    assert post.seen[1::2] == post.seen[::2]
    assert [ours for _, ours in replies] == [theirs for theirs, _ in replies]
    assert len(post.seen) == 2 * len(requests)
    assert {value for _, headers, _ in post.seen for key, value in headers.items() if "key" in key} <= {KEY}


def test_the_price_of_cached_tokens_is_another() -> None:
    """What the map says of a cache is heeded; plain tokens cost their rate, at any number."""
    chat = Chat("openai/gpt-4o-mini")
    plain = {"prompt_tokens": 1000, "completion_tokens": 100}
    full, cached = (
        chat.prices.cost({**plain, **more}) for more in ({}, {"prompt_tokens_details": {"cached_tokens": 1000}})
    )

    assert full == pytest.approx(1000 * 0.15e-6 + 100 * 0.6e-6)
    assert cached == pytest.approx(1000 * 0.075e-6 + 100 * 0.6e-6)
    assert Chat("hosted_vllm/mine").prices.cost(plain) is None


def test_a_translation_that_fails_goes_by_litellm(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever litellm's own code raises: the same request leaves, by `acompletion`."""
    chat, fast = opened("openai/gpt-4o-mini")
    request = Request("calls", "d", MESSAGES)
    ((theirs, ours),) = asyncio.run(both(chat, fast, post, [request]))
    fast._letters.clear()
    monkeypatch.setattr(fast, "_translate", lambda *_: 1 / 0)

    again = asyncio.run(fast.complete(request))

    assert again == ours == theirs
    assert post.seen[2] == post.seen[0]


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("openai/gpt-4o-mini", {"CARG_LITELLM": "full"}),
        ("openai/gpt-4o-mini", {"OPENAI_API_KEY": ""}),
        ("openai/o1-pro", {}),
        ("gemini/gemini-2.5-flash", {}),
        ("hosted_vllm/m", {"HOSTED_VLLM_API_BASE": ""}),
    ],
)
def test_what_is_not_proved_goes_by_litellm(
    name: str, variables: dict[str, str], post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On demand, without a key or an address, models of another protocol, other providers."""
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)

    assert translated(Chat(name), Pace()) is None
