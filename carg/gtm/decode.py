"""Answers of a trained model: batches decoded together, each under the grammar of its own schema if it has one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from carg.errors import BackendError
from carg.gtm.model import load_model
from carg.gtm.parallel import limit_threads, pick_device
from carg.gtm.tokens import TURN_END, Tokenizer, load_tokenizer, prompt_ids
from carg.records import digest

_BATCH_TOKENS = 32_768
"""Prompt tokens, padding counted, that are decoded together."""

_SPACES = "[ \\n]{0,16}"
"""White space that a grammar allows between JSON tokens: indented bodies fit, endless loops do not."""


@dataclass(frozen=True, slots=True)
class Gtm:
    """A model ready to answer."""

    model: Any
    tokenizer: Tokenizer
    device: torch.device
    grammar_tokens: Any
    """The vocabulary as llguidance wants it; None where that package is not installed."""


@dataclass(slots=True)
class _Request:
    """One answer in the making."""

    place: int
    prompt: list[int]
    matcher: Any
    generator: torch.Generator
    answer: list[int]


def load_gtm(folder: Path | str, *, device: str = "auto") -> Gtm:
    """The model of a folder that `finetune` wrote, in bf16 on a GPU and fp32 on a CPU.

    Raises TrainError when the folder holds no model or a tokenizer without the ChatML marks.
    """
    tokenizer = load_tokenizer(folder)
    place = pick_device(device)
    model = load_model(folder, tokenizer).to(place, torch.bfloat16 if place.type == "cuda" else torch.float32)
    limit_threads(sum(weight.numel() for weight in model.parameters()), place)
    return Gtm(model.eval(), tokenizer, place, _grammar_tokens(tokenizer, model))


def _grammar_tokens(tokenizer: Tokenizer, model: Any) -> Any:
    try:
        import llguidance.hf
    except ImportError:
        return None
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    return llguidance.hf.from_tokenizer(tokenizer, n_vocab=model.config.vocab_size, eos_token=end)


def answer(
    gtm: Gtm,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    *,
    max_new_tokens: int = 1024,
    temperature: float = 0.0,
    schema: Sequence[Mapping[str, Any] | None] | None = None,
    seed: int = 0,
) -> list[str]:
    """The assistant's next message of each conversation, without its end mark.

    At temperature 0 the likeliest token is taken; above, sampling depends on seed and conversation alone, not on
    what is decoded beside it. A conversation with a schema gets JSON of that schema; where the schema is beyond
    llguidance, or that package is missing, the answer is free. An answer that reaches `max_new_tokens` or the
    context is cut. Raises BackendError when a conversation leaves no room for an answer.
    """
    context = gtm.model.config.max_position_embeddings
    prompts = prompt_ids(gtm.tokenizer, conversations)
    schemas = schema or [None] * len(prompts)
    requests = [
        _Request(place, prompt, _matcher(gtm, wanted), _generator(gtm, seed, prompt), [])
        for place, (prompt, wanted) in enumerate(zip(prompts, schemas, strict=True))
    ]
    for request in requests:
        if len(request.prompt) >= context:
            raise BackendError(
                f"a conversation of {len(request.prompt)} tokens leaves no room in a context of {context}",
                "show fewer tools or records, or begin a new session",
            )
    for batch in _batches(requests):
        _decode(gtm, batch, max_new_tokens, temperature, context)
    return [gtm.tokenizer.decode(request.answer, clean_up_tokenization_spaces=False) for request in requests]


def _matcher(gtm: Gtm, schema: Mapping[str, Any] | None) -> Any:
    if schema is None or gtm.grammar_tokens is None:
        return None
    from llguidance import LLMatcher

    options = {"whitespace_pattern": _SPACES, "lenient": True}
    text = orjson.dumps({**schema, "x-guidance": options}).decode()
    try:
        matcher = LLMatcher(gtm.grammar_tokens, LLMatcher.grammar_from_json_schema(text))
    except ValueError:  # some faults of a schema are raised, others kept in the matcher
        return None
    return None if matcher.is_error() else matcher


def _generator(gtm: Gtm, seed: int, prompt: list[int]) -> torch.Generator:
    return torch.Generator().manual_seed(int(digest(seed, prompt)[:15], 16))


def _batches(requests: list[_Request]) -> Iterator[list[_Request]]:
    """Requests of like length together, so that little is padded."""
    batch: list[_Request] = []
    for request in sorted(requests, key=lambda one: -len(one.prompt)):
        if batch and (len(batch) + 1) * len(batch[0].prompt) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(request)
    if batch:
        yield batch


@torch.inference_mode()
def _decode(gtm: Gtm, batch: list[_Request], max_new_tokens: int, temperature: float, context: int) -> None:
    """Fill in the answers of a batch, padded on the left; finished ones leave once half of it is done."""
    end = gtm.tokenizer.convert_tokens_to_ids(TURN_END)
    ids, mask = _pad_left(batch, gtm.tokenizer.pad_token_id, gtm.device)
    cache = None
    live = list(batch)
    done = [False] * len(live)
    for _ in range(max_new_tokens):
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        result = gtm.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache = result.past_key_values
        chosen = _choose(result.logits[:, -1].float().cpu(), live, done, end, temperature)
        for place, (request, token) in enumerate(zip(live, chosen, strict=True)):
            if done[place]:
                continue
            if token != end:
                request.answer.append(token)
            done[place] = token == end or len(request.prompt) + len(request.answer) >= context
        if all(done):
            return
        ids = torch.tensor(chosen, device=gtm.device)[:, None]
        mask = torch.cat([mask, mask.new_ones(len(live), 1)], dim=1)
        if 2 * sum(done) >= len(live):
            staying = [place for place, is_done in enumerate(done) if not is_done]
            kept = torch.tensor(staying, device=gtm.device)
            cache.batch_select_indices(kept)
            ids, mask = ids[kept], mask[kept]
            live, done = [live[place] for place in staying], [False] * len(staying)


def _pad_left(batch: list[_Request], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    longest = max(len(request.prompt) for request in batch)
    ids = torch.full((len(batch), longest), pad)
    mask = torch.zeros((len(batch), longest), dtype=torch.long)
    for row, request in enumerate(batch):
        ids[row, longest - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[row, longest - len(request.prompt) :] = 1
    return ids.to(device), mask.to(device)


def _choose(logits: Tensor, live: list[_Request], done: list[bool], end: int, temperature: float) -> list[int]:
    """The next token of each request, within its grammar; finished ones get the end mark."""
    chosen = []
    for row, (request, is_done) in enumerate(zip(live, done, strict=True)):
        if is_done:
            chosen.append(end)
            continue
        scores = logits[row]
        if request.matcher is not None:
            scores = scores.masked_fill(~_allowed(request.matcher, len(scores), end), float("-inf"))
        if temperature > 0:
            weights = (scores / temperature).softmax(dim=0)
            token = int(torch.multinomial(weights, 1, generator=request.generator))
        else:
            token = int(scores.argmax())
        if request.matcher is not None and token != end:
            request.matcher.consume_token(token)
        chosen.append(token)
    return chosen


def _allowed(matcher: Any, size: int, end: int) -> Tensor:
    """Which tokens the grammar lets through: the end mark alone once it is complete or stuck."""
    if not matcher.is_stopped():
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little")[:size].astype(bool))
        if bool(allowed.any()):
            return allowed
    allowed = torch.zeros(size, dtype=torch.bool)
    allowed[end] = True
    return allowed
