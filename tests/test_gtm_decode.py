"""Batched decoding equals decoding one by one, stops where it should, and keeps to a schema."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from gtm_shards import converse, save_base

from carg.errors import BackendError, TrainError
from carg.gtm import decode, tokens
from carg.gtm import slots as slots_module
from carg.gtm.model import load_model

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
@pytest.mark.parametrize("rows", [1, 3, 32])
@pytest.mark.parametrize("keep", [0, 300, 100_000])
def test_batch_answers_as_one_by_one(gtm: decode.Gtm, temperature: float, rows: int, keep: int) -> None:
    """Neighbours, texts that join and leave, and prompts read before change no answer, greedy or sampled."""
    plain = replace(gtm, rows=1, keep=0, kept=[])
    apart = [decode.answer(plain, [asked], max_new_tokens=12, temperature=temperature)[0] for asked in ASKED]

    set_up = replace(gtm, rows=rows, keep=keep, kept=[])
    twice = [decode.answer(set_up, ASKED, max_new_tokens=12, temperature=temperature) for _ in range(2)]

    assert twice == [apart, apart]
    assert len(set(apart)) > 1


def test_no_token_that_prompts_share_is_read_twice(gtm: decode.Gtm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of one session are read in one pass; another session with that system text adds its own end alone."""
    n_read: list[int] = []

    def read(model: Any, slots: Any, ids: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        n_read.append(ids.numel())
        return slots_module.read(model, slots, ids, *rest, **options)

    monkeypatch.setattr(decode, "read", read)
    session = ROWS[2]
    items = [session[:2], session[:4], session[:6]]
    other = [session[0], {"role": "user", "content": "another call"}]
    sizes = [len(ids) for ids in tokens.prompt_ids(gtm.tokenizer, [*items, other])]
    system = len(gtm.tokenizer.encode(tokens.text_of(session[:1])))
    fresh = replace(gtm, kept=[])

    made = decode.answer(fresh, items, max_new_tokens=1)
    assert n_read == [sizes[2]]
    decode.answer(fresh, [other], max_new_tokens=1)
    assert sizes[3] - system - 5 <= n_read[1] <= sizes[3] - system
    assert decode.answer(fresh, items, max_new_tokens=1) == made
    assert sum(n_read[2:]) <= 3


def test_prefix_cache_keeps_within_its_room(gtm: decode.Gtm) -> None:
    """The oldest prompts go; one that a newer prompt begins with takes no room of its own."""
    small = replace(gtm, kept=[], keep=1000)

    decode.answer(small, ASKED, max_new_tokens=1)
    assert 0 < sum(len(one.ids) for one in small.kept) <= 1000
    decode.answer(small, [ROWS[2][:2], ROWS[2][:4], ROWS[2][:6]], max_new_tokens=1)
    [longest] = tokens.prompt_ids(gtm.tokenizer, [ROWS[2][:6]])
    assert [list(one.ids) for one in small.kept][-1] == longest
    assert sum(len(one.ids) for one in small.kept) <= 1000


def test_batches_keep_within_rows_and_room(gtm: decode.Gtm, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step decodes more texts than allowed, nor more tokens than there is room for; one text always goes."""
    seen: list[tuple[int, int]] = []

    def choose(gtm: Any, scores: Any, live: Any, end: int) -> list[int]:
        seen.append((len(live), len(live) * max(text.most for text in live)))
        return [1] * len(live)

    monkeypatch.setattr(decode, "_choose", choose)
    decode.answer(replace(gtm, rows=3, kept=[]), ASKED, max_new_tokens=2)
    assert max(n for n, _ in seen) == 3
    seen.clear()
    decode.answer(replace(gtm, room=700, kept=[]), ASKED, max_new_tokens=2)
    assert max(n for n, _ in seen) > 1
    assert max(tokens for n, tokens in seen if n > 1) <= 700
    seen.clear()
    decode.answer(replace(gtm, room=1, kept=[]), ASKED, max_new_tokens=2)
    assert {n for n, _ in seen} == {1}


def test_who_waits_joins_while_others_are_decoded(gtm: decode.Gtm) -> None:
    """What comes in after some steps is answered as if alone, and before a longer answer that began earlier ends."""
    asked = [decode.Asked(ASKED[2], max_new_tokens=30), decode.Asked(ASKED[5], max_new_tokens=3)]
    alone = [decode.complete(gtm, [one])[0] for one in asked]
    calls = iter([[(0, asked[0])], [], [], [], [(1, asked[1])]])
    order: list[Any] = []

    decode.serve(gtm, lambda: next(calls, []), lambda key, made: order.append((key, made)))

    assert order == [(1, alone[1]), (0, alone[0])]


def test_one_conversation_too_long_stops_no_other(gtm: decode.Gtm) -> None:
    """Its asker is told; the others get their answers."""
    long = decode.Asked([{"role": "user", "content": "get_book " * 600}])
    batches = [[("long", long), ("short", decode.Asked(ASKED[0], max_new_tokens=2))]]
    got: dict[str, Any] = {}

    decode.serve(gtm, lambda: batches.pop() if batches else [], got.__setitem__)

    assert isinstance(got["long"], BackendError)
    assert isinstance(got["short"], decode.Answer)


def test_greedy_equals_the_plain_model(gtm: decode.Gtm, folder: Path) -> None:
    """The tokens are those of the model read anew for each, without any of our handling of keys and values."""
    plain: Any = load_model(folder, gtm.tokenizer).eval()
    [ids] = tokens.prompt_ids(gtm.tokenizer, ASKED[:1])
    whole = list(ids)
    for _ in range(8):
        logits = plain(input_ids=torch.tensor([whole])).logits[0, -1]
        whole.append(int(logits.argmax()))

    [got] = decode.answer(gtm, ASKED[:1], max_new_tokens=8)

    assert got == gtm.tokenizer.decode(whole[len(ids) :])


def test_sampling_follows_the_probabilities(gtm: decode.Gtm) -> None:
    """Over many seeds each token comes as often as its probability says, and never at probability 0."""
    scores = torch.tensor([[0.0, 1.0, float("-inf"), 2.0]])
    wanted = (scores[0] / 2).softmax(dim=0)
    drawn = [0] * 4
    for seed in range(2000):
        text = decode._Text(0, np.array([0]), decode.Asked([], temperature=2.0), random.Random(seed), 9)
        drawn[decode._choose(gtm, scores, [text], 1)[0]] += 1

    assert drawn[2] == 0
    for count, share in zip(drawn, wanted.tolist(), strict=True):
        assert abs(count / 2000 - share) < 0.04


@pytest.mark.parametrize("bits", [0, 2**24 - 1])
def test_sampling_takes_no_token_of_probability_zero(gtm: decode.Gtm, bits: int) -> None:
    """Not even where the drawn number lies at one of its ends."""
    text = decode._Text(0, np.array([0]), decode.Asked([], temperature=1.0), random.Random(0), 9)
    text.rng = SimpleNamespace(getrandbits=lambda _: bits)  # type: ignore[assignment]
    scores = torch.tensor([[float("-inf"), 0.3, 0.1, float("-inf")]])

    assert decode._choose(gtm, scores, [text], 0) == [1 if bits == 0 else 2]


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

    def choose(gtm: Any, scores: Any, live: Any, end: int) -> list[int]:
        return [script[text.key].pop(0) for text in live]

    monkeypatch.setattr(decode, "_choose", choose)

    made = decode.complete(gtm, [decode.Asked(asked) for asked in ASKED[:3]])

    sizes = [len(ids) for ids in tokens.prompt_ids(gtm.tokenizer, ASKED[:3])]
    assert made == [
        decode.Answer(text, size, len(word) + 1, False)
        for text, size, word in zip(("a", "abc", '{"id": 1}'), sizes, words, strict=True)
    ]


def test_answer_at_its_most_tokens_is_cut(gtm: decode.Gtm, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and counts the tokens that it has; one that ends with the last token allowed is whole."""
    word = gtm.tokenizer.encode("a")[0]
    end = gtm.tokenizer.convert_tokens_to_ids(tokens.TURN_END)
    script = {0: [word] * 3, 1: [word, word, end]}
    monkeypatch.setattr(decode, "_choose", lambda gtm, scores, live, end: [script[one.key].pop(0) for one in live])

    cut, whole = decode.complete(gtm, [decode.Asked(asked, max_new_tokens=3) for asked in ASKED[:2]])

    assert (cut.text, cut.n_tokens, cut.is_cut) == ("aaa", 3, True)
    assert (whole.text, whole.n_tokens, whole.is_cut) == ("aa", 3, False)


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
