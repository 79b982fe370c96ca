"""Messages to token ids and the mask of what is supervised: the one ChatML rendering that the GTM ever sees.

Training, evaluation and serving all come through here, and the chat template saved with a model renders the
same text. Marks that stand inside a message are spaced out ("<|im_end|>" becomes "<| im_end |>"), so that no
content can end its own turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from carg.errors import TrainError
from carg.records import digest

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
MARKS = (END_OF_TEXT, TURN_START, TURN_END)
ANSWER_HEADER = f"{TURN_START}assistant\n"

RENDERER = "chatml-1"
"""Changes whenever the ids of a conversation could change: part of the fingerprint of a token cache."""

_SPACED = {mark: mark.replace("<|", "<| ").replace("|>", " |>") for mark in MARKS}

_CONTENT = "message['content']" + "".join(f" | replace('{mark}', '{spaced}')" for mark, spaced in _SPACED.items())

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    f"{{{{- '<|im_start|>' + message['role'] + '\\n' + ({_CONTENT}) + '<|im_end|>\\n' -}}}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
"""Jinja for servers; renders what `text_of` renders."""

Tokenizer = Any
"""A fast tokenizer of transformers."""


class Tokens(NamedTuple):
    """One rendered conversation: ids (uint32) and the mask (bool) of the ids that are supervised, equal in length."""

    ids: NDArray[np.uint32]
    mask: NDArray[np.bool_]


def text_of(messages: Sequence[Mapping[str, Any]], *, ask: bool = False) -> str:
    """The ChatML text of a conversation; with `ask`, followed by the header of the answer to come."""
    turns = (f"{TURN_START}{turn['role']}\n{space_marks(turn['content'])}{TURN_END}\n" for turn in messages)
    return "".join(turns) + (ANSWER_HEADER if ask else "")


def space_marks(text: str) -> str:
    """The text with every ChatML mark in it made harmless."""
    if "<|" in text:
        for mark, spaced in _SPACED.items():
            text = text.replace(mark, spaced)
    return text


def render(tokenizer: Tokenizer, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[Tokens]:
    """Ids and mask of each conversation: 1 exactly on text and end mark of assistant turns whose `train` is true.

    Runs on all cores (the tokenizer releases the interpreter). The newline after the end mark is outside the
    mask: a model stops at the mark.
    """
    start, end = (tokenizer.convert_tokens_to_ids(mark) for mark in (TURN_START, TURN_END))
    header = len(_encode(tokenizer, [ANSWER_HEADER])[0])
    rendered = _encode(tokenizer, [text_of(messages) for messages in conversations])
    return [
        Tokens(ids, _mask_of(ids, messages, start=start, end=end, header=header))
        for ids, messages in zip(rendered, conversations, strict=True)
    ]


def _mask_of(
    ids: NDArray[np.uint32], messages: Sequence[Mapping[str, Any]], *, start: int, end: int, header: int
) -> NDArray[np.bool_]:
    starts, ends = np.flatnonzero(ids == start), np.flatnonzero(ids == end)
    if not len(starts) == len(ends) == len(messages):
        raise TrainError(
            f"{len(messages)} messages gave {len(starts)} start and {len(ends)} end marks",
            "use a tokenizer that keeps ChatML marks apart, or --init with one trained on the shards",
        )
    mask = np.zeros(len(ids), dtype=bool)
    for first, last, turn in zip(starts, ends, messages, strict=True):
        if turn["role"] == "assistant" and turn["train"]:
            mask[first + header : last + 1] = True
    return mask


def prompt_ids(tokenizer: Tokenizer, conversations: Sequence[Sequence[Mapping[str, Any]]]) -> list[list[int]]:
    """Ids of each conversation up to and with the header of the answer to come."""
    rendered = _encode(tokenizer, [text_of(messages, ask=True) for messages in conversations])
    return [ids.tolist() for ids in rendered]


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[NDArray[np.uint32]]:
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A Qwen2 tokenizer whose merges are learnt from the texts; small corpora may give fewer than `vocab_size`.

    Normalizer, splitter and decoder are Qwen2's own: AutoTokenizer puts those in for every folder with a Qwen2
    config, whatever the tokenizer file says.
    """
    from tokenizers import pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    backend = Qwen2Tokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((space_marks(text) for text in texts), trainer=trainer)
    learnt = _model_of(backend)
    vocab = {token: number for token, number in learnt["vocab"].items() if token not in MARKS}
    vocab = {END_OF_TEXT: 0, **_renumber(vocab)}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab,
        merges=[tuple(pair) for pair in learnt["merges"]],  # type: ignore[misc]  # its stub wants strings
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[TURN_START],
        clean_up_tokenization_spaces=False,
    )
    return _checked(tokenizer, "the tokenizer trained on the shards")


def _model_of(backend: Any) -> dict[str, Any]:
    import orjson

    model: dict[str, Any] = orjson.loads(backend.to_str())["model"]
    return model


def _renumber(vocab: Mapping[str, int]) -> dict[str, int]:
    ordered = sorted(vocab, key=lambda token: vocab[token])
    return {token: number for number, token in enumerate(ordered, start=1)}


def load_tokenizer(source: Path | str) -> Tokenizer:
    """The tokenizer of a model folder or hub name, ending turns by the ChatML mark and with our chat template.

    Raises TrainError when there is none, when a ChatML mark is not one token of it, or when it renders a probe
    conversation otherwise than this module needs.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as fault:
        raise TrainError(
            f"no tokenizer at {source}: {str(fault).splitlines()[0]}",
            "name a folder with tokenizer.json, or a hub name while online",
        ) from fault
    return _checked(tokenizer, str(source))


def _checked(tokenizer: Tokenizer, source: str) -> Tokenizer:
    for mark in (TURN_START, TURN_END):
        if len(_encode(tokenizer, [mark])[0]) != 1:
            raise TrainError(
                f"{source}: the tokenizer splits {mark} into pieces",
                "ChatML marks must be single tokens: take a Qwen model as --base, or --init tiny|small|1.5b",
            )
    tokenizer.eos_token = TURN_END
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        # A pad that equals the end mark makes foreign trainers mask every end mark away.
        tokenizer.pad_token = END_OF_TEXT if len(_encode(tokenizer, [END_OF_TEXT])[0]) == 1 else TURN_START
    tokenizer.chat_template = CHAT_TEMPLATE
    answer = '{"name": "Zoë", "n": [1, null]}'
    probe = [
        {"role": "user", "content": "a()", "train": False},
        {"role": "assistant", "content": answer, "train": True},
    ]
    ids, mask = render(tokenizer, [probe])[0]
    supervised = tokenizer.decode(ids[mask], clean_up_tokenization_spaces=False)
    if supervised != answer + TURN_END:
        raise TrainError(
            f"{source}: text does not come back from the tokenizer: {answer + TURN_END!r} became {supervised!r}",
            "take a byte-level tokenizer, such as Qwen's",
        )
    return tokenizer


def digest_tokenizer(tokenizer: Tokenizer) -> str:
    """A digest of all that decides ids: vocabulary, merges, normalizer, splitter."""
    return digest(RENDERER, tokenizer.backend_tokenizer.to_str())
