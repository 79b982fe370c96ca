"""Answers of a trained model: texts decoded together, each under the grammar of its own schema if it has one.

Batching is continuous: who is done leaves, who waits joins, at any step. What texts have in common at their start - the
system text, earlier turns of a session - goes through the model once. `slots` holds the keys and values.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from carg.errors import BackendError
from carg.gtm.grammar import allow, match, read_vocabulary
from carg.gtm.model import load_model
from carg.gtm.parallel import limit_threads, pick_device
from carg.gtm.slots import Slots, read, register, token_bytes
from carg.gtm.tokens import TURN_END, Tokenizer, load_tokenizer, prompt_ids
from carg.records import digest

_CPU_BYTES = 2 << 30
"""Memory for keys and values on a CPU; on a GPU it is half of what is free there."""

_MOST_KEPT = 262_144
"""Tokens of kept prompts, about a hundred of them: each new prompt is compared with all."""

_CPU_ROWS, _GPU_ROWS = 32, 256
"""Texts decoded together: a CPU is no faster with more, a GPU hardly."""


@dataclass(frozen=True, slots=True)
class Gtm:
    """A model ready to answer."""

    model: Any
    tokenizer: Tokenizer
    device: torch.device
    grammar_tokens: Any
    """The vocabulary as llguidance wants it; None where that package is not installed."""
    rows: int
    """Most texts decoded together."""
    room: int
    """Most tokens of texts decoded together: each counted as long as the longest may become."""
    keep: int
    """Tokens of prompts whose keys and values are kept for prompts that begin alike; 0 turns the prefix cache off."""
    kept: list[_Prefix] = field(default_factory=list, compare=False)
    """Prompts read lately, the latest last."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A conversation whose next message is wanted."""

    messages: Sequence[Mapping[str, Any]]
    schema: Mapping[str, Any] | None = None
    max_new_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The assistant's next message, without its end mark."""

    text: str
    n_prompt: int
    """Tokens of the conversation."""
    n_tokens: int
    """Tokens of the answer; its end mark, if it came to it, is counted."""
    is_cut: bool
    """It reached its most tokens, or the end of the context, before its end mark."""


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A prompt that was read, and its keys and values in the one row of some slots."""

    ids: NDArray[np.int64]
    slots: Slots


@dataclass(slots=True)
class _Text:
    """An answer in the making."""

    key: Any
    prompt: NDArray[np.int64]
    asked: Asked
    rng: random.Random
    most: int
    """Tokens that prompt and answer may have together."""
    matcher: Any = None
    """Of the grammar; made when the text joins the live ones."""
    answer: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)


def load_gtm(folder: Path | str, *, device: str = "auto") -> Gtm:
    """The model of a folder that `finetune` wrote, in bf16 on a GPU and fp32 on a CPU.

    Raises TrainError when the folder holds no model or a tokenizer without the ChatML marks.
    """
    tokenizer = load_tokenizer(folder)
    place = pick_device(device)
    model: Any = load_model(folder, tokenizer).to(place, torch.bfloat16 if place.type == "cuda" else torch.float32)
    limit_threads(sum(weight.numel() for weight in model.parameters()), place)
    register(model.eval())
    on_gpu = place.type == "cuda"
    free = torch.cuda.mem_get_info(place)[0] // 2 if on_gpu else _CPU_BYTES
    room = free // token_bytes(model)
    rows = _GPU_ROWS if on_gpu else _CPU_ROWS
    vocabulary = read_vocabulary(tokenizer, model.config.vocab_size)
    return Gtm(model, tokenizer, place, vocabulary, rows, room * 3 // 4, min(room // 4, _MOST_KEPT))


def answer(
    gtm: Gtm,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    *,
    max_new_tokens: int = 1024,
    temperature: float = 0.0,
    schema: Sequence[Mapping[str, Any] | None] | None = None,
    seed: int = 0,
) -> list[str]:
    """The text of the assistant's next message of each conversation; see `complete`."""
    schemas = schema or [None] * len(conversations)
    asked = [
        Asked(messages, wanted, max_new_tokens, temperature, seed)
        for messages, wanted in zip(conversations, schemas, strict=True)
    ]
    return [made.text for made in complete(gtm, asked)]


def complete(gtm: Gtm, asked: Sequence[Asked]) -> list[Answer]:
    """The assistant's next message of each conversation, in their order.

    At temperature 0 the likeliest token is taken; above, sampling depends on seed and conversation alone, not on
    what is decoded beside it. A conversation with a schema gets JSON of that schema; where the schema is beyond
    llguidance, or that package is missing, the answer is free. Raises BackendError when a conversation leaves no
    room for an answer.
    """
    made: dict[int, Answer] = {}

    def give(key: int, answer: Answer | BackendError) -> None:
        if isinstance(answer, BackendError):
            raise answer
        made[key] = answer

    batches = [list(enumerate(asked))]
    serve(gtm, lambda: batches.pop() if batches else [], give)
    return [made[key] for key in range(len(asked))]


@torch.inference_mode()
def serve(
    gtm: Gtm,
    take: Callable[[], Sequence[tuple[Any, Asked]]],
    give: Callable[[Any, Answer | BackendError], None],
) -> None:
    """Decode what `take` gives, each with a key, until it gives nothing and nobody waits; `give` gets each answer.

    `take` is asked before every step, so that what comes in meanwhile joins at once.
    """
    end = gtm.tokenizer.convert_tokens_to_ids(TURN_END)
    slots = Slots(gtm.model, 1, 1)
    waiting: list[_Text] = []
    live: list[_Text] = []
    while True:
        if fresh := take():
            waiting = _line_up(gtm, fresh, give) + waiting
        if not (waiting or live):
            return
        scores = [_step(gtm, slots, live)] if live else []
        while waiting and _fits(gtm, live, waiting[-1]):
            scores.append(_join(gtm, slots, waiting, live))
        for text, token in zip(live, _choose(gtm, torch.cat(scores), live, end), strict=True):
            text.answer.append(token)
        for place in reversed(range(len(live))):
            text = live[place]
            if text.answer[-1] != end and text.length < text.most:
                continue
            give(text.key, _finish(gtm, text, end))
            if place < len(live) - 1:
                slots.copy(place, slots, len(live) - 1, live[-1].length)
                live[place] = live[-1]
            live.pop()


def _line_up(
    gtm: Gtm, fresh: Sequence[tuple[Any, Asked]], give: Callable[[Any, Answer | BackendError], None]
) -> list[_Text]:
    """Texts in such an order that from the end on, each begins most like the one before it, the longer one first."""
    context = gtm.model.config.max_position_embeddings
    prompts = prompt_ids(gtm.tokenizer, [asked.messages for _, asked in fresh])
    texts = []
    for (key, asked), prompt in sorted(zip(fresh, prompts, strict=True), key=lambda entry: entry[1]):
        if len(prompt) >= context:
            fault = f"a conversation of {len(prompt)} tokens leaves no room in a context of {context}"
            give(key, BackendError(fault, "show fewer tools or records, or begin a new session"))
            continue
        rng = random.Random(digest(asked.seed, prompt))
        most = min(context, len(prompt) + asked.max_new_tokens)
        texts.append(_Text(key, np.array(prompt), asked, rng, most))
    return texts


def _fits(gtm: Gtm, live: list[_Text], text: _Text) -> bool:
    longest = max([text.most, *(other.most for other in live)])
    return not live or (len(live) < gtm.rows and (len(live) + 1) * longest <= gtm.room)


def _join(gtm: Gtm, slots: Slots, waiting: list[_Text], live: list[_Text]) -> Tensor:
    """Move the last waiting text to the live ones, with those after it whose prompts it begins with; their scores.

    One pass reads them all: what no kept prompt has in common with the first.
    """
    first = waiting[-1].prompt
    prefix = max(gtm.kept, key=lambda one: _shared(one.ids, first), default=None)
    start = min(_shared(prefix.ids, first), len(first) - 1) if prefix else 0
    chain = [waiting.pop()]
    while gtm.keep and waiting and _fits(gtm, live + chain, waiting[-1]):
        length = len(waiting[-1].prompt)
        if not start < length <= len(first) or _shared(waiting[-1].prompt, first) < length:
            break
        chain.append(waiting.pop())

    own = Slots(gtm.model, 1, len(first))
    if prefix and start:
        own.copy(0, prefix.slots, 0, start)
    ids, places = _send(gtm, first[None, start:]), _send(gtm, np.arange(start, len(first))[None])
    states = read(gtm.model, own, ids, places, longest=len(first), from_start=not start)
    lasts = _send(gtm, [len(text.prompt) - 1 - start for text in chain])
    slots.reserve(len(live) + len(chain), len(first) + 1)
    for text in chain:
        text.matcher = match(gtm.grammar_tokens, text.asked.schema)
        slots.copy(len(live), own, 0, len(text.prompt))
        live.append(text)
    _keep(gtm, _Prefix(first, own))
    return _score(gtm, states[0, lasts])


def _shared(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """Tokens that two prompts have in common at their start."""
    shorter = min(len(one), len(other))
    differ = np.flatnonzero(one[:shorter] != other[:shorter])
    return int(differ[0]) if len(differ) else shorter


def _keep(gtm: Gtm, prefix: _Prefix) -> None:
    """Keep a prompt, in place of those that it begins with and of the oldest beyond the room for them."""
    longer = next((one for one in gtm.kept if _shared(one.ids, prefix.ids) == len(prefix.ids)), prefix)
    kept = [one for one in gtm.kept if _shared(one.ids, longer.ids) < len(one.ids)] + [longer]
    while kept and sum(len(one.ids) for one in kept) > gtm.keep:
        kept.pop(0)
    gtm.kept[:] = kept


def _step(gtm: Gtm, slots: Slots, live: list[_Text]) -> Tensor:
    """The scores after the newest token of each live text."""
    longest = max(text.length for text in live)
    slots.reserve(len(live), longest)
    newest = _send(gtm, [[text.answer[-1], text.length - 1] for text in live])
    states = read(gtm.model, slots, newest[:, :1], newest[:, 1:], longest=longest)
    return _score(gtm, states[:, 0])


def _score(gtm: Gtm, states: Tensor) -> Tensor:
    scores: Tensor = gtm.model.get_output_embeddings()(states).float()
    return scores


def _send(gtm: Gtm, values: Any) -> Tensor:
    """Numbers as a tensor on the device, which goes on with its work meanwhile."""
    return torch.as_tensor(values).to(gtm.device, non_blocking=True)


def _choose(gtm: Gtm, scores: Tensor, live: list[_Text], end: int) -> list[int]:
    """The next token of each text, within its grammar; tokens cross from the device once, all together.

    Sampling turns one number of a text's own generator into a token by the running sum of the probabilities.
    """
    if any(text.matcher is not None for text in live):
        # The device still computes the scores while the masks are made here.
        words = _send(gtm, allow([text.matcher for text in live], scores.shape[1], end))
        bits = (words[:, :, None] >> torch.arange(32, device=gtm.device, dtype=torch.int32)) & 1
        scores = scores.masked_fill(bits.flatten(1)[:, : scores.shape[1]] == 0, float("-inf"))
    chosen = scores.argmax(dim=1)
    if any(text.asked.temperature > 0 for text in live):
        heats = _send(gtm, [[float(text.asked.temperature)] for text in live])
        # 24 bits are exact in fp32 and stay below 1, so that no token of probability 0 is ever taken.
        draws = _send(gtm, [[text.rng.getrandbits(24) / 2**24] for text in live])
        sums = (scores / heats.where(heats > 0, 1.0)).softmax(dim=1).cumsum(dim=1)
        drawn = torch.searchsorted(sums, draws * sums[:, -1:], right=True)[:, 0]
        chosen = torch.where(heats[:, 0] > 0, drawn, chosen)
    tokens: list[int] = chosen.tolist()
    for text, token in zip(live, tokens, strict=True):
        if text.matcher is not None and token != end:
            text.matcher.consume_token(token)
    return tokens


def _finish(gtm: Gtm, text: _Text, end: int) -> Answer:
    is_cut = text.answer[-1] != end
    ids = text.answer if is_cut else text.answer[:-1]
    words = gtm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return Answer(words, len(text.prompt), len(text.answer), is_cut)
