"""Any provider through litellm's `acompletion`: 2-3 ms of CPU a call, over a hundred providers.

litellm takes seconds to import, so it is imported when the backend is opened, with its bundled price map: nothing is
fetched at start. Keys come from the variables that litellm documents for a provider (OPENAI_API_KEY, ...).
"""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

from carg.backends import Reply, Request
from carg.backends.enforcing import Enforcing
from carg.backends.faults import refusal, retry_after, unreachable, without_keys
from carg.backends.prices import Prices
from carg.errors import BackendError, CargError, ConfigError
from carg.pacing import Pace


class Chat:
    """One model of one provider: `model` is provider/name."""

    def __init__(self, model: str, pace: Pace | None = None) -> None:
        """`pace` learns from what the provider says of its limits.

        Raises ConfigError when litellm knows no provider for the name.
        """
        self.model = model
        self._litellm = _import_litellm()
        try:
            self.name, self.provider, self.api_key, self.api_base = self._litellm.get_llm_provider(model)
        except self._litellm.exceptions.BadRequestError as fault:
            raise ConfigError(
                f"--backend {model!r}: litellm knows no provider for it",
                "write PROVIDER/MODEL, as in openai/gpt-5-mini, or give --api-base for a server of your own",
            ) from fault
        self.key_name = f"{self.provider.upper()}_API_KEY"
        self.prices = Prices(self.name, self.provider)
        self._enforcing = Enforcing()
        self._pace = pace or Pace()

    @property
    def mode(self) -> str | None:
        """What litellm says the model is for: chat, responses (bridged to another protocol), ...; None if unknown."""
        known = self._litellm.model_cost
        return (known.get(self.name) or known.get(f"{self.provider}/{self.name}") or {}).get("mode")

    async def complete(self, request: Request) -> Reply:
        """The provider's answer."""
        return await self._enforcing.ask(request, lambda extra: self.ask(request, extra))

    async def aclose(self) -> None:
        """Closes the connections that litellm keeps."""
        await self._litellm.close_litellm_async_clients()

    async def ask(self, request: Request, extra: dict[str, Any]) -> Reply:
        """The provider's answer to the request with these further fields."""
        import openai  # litellm's errors are subclasses of openai's

        try:
            answer = await self._litellm.acompletion(
                model=self.model,
                messages=[dict(message) for message in request.messages],
                num_retries=0,
                max_retries=0,
                drop_params=True,
                **request.sampling,
                **extra,
            )
        except openai.OpenAIError as fault:
            raise self._mapped(fault) from fault
        hidden = answer._hidden_params
        reply = reply_of(answer, self.model, hidden.get("response_cost"))
        self._pace.learn(_plain(hidden.get("additional_headers") or {}), reply.tokens_in + reply.tokens_out)
        return reply

    def _mapped(self, fault: Any) -> CargError:
        kinds = self._litellm.exceptions
        if isinstance(fault, kinds.Timeout | kinds.APIConnectionError):
            return unreachable(self.model, fault)
        status = getattr(fault, "status_code", None)
        if not isinstance(status, int):
            return BackendError(f"{self.model}: {without_keys(str(fault))[:300]}", "see the provider's documentation")
        body = getattr(fault, "body", None)
        return refusal(
            status,
            getattr(fault, "message", None) or str(fault),
            model=self.model,
            key_name=self.key_name,
            code=body.get("code") if isinstance(body, dict) else None,
            retry_after_s=retry_after(_plain(getattr(fault, "litellm_response_headers", None) or {})),
        )


def reply_of(answer: Any, model: str, cost: float | None) -> Reply:
    """What litellm read, as a Reply."""
    choice, usage = answer.choices[0], getattr(answer, "usage", None)
    return Reply(
        text=choice.message.content or "",
        finish_reason=choice.finish_reason or "stop",
        tokens_in=int(getattr(usage, "prompt_tokens", 0) or 0),
        tokens_out=int(getattr(usage, "completion_tokens", 0) or 0),
        cost=cost,
        model=model,
        thought=bool(getattr(choice.message, "reasoning_content", None)),
    )


def _plain(headers: Mapping[str, Any]) -> dict[str, str]:
    """Headers as the provider named them, in lower case."""
    return {name.lower().removeprefix("llm_provider-"): str(value) for name, value in headers.items()}


def _import_litellm() -> Any:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # pydantic complains of litellm's own types, at its import and again at the first call.
    warnings.filterwarnings("ignore", module=r"pydantic\.")
    import litellm

    logging.getLogger("LiteLLM").setLevel(logging.ERROR)  # it writes to stderr, of its own bookkeeping too
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    gc.freeze()  # litellm leaves a million objects, and a collection that walks them holds up all calls
    return litellm
