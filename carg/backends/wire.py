"""One aiohttp session to one server: posts JSON, maps what goes wrong, reads chat completions. Knows no provider.

Redirects are not followed: a key is sent to the host that was named and to no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import orjson

from carg.backends import Reply
from carg.backends.faults import refusal, retry_after, unreachable
from carg.errors import BackendError, CargError, ConfigError

if TYPE_CHECKING:
    import aiohttp


class Wire:
    """Connections of one backend; `asking` bounds calls and time, so that nothing here does."""

    def __init__(self, model: str, key_name: str, *, proxy: str | None = None, ssl: Any = True) -> None:
        """`model` and `key_name` are for messages; `ssl` is what aiohttp takes: True, or a context."""
        self.model, self.key_name, self._proxy, self._ssl = model, key_name, proxy, ssl
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, payload: bytes, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of an answer with status 200. Raises what `faults` makes of all others."""
        import aiohttp

        try:
            async with self._open().post(
                url, data=payload, headers=headers, proxy=self._proxy, allow_redirects=False
            ) as response:
                body, status, said = await response.read(), response.status, response.headers
        except aiohttp.InvalidURL as fault:
            raise ConfigError(f"--api-base: {fault} is no address", "give one like http://localhost:8000/v1") from fault
        except (aiohttp.ClientError, ConnectionError, OSError) as fault:
            raise unreachable(self.model, fault) from fault
        if status != 200:
            raise self._refused(status, body, said)
        return body, said

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
                timeout=aiohttp.ClientTimeout(total=None),
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
            key_name=self.key_name,
            code=error.get("code") if isinstance(error, dict) else None,
            retry_after_s=retry_after(headers),
        )


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address (HTTPS_PROXY, NO_PROXY, ...); aiohttp looks at each call."""
    address = urlsplit(url)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)


def read_completion(body: bytes, model: str) -> tuple[Reply, dict[str, Any]]:
    """The reply in an OpenAI chat completion, without a cost, and its usage as told. Raises BackendError."""
    try:
        parsed = orjson.loads(body)
        choice, usage = parsed["choices"][0], parsed.get("usage") or {}
        message = choice["message"]
        reply = Reply(
            text=message.get("content") or "",
            finish_reason=choice.get("finish_reason") or "stop",
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
            cost=None,
            model=parsed.get("model") or model,
            thought=bool(message.get("reasoning_content") or message.get("reasoning")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError, AttributeError, ValueError) as fault:
        raise no_completion(model, fault) from fault
    return reply, usage


def no_completion(model: str, fault: Exception) -> BackendError:
    """The error for an answer that is something else, such as a gateway's page."""
    said = f"{model}: the answer is no chat completion ({type(fault).__name__}: {str(fault)[:100]})"
    return BackendError(said, "check that --api-base ends in /v1", retryable=True)
