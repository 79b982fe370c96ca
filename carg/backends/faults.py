"""What a server's refusal means for the run: wait and ask again, give up this record, or stop the whole run.

    3xx 401 403 404                  ConfigError    no request of the run will be answered
    402, a spent quota               TryLater       the same command goes on when the account is filled
    429                              RateLimited    ask again after the time the server names
    408 425 5xx, broken connection   BackendError   retryable
    other 4xx                        BackendError   this request alone is refused (too long, against a policy)

Decided by status and error code, never by words. What servers say is quoted without keys.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from carg.errors import BackendError, CargError, ConfigError, RateLimited, TryLater
from carg.pacing import limits_of

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")
_SECRET_TEXT = re.compile(r"\b(?:sk|pk|hf|gsk|xai|key)[-_][A-Za-z0-9_*-]{6,}|(?<=Bearer )\S+")
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "insufficient_credits")
_PASSING = (408, 425, 429)


def refusal(
    status: int, said: str, *, model: str, key_name: str, code: object = None, retry_after_s: float | None = None
) -> CargError:
    """The error for an HTTP status. `said` is the server's message, `key_name` the variable that holds the key."""
    quoted = f"{model}: {status}: {without_keys(said)[:300]}"
    if status in (401, 403):
        return ConfigError(quoted, f"the server refuses the key: set {key_name} to one that is allowed this model")
    if status == 404:
        return ConfigError(quoted, "the server knows no such model or path: check --backend and --api-base")
    if 300 <= status < 400:
        return ConfigError(quoted, "the server has moved: name its new address")
    if status == 402 or code in _SPENT:
        return TryLater(quoted, "the account has no credit left: fill it up, then run the same command again")
    if status == 429:
        return RateLimited(quoted, "lower --width, or wait", retry_after_s=retry_after_s)
    if status in _PASSING or status >= 500:
        return BackendError(quoted, "the server is in trouble: try again later", retryable=True)
    return BackendError(quoted, "the server takes no such request from this model")


def unreachable(model: str, fault: BaseException) -> BackendError:
    """The error for a connection that failed; asking again can help."""
    said = without_keys(str(fault) or type(fault).__name__).splitlines()[0][:300]
    return BackendError(
        f"{model}: no connection: {said}", "check the address (--api-base, MODEL@URL) and the network", retryable=True
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or a date, else the reset of a spent limit; or None."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after", "")
    if (seconds := _number(value)) is not None:
        return seconds
    if not value:
        return _reset_of_spent(headers)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _reset_of_spent(headers: Mapping[str, str]) -> float | None:
    """Seconds until a spent limit is filled again; None where none is said to be spent."""
    return max((reset_s for _, left, _, reset_s in limits_of(headers) if left == 0), default=None)


def without_keys(text: str) -> str:
    """The text with everything that is, or looks like, a key taken out."""
    for name, value in os.environ.items():
        if len(value) >= 8 and _SECRET_NAME.search(name):
            text = text.replace(value, "[key]")
    return _SECRET_TEXT.sub("[key]", text)


def _number(value: str) -> float | None:
    try:
        return max(0.0, float(value))
    except ValueError:
        return None
