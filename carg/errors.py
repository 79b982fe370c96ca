"""Every error that carg raises on purpose, and the exit code each ends a command with.

    CargError                    a known failure: two lines on stderr (what, how to mend), exit 1
    |- ConfigError               settings or flags that cannot be used; lists all faults at once
    |- DomainError               a domain file with faults; lists all faults at once
    |  `- ExpressionError        one expression that the closed language refuses
    |- PromptError               a prompt file or its variables
    |- RecordError               a record that is not what its type says
    |- StoreError                a run folder, shard or journal that cannot be read or written
    |- BackendError              a model or server that did not answer (retryable or not)
    |  |- RateLimited            a server that asks to slow down (retryable)
    |  `- ReplyError             an answer that is not what was asked for
    |- TrainError                a training run that cannot start or go on
    |- TryLater                  locked, or a budget is reached: exit 75, the same command goes on later
    `- TooManyFailures           the run ended, but more records failed than allowed: exit 3

Third-party errors are mapped where the library is called, always `from` the original.
Only `cli` turns an error into an exit.
"""

from __future__ import annotations


class CargError(Exception):
    """A failure with a known cause: `message` says what and where, `hint` how to mend it."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class ConfigError(CargError):
    """Settings that cannot be used; the message lists every fault found."""


class DomainError(CargError):
    """A domain file with faults; the message lists every one with file and entry."""


class ExpressionError(DomainError):
    """An expression outside the closed language; says which part and what is allowed."""


class PromptError(CargError):
    """A prompt file that is malformed, or rendered with the wrong variables."""


class RecordError(CargError):
    """A record that does not fit its type."""


class StoreError(CargError):
    """A file or folder of a run that cannot be read, written or trusted."""


class BackendError(CargError):
    """A backend that did not answer. `retryable` says whether asking again can help."""

    def __init__(
        self, message: str, hint: str = "", *, retryable: bool = False, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, hint)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class RateLimited(BackendError):
    """A server that asks to slow down; `retry_after_s` is what it asked for, if it said."""

    def __init__(self, message: str, hint: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message, hint, retryable=True, retry_after_s=retry_after_s)


class ReplyError(BackendError):
    """An answer that came but is not what was asked for; `text` is the answer as received, `reason` a word to count."""

    def __init__(self, message: str, text: str, reason: str = "refused") -> None:
        super().__init__(message)
        self.text = text
        self.reason = reason


class TrainError(CargError):
    """A training run that cannot start or go on."""


class TryLater(CargError):
    """Work is left but must wait: another run holds the lock, or a budget is spent."""

    exit_code = 75


class TooManyFailures(CargError):
    """The run is whole, but more records failed than `max_failed` allows."""

    exit_code = 3
