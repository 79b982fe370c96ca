"""Batched decoding equals decoding one by one, stops where it should, and keeps to a schema."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from gtm_shards import converse, save_base

from carg.errors import BackendError, TrainError
from carg.gtm import decode, tokens

ROWS = [converse(random.Random(seed), exchanges=seed % 3 + 1, records=3) for seed in range(7)]
ASKED = [row[:-1] for row in ROWS]
SCHEMA = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "maxLength": 5},
        "stock": {"type": "integer", "minimum": 0, "maximum": 40},
        "tags": {"type": "array", "items": {"enum": ["new", "old"]}, "maxItems": 2},
    },
    "required": ["id", "stock"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with fresh weights, made lively enough that its answers differ."""
    return save_base(tmp_path_factory.mktemp("gtm"), context=600, loudness=20.0)


@pytest.fixture(scope="module")
def gtm(folder: Path) -> decode.Gtm:
    return decode.load_gtm(folder, device="cpu")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batch_answers_as_one_by_one(gtm: decode.Gtm, temperature: float) -> None:
    """Padding, neighbours and requests that leave the batch change no answer, greedy or sampled."""
    together = decode.answer(gtm, ASKED, max_new_tokens=12, temperature=temperature)
    apart = [decode.answer(gtm, [asked], max_new_tokens=12, temperature=temperature)[0] for asked in ASKED]

    assert together == apart
    assert len(set(together)) > 1


def test_greedy_equals_transformers_generate(gtm: decode.Gtm) -> None:
    """The tokens are those of plain greedy generation without any of our cache handling."""
    [ids] = tokens.prompt_ids(gtm.tokenizer, ASKED[:1])
    whole = list(ids)
    for _ in range(8):
        logits = gtm.model(input_ids=torch.tensor([whole])).logits[0, -1]
        whole.append(int(logits.argmax()))

    [got] = decode.answer(gtm, ASKED[:1], max_new_tokens=8)

    assert got == gtm.tokenizer.decode(whole[len(ids) :])


def test_sampling_depends_on_the_seed(gtm: decode.Gtm) -> None:
    """The same seed gives the same answers, another seed others."""
    first, again, other = (
        decode.answer(gtm, ASKED[:2], max_new_tokens=8, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_answer_ends_at_the_end_mark(gtm: decode.Gtm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end mark ends an answer and is not part of it, and requests end each in its own time."""
    words = [gtm.tokenizer.encode(text) for text in ("a", "abc", '{"id": 1}')]
    end = gtm.tokenizer.convert_tokens_to_ids(tokens.TURN_END)
    script = {place: [*word, end] for place, word in enumerate(words)}

    def choose(logits: Any, live: Any, done: Any, end: int, temperature: float) -> list[int]:
        return [script[one.place].pop(0) if not over else end for one, over in zip(live, done, strict=True)]

    monkeypatch.setattr(decode, "_choose", choose)

    assert decode.answer(gtm, ASKED[:3]) == ["a", "abc", '{"id": 1}']


def test_schema_holds_even_for_a_model_that_knows_nothing(gtm: decode.Gtm) -> None:
    """Under a bounded schema every answer validates; a request without one beside it stays free."""
    schemas = [SCHEMA] * 5 + [None] * 2

    answers = decode.answer(gtm, ASKED, max_new_tokens=200, temperature=1.0, schema=schemas)

    for text in answers[:5]:
        jsonschema.validate(json.loads(text), SCHEMA)
    assert answers[5:] == decode.answer(gtm, ASKED[5:], max_new_tokens=200, temperature=1.0)


def test_schema_beyond_the_grammar_leaves_the_answer_free(gtm: decode.Gtm) -> None:
    """A schema that llguidance refuses constrains nothing."""
    odd = {"type": "object", "properties": 3}

    assert decode.answer(gtm, ASKED[:1], max_new_tokens=5, schema=[odd]) == decode.answer(
        gtm, ASKED[:1], max_new_tokens=5
    )


def test_conversation_beyond_the_context_is_refused(gtm: decode.Gtm) -> None:
    """A conversation that fills the context leaves no room for an answer, and the error says so."""
    long = [{"role": "user", "content": "get_book " * 600}]

    with pytest.raises(BackendError, match="context of 600"):
        decode.answer(gtm, [long])


def test_answer_stops_at_the_context(gtm: decode.Gtm) -> None:
    """An answer never runs past the context."""
    word = gtm.tokenizer.encode(" get_book")
    talk = [{"role": "user", "content": " get_book" * (570 // len(word))}]
    [ids] = tokens.prompt_ids(gtm.tokenizer, [talk])

    [text] = decode.answer(gtm, [talk], max_new_tokens=10_000, schema=[{"type": "array", "items": {"type": "integer"}}])

    assert len(gtm.tokenizer.encode(text)) <= 600 - len(ids)


def test_folder_without_model_is_refused(tmp_path: Path) -> None:
    """An empty folder is a TrainError."""
    with pytest.raises(TrainError, match="no tokenizer"):
        decode.load_gtm(tmp_path)
