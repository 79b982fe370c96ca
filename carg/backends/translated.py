"""A litellm provider without litellm's client: its translation of request and reply, sent over our own session.

`acompletion` takes 2-3 ms of CPU a call, this a tenth. Only for PROVIDERS, where tests/test_translated.py shows that
both send the same request and read the same reply. What cannot be translated goes by `chat`, as all other providers do;
CARG_LITELLM=full in the environment sends everything that way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from carg.backends import Reply, Request
from carg.backends.chat import Chat, reply_of
from carg.backends.enforcing import Enforcing
from carg.backends.wire import Wire, no_completion, proxy_for, read_completion
from carg.pacing import Pace

PROVIDERS = (
    *("openai", "anthropic", "cerebras", "dashscope", "deepinfra", "deepseek", "featherless_ai", "fireworks_ai"),
    *("groq", "hosted_vllm", "hyperbolic", "mistral", "moonshot", "nebius", "novita", "nvidia_nim", "openrouter"),
    *("perplexity", "sambanova", "together_ai", "xai"),
)
_HOMES = {
    "openai": (("OPENAI_BASE_URL", "OPENAI_API_BASE"), "https://api.openai.com/v1"),
    "openrouter": (("OPENROUTER_API_BASE",), "https://openrouter.ai/api/v1"),
    "hosted_vllm": (("HOSTED_VLLM_API_BASE",), None),
    "anthropic": (("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"), "https://api.anthropic.com"),
}
"""Variables and address of the providers whose address litellm's own lookup does not tell."""
_ACCOUNT = {"OpenAI-Organization": ("OPENAI_ORGANIZATION", "OPENAI_ORG_ID"), "OpenAI-Project": ("OPENAI_PROJECT_ID",)}


@dataclass(frozen=True, slots=True)
class _Letter:
    """A translated request. `optional` and `json_mode` are what litellm reads the reply with."""

    url: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    optional: dict[str, Any]
    json_mode: bool


class Translated:
    """One model of one provider. Made by `translated`, which knows for whom."""

    def __init__(self, chat: Chat, address: str, key: str | None, config: Any, pace: Pace) -> None:
        from litellm.llms.custom_httpx.http_handler import get_ssl_configuration
        from litellm.llms.openai.chat.gpt_transformation import OpenAIGPTConfig

        self.chat, self._address, self._key, self._config, self._pace = chat, address, key, config, pace
        self._is_plain = type(config).transform_response is OpenAIGPTConfig.transform_response
        self._wire = Wire(chat.model, chat.key_name, proxy=proxy_for(address), ssl=get_ssl_configuration())
        self._enforcing = Enforcing()
        self._letters: dict[Any, _Letter] = {}

    async def complete(self, request: Request) -> Reply:
        """The provider's answer."""
        return await self._enforcing.ask(request, lambda extra: self._ask(request, extra))

    async def aclose(self) -> None:
        """Closes the connections of both roads."""
        await self._wire.aclose()
        await self.chat.aclose()

    async def _ask(self, request: Request, extra: dict[str, Any]) -> Reply:
        if "service_tier" in request.sampling:  # the answer then has another price
            return await self.chat.ask(request, extra)
        try:
            letter = self._letter(request, extra)
        except Exception:  # litellm's own code, which may raise anything: `acompletion` says what is wrong
            return await self.chat.ask(request, extra)
        body, headers = await self._wire.post(letter.url, orjson.dumps(letter.body), letter.headers)
        reply = self._read_plain(body) if self._is_plain else self._read(body, letter, request)
        self._pace.learn(headers, reply.tokens_in + reply.tokens_out)
        return reply

    def _letter(self, request: Request, extra: dict[str, Any]) -> _Letter:
        """The request as the provider takes it.

        Where litellm left messages and schema as they are, those of later requests are put in their place: translating
        costs a millisecond, and nothing else of a request differs.
        """
        roles = tuple(message["role"] for message in request.messages)
        kind = (roles, orjson.dumps(dict(request.sampling)), bool(extra))
        if (known := self._letters.get(kind)) is not None:
            body = {**known.body, "messages": request.messages, **extra}
            return _Letter(known.url, known.headers, body, known.optional, known.json_mode)
        messages = [dict(message) for message in request.messages]
        letter = self._translate(messages, {**request.sampling, **extra})
        is_alike = all(letter.body.get(name) == value for name, value in extra.items())
        if is_alike and letter.body.get("messages") == list(request.messages):
            self._letters[kind] = letter
        return letter

    def _translate(self, messages: list[Any], options: dict[str, Any]) -> _Letter:
        from litellm.utils import get_optional_params

        chat, config = self.chat, self._config
        optional = get_optional_params(
            model=chat.name,
            custom_llm_provider=chat.provider,
            messages=messages,
            stream=None,
            drop_params=True,
            **options,
        )
        json_mode, further, _ = (optional.pop(name, None) for name in ("json_mode", "extra_body", "fake_stream"))
        shared = {"model": chat.name, "optional_params": optional, "litellm_params": {"drop_params": True}}
        headers = config.validate_environment(
            headers=_account_of(chat.provider), messages=messages, api_key=self._key, api_base=self._address, **shared
        )
        url = config.get_complete_url(api_base=self._address, api_key=self._key, **shared)
        messages = config.translate_developer_role_to_system_role(messages=messages)
        body = config.transform_request(messages=messages, headers=headers, **shared)
        return _Letter(url, headers, {**body, **(further or {})}, optional, bool(json_mode))

    def _read_plain(self, body: bytes) -> Reply:
        """litellm would only copy such an answer, for half a millisecond."""
        from litellm.litellm_core_utils.core_helpers import map_finish_reason

        reply, usage = read_completion(body, self.chat.model)
        return Reply(
            reply.text,
            map_finish_reason(reply.finish_reason),
            reply.tokens_in,
            reply.tokens_out,
            self.chat.prices.cost(usage),
            self.chat.model,
            reply.thought,
        )

    def _read(self, body: bytes, letter: _Letter, request: Request) -> Reply:
        import httpx
        from litellm.types.utils import ModelResponse

        try:
            answer = self._config.transform_response(
                model=self.chat.name,
                raw_response=httpx.Response(200, content=body, headers={"Content-Type": "application/json"}),
                model_response=ModelResponse(),
                logging_obj=_Unheard(),
                request_data=letter.body,
                messages=list(request.messages),
                optional_params=letter.optional,
                litellm_params={},
                encoding=None,
                api_key=self._key,
                json_mode=letter.json_mode,
            )
            return reply_of(answer, self.chat.model, self.chat.prices.cost(answer.usage))
        except Exception as fault:  # as above: whatever the answer is, it is none that can be read
            raise no_completion(self.chat.model, fault) from fault


class _Unheard:
    """What litellm's readers tell of a reply; nobody listens."""

    def __init__(self) -> None:
        self.optional_params: dict[str, Any] = {}
        self.model_call_details: dict[str, Any] = {}

    def post_call(self, *_: Any, **__: Any) -> None:
        """Nothing is logged."""


def translated(chat: Chat, pace: Pace) -> Translated | None:
    """The fast road to the model of `chat`; None where there is none, no key is set, or litellm bridges the model."""
    from litellm.types.utils import LlmProviders
    from litellm.utils import ProviderConfigManager

    if chat.provider not in PROVIDERS or os.environ.get("CARG_LITELLM") == "full" or chat.mode not in (None, "chat"):
        return None
    address, key = _home_of(chat)
    config = ProviderConfigManager.get_provider_chat_config(chat.name, LlmProviders(chat.provider))
    if address is None or config is None or not (key or chat.provider == "hosted_vllm"):
        return None
    return Translated(chat, address, key, config, pace)


def _home_of(chat: Chat) -> tuple[str | None, str | None]:
    """Address and key of the provider, from its own variables: never one provider's key with another's address."""
    key = chat.api_key or os.environ.get(chat.key_name)
    names, address = _HOMES.get(chat.provider, ((), chat.api_base))
    address = next((os.environ[name] for name in names if os.environ.get(name)), address)
    if chat.provider == "anthropic" and address and not address.endswith("/v1/messages"):
        address += "/v1/messages"
    return address, key


def _account_of(provider: str) -> dict[str, str]:
    if provider != "openai":
        return {}
    found = {header: [os.environ[name] for name in names if os.environ.get(name)] for header, names in _ACCOUNT.items()}
    return {header: values[0] for header, values in found.items() if values}
