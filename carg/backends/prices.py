"""What a reply costs, by litellm's price map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MANY = 1_000_000


class Prices:
    """The prices of one model. Looked up once: litellm takes 0.2 ms to price a reply, and longer to find no price."""

    def __init__(self, name: str, provider: str) -> None:
        self.name, self.provider = name, provider
        self._rates = self._find()

    def cost(self, usage: Any) -> float | None:
        """US dollars for the usage that an answer tells; None where no price is known."""
        if self._rates is None:
            return None
        told = usage if isinstance(usage, Mapping) else usage.model_dump()
        tokens_in, tokens_out = (int(told.get(name) or 0) for name in ("prompt_tokens", "completion_tokens"))
        if self._rates[2] and _is_plain(told):
            return self._rates[0] * tokens_in + self._rates[1] * tokens_out
        return self._priced(**told)

    def _find(self) -> tuple[float, float, bool] | None:
        """Dollars for a token in and out, and whether that holds for any number of them; None for an unknown model."""
        import litellm

        try:
            low = litellm.cost_per_token(self.name, 1000, 1000, custom_llm_provider=self.provider)
            high = litellm.cost_per_token(self.name, _MANY, _MANY, custom_llm_provider=self.provider)
        except Exception:  # litellm names it in many ways
            return None
        rates = low[0] / 1000, low[1] / 1000
        is_flat = all(abs(rate * _MANY - cost) <= 1e-9 * cost for rate, cost in zip(rates, high, strict=True))
        return *rates, is_flat

    def _priced(self, **told: Any) -> float:
        import litellm
        from litellm.types.utils import Usage

        both = litellm.cost_per_token(self.name, custom_llm_provider=self.provider, usage_object=Usage(**told))
        return float(sum(both))


_PLAIN = {"prompt_tokens", "completion_tokens", "total_tokens", "text_tokens"}


def _is_plain(told: Mapping[str, Any]) -> bool:
    """Nothing but tokens in and out: none from a cache, none thought, heard or looked up."""
    return all(
        _is_plain(value) if isinstance(value, Mapping) else not value or name in _PLAIN for name, value in told.items()
    )
