"""Grammars of answers: what JSON of a schema may go on with, as masks over the vocabulary, by llguidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from carg.gtm.tokens import TURN_END, Tokenizer

_SPACES = "[ \\n]{0,16}"
"""White space that a grammar allows between JSON tokens: indented bodies fit, endless loops do not."""


def read_vocabulary(tokenizer: Tokenizer, size: int) -> Any:
    """The vocabulary, `size` tokens with its padding, as llguidance wants it; None where that package is missing."""
    try:
        import llguidance.hf
    except ImportError:
        return None
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    return llguidance.hf.from_tokenizer(tokenizer, n_vocab=size, eos_token=end)


def match(vocabulary: Any, schema: Mapping[str, Any] | None) -> Any:
    """A matcher that stands at the start of JSON of the schema; None where there is no schema, or it is beyond it."""
    if schema is None or vocabulary is None:
        return None
    from llguidance import LLMatcher

    options = {"whitespace_pattern": _SPACES, "lenient": True}
    text = orjson.dumps({**schema, "x-guidance": options}).decode()
    try:
        matcher = LLMatcher(vocabulary, LLMatcher.grammar_from_json_schema(text))
    except ValueError:  # some faults of a schema are raised, others kept in the matcher
        return None
    return None if matcher.is_error() else matcher


def allow(matchers: Sequence[Any], size: int, end: int) -> NDArray[np.int32]:
    """Which of `size` tokens each matcher lets through, 32 to a word: all for None, and the end mark alone once a
    grammar is complete or stuck. Matchers are asked in parallel.
    """
    from llguidance.numpy import fill_next_token_bitmask_par

    words = np.full((len(matchers), (size + 31) // 32), -1, dtype=np.int32)
    bound = [(row, matcher) for row, matcher in enumerate(matchers) if matcher is not None]
    open_ = [(matcher, row) for row, matcher in bound if not matcher.is_stopped()]
    if open_:
        fill_next_token_bitmask_par(_executor(), open_, words)
    for row, matcher in bound:
        if matcher.is_stopped() or not words[row].any():
            words[row] = 0
            words[row, end // 32] = np.int32(np.uint32(1 << end % 32).view(np.int32))
    return words


@cache
def _executor() -> Any:
    from llguidance import LLExecutor

    return LLExecutor()
