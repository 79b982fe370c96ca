"""An OpenAI-compatible server (`--api-base`) over one aiohttp session: 0.2 ms of CPU a call.

vLLM, llama.cpp, Ollama, SGLang, a gateway: whatever speaks POST /chat/completions. The key is read from CARG_API_KEY
and from nowhere else, so that no provider's key is sent to a host of another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from carg.backends import Reply, Request
from carg.backends.enforcing import Enforcing
from carg.backends.faults import refusal, retry_after, unreachable
from carg.errors import BackendError, CargError, ConfigError
from carg.pacing import Pace

if TYPE_CHECKING:
    import aiohttp

KEY_NAME = "CARG_API_KEY"


class Direct:
    """One server and one model on it."""

    def __init__(self, name: str, api_base: str, pace: Pace | None = None) -> None:
        """`name` is the model as the server knows it, with or without the prefixes that litellm uses.

        `pace` learns from what the server says of its limits.
        """
        self.model = name.removeprefix("openai/").removeprefix("hosted_vllm/")
        self.url = _completions_url(api_base)
        self._session: aiohttp.ClientSession | None = None
        self._enforcing = Enforcing()
        self._pace = pace or Pace()

    async def complete(self, request: Request) -> Reply:
        """The server's answer."""
        plain = {"model": self.model, "messages": list(request.messages), **request.sampling}
        return await self._enforcing.ask(request, lambda extra: self._post(orjson.dumps(plain | extra)))

    async def aclose(self) -> None:
        """Closes the session."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, payload: bytes) -> Reply:
        import aiohttp

        try:
            async with self._open().post(self.url, data=payload) as response:
                body = await response.read()
                status, headers = response.status, {name.lower(): text for name, text in response.headers.items()}
        except aiohttp.InvalidURL as fault:
            raise ConfigError(f"--api-base: {fault} is no address", "give one like http://localhost:8000/v1") from fault
        except (aiohttp.ClientError, ConnectionError, OSError) as fault:
            raise unreachable(self.model, fault) from fault
        if status != 200:
            raise self._refused(status, body, headers)
        try:
            reply = _reply(orjson.loads(body), self.model)
        except (orjson.JSONDecodeError, KeyError, TypeError, IndexError) as fault:
            said = f"{self.model}: the answer is no chat completion ({fault!r})"
            raise BackendError(said, "check that --api-base ends in /v1", retryable=True) from fault
        self._pace.learn(headers, reply.tokens_in + reply.tokens_out)
        return reply

    def _open(self) -> aiohttp.ClientSession:
        """The session, opened at the first call; `asking` bounds calls and time, so that nothing here does."""
        import aiohttp

        if self._session is None:
            headers = {"Content-Type": "application/json"}
            if key := os.environ.get(KEY_NAME):
                headers["Authorization"] = f"Bearer {key}"
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), headers=headers
            )
        return self._session

    def _refused(self, status: int, body: bytes, headers: Mapping[str, str]) -> CargError:
        try:
            parsed = orjson.loads(body)
        except orjson.JSONDecodeError:
            parsed = None
        error = parsed.get("error", parsed) if isinstance(parsed, dict) else None
        said = error.get("message") if isinstance(error, dict) else error
        return refusal(
            status,
            str(said or body[:300].decode(errors="replace")),
            model=self.model,
            key_name=KEY_NAME,
            code=error.get("code") if isinstance(error, dict) else None,
            retry_after_s=retry_after(headers),
        )


def _completions_url(api_base: str) -> str:
    from urllib.parse import urlsplit

    address = urlsplit(api_base)
    if address.scheme not in ("http", "https") or not address.netloc:
        raise ConfigError(f"--api-base: {api_base!r} is no address", "give one like http://localhost:8000/v1")
    return api_base.rstrip("/") + ("" if address.path.strip("/") else "/v1") + "/chat/completions"


def _reply(body: dict[str, Any], model: str) -> Reply:
    choice, usage = body["choices"][0], body.get("usage") or {}
    return Reply(
        text=choice["message"].get("content") or "",
        finish_reason=choice.get("finish_reason") or "stop",
        tokens_in=int(usage.get("prompt_tokens") or 0),
        tokens_out=int(usage.get("completion_tokens") or 0),
        cost=None,
        model=body.get("model") or model,
    )
