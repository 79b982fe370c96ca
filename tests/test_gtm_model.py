"""Packed rows must score as their documents do alone, and the chunked loss as the plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from carg.errors import TrainError
from carg.gtm import attention, model, tokens
from carg.gtm.pack import Packed, blank_row


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokens.train_tokenizer(["a few words, and some more"], 300)


@pytest.fixture(scope="module")
def learner(tokenizer: Any) -> model.Learner:
    made = model.Learner(model.make_model("tiny", tokenizer, context=256, seed=3))
    with torch.no_grad():  # a fresh head is so flat that a leak would hide in rounding
        for weight in made.parameters():
            weight.mul_(3.0 if weight.dim() > 1 else 1.0)
    return made


def row_of(documents: list[np.ndarray]) -> Packed:
    """A row in which every second position is supervised."""
    lengths = [len(document) for document in documents]
    positions = np.concatenate([np.arange(length) for length in lengths])
    select = np.flatnonzero((positions % 2 == 0) & (np.append(positions[1:], 0) > 0))
    ids = np.concatenate(documents)
    return Packed(ids, positions, lengths, select, ids[select + 1], np.ones(len(select), dtype=np.float32), len(ids))


def draw(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(3, 250, length) for length in lengths]


def test_packed_documents_score_as_they_do_alone(learner: model.Learner) -> None:
    """Hidden states and loss of a packed row equal those of plain sdpa on each document alone, to 1e-5."""
    documents = draw(17, 1, 40, 8)

    packed = learner.hidden(row_of(documents), longest=64)
    score = learner(row_of(documents), longest=64)

    learner.model.set_attn_implementation("sdpa")
    alone = [
        learner.model(input_ids=torch.from_numpy(ids)[None], labels=torch.from_numpy(labelled(ids))[None])
        for ids in documents
    ]
    learner.model.set_attn_implementation(attention.NAME)
    logits = torch.cat([part.logits[0] for part in alone])
    assert torch.allclose(logits, learner.model.lm_head(packed)[0], atol=1e-5)
    losses = [part.loss * (len(ids) // 2) for part, ids in zip(alone, documents, strict=True) if len(ids) > 1]
    assert score.loss.item() == pytest.approx(sum(losses).item(), rel=1e-5)


def labelled(ids: np.ndarray) -> np.ndarray:
    """Labels as `row_of` supervises: every odd position."""
    return np.where(np.arange(len(ids)) % 2 == 1, ids, -100)


def test_no_gradient_crosses_a_seam(learner: model.Learner) -> None:
    """What the second document says has a gradient of exactly zero at the first one's embeddings."""
    seen: list[Tensor] = []
    watch = learner.model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: seen.append(out))

    hidden = learner.hidden(row_of(draw(20, 30)), longest=64)
    watch.remove()
    [gradient] = torch.autograd.grad(hidden[0, 20:].square().sum(), seen)

    assert float(gradient[0, :20].abs().max()) == 0.0
    assert float(gradient[0, 20:].abs().max()) > 0.0


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunked_loss_equals_the_plain_one(chunk: int) -> None:
    """Weighted loss, loss and right guesses where supervised, and both gradients are those of cross_entropy."""
    torch.manual_seed(0)
    hidden, head = (torch.randn(size, 16, requires_grad=True) for size in (50, 90))
    targets = torch.randint(0, 90, (50,))

    weights = torch.tensor([1.0, 0.25]).repeat(25)

    plain = torch.nn.functional.cross_entropy(hidden @ head.T, targets, reduction="none")
    expected = torch.autograd.grad((plain * weights).sum() / 3, (hidden, head))
    objective, loss, n_right = model.score_positions(hidden, head, targets, weights, chunk=chunk)
    gradients = torch.autograd.grad(objective / 3, (hidden, head))

    assert objective.item() == pytest.approx((plain * weights).sum().item(), rel=1e-5)
    assert loss.item() == pytest.approx(plain[::2].sum().item(), rel=1e-5)
    assert int(n_right) == int(((hidden @ head.T).argmax(1) == targets)[::2].sum())
    assert all(torch.allclose(*pair, atol=1e-5) for pair in zip(expected, gradients, strict=True))


def test_row_without_supervision_gives_zero_and_a_backward(learner: model.Learner) -> None:
    """An unsupervised row has loss 0, not NaN, and a backward pass that moves nothing."""
    score = learner(blank_row(9), longest=9)
    score.objective.backward()

    gradients = [weight.grad for weight in learner.parameters() if weight.grad is not None]
    assert score.loss.item() == 0.0
    assert gradients
    assert all(float(gradient.abs().max()) == 0.0 for gradient in gradients)
    learner.zero_grad()


def test_bf16_scores_nearly_as_fp32(learner: model.Learner) -> None:
    """Under autocast the loss stays within one percent."""
    row = row_of(draw(40, 30))

    exact = learner(row, longest=64).loss.item()
    with torch.autocast("cpu", torch.bfloat16):
        rough = learner(row, longest=64).loss.item()

    assert rough == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("names", [("is_causal",), ("window_size", "scale"), ("window_size", "scale", "enable_gqa")])
def test_varlen_kernel_of_any_version_is_called_rightly(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever arguments torch's CUDA kernel takes, it is asked for causal grouped attention at our scale."""
    from torch.nn.attention import varlen

    def kernel(query, key, value, ends, ends_k, longest, longest_k, **options):  # type: ignore[no-untyped-def]
        assert options.get("is_causal") or options.get("window_size") == (-1, 0)
        spans = zip(ends.tolist(), ends.tolist()[1:], strict=False)
        return torch.cat([alone(query[a:b], key[a:b], value[a:b], options) for a, b in spans if b > a])

    def alone(query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]) -> Tensor:
        rows = (part.transpose(0, 1) for part in (query, key, value))
        gqa = options.get("enable_gqa", False)
        return torch.nn.functional.scaled_dot_product_attention(
            *rows, is_causal=True, scale=options.get("scale"), enable_gqa=gqa
        ).transpose(0, 1)

    import inspect

    parameters = [inspect.Parameter("query", inspect.Parameter.POSITIONAL_ONLY)]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
    kernel.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    monkeypatch.setattr(varlen, "varlen_attn", kernel)
    query, key, value = torch.randn(12, 4, 8), torch.randn(12, 2, 8), torch.randn(12, 2, 8)
    seams = attention.find_seams([5, 7], longest=8, n_slots=4)

    rows = [part.transpose(0, 1)[None] for part in (query, key, value)]
    found = attention.find_kernel()
    got, _ = attention.attend(torch.nn.Module(), *rows, None, scaling=0.25, seams=seams, kernel=found)

    plain = attention.find_seams([5, 7], longest=8)
    want, _ = attention.attend(torch.nn.Module(), *rows, None, scaling=0.25, seams=plain, kernel=found)
    assert (seams.lengths, seams.ends.tolist()) == ([], [0, 5, 12, 12, 12])
    assert torch.allclose(got, want, atol=1e-6)


def whole_row_kernel(query: Tensor, key: Tensor, value: Tensor, seams: attention.Seams, scaling: float) -> Tensor:
    """What the CUDA kernel computes, by a mask; it takes half precision alone, as that does."""
    assert query.dtype == key.dtype == value.dtype == torch.bfloat16
    places = torch.arange(len(query))
    document = torch.searchsorted(seams.ends, places, right=True)
    seen = (document[:, None] == document) & (places[:, None] >= places)
    rows = (part.transpose(0, 1)[None] for part in (query, key, value))
    found = torch.nn.functional.scaled_dot_product_attention(*rows, attn_mask=seen, scale=scaling, enable_gqa=True)
    return found[0].transpose(0, 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo looks at it
def test_layers_are_compiled_once_for_all_rows(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: rows of one width but other seams make no layer compile again, and the loss is that of the plain way.

    Layers get bf16 under autocast, where the rotation leaves query and key in fp32.
    """
    from torch._dynamo.testing import CompileCounter

    monkeypatch.setattr(attention, "find_kernel", lambda: whole_row_kernel)
    torch._dynamo.reset()
    made = model.Learner(model.make_model("tiny", tokenizer, context=64, seed=3))
    counter = CompileCounter()
    rows = [row_of(draw(*lengths)) for lengths in ((20, 30, 14), (64,), (10, 10, 10, 10, 10, 14), (1, 63))]
    counts, losses = [], []
    with torch.autocast("cpu", torch.bfloat16):
        plain = [made(row, longest=64).loss.item() for row in rows]
        for layer in made.model.get_decoder().layers:
            layer.compile(dynamic=False, backend=counter)
        for row in rows:
            score = made(row, longest=64, n_slots=8)
            score.objective.backward()
            counts.append(counter.frame_count)
            losses.append(score.loss.item())

    assert counts[0] > 0
    assert set(counts) == {counts[0]}
    assert losses == pytest.approx(plain, rel=0.01)
    torch._dynamo.reset()
    monkeypatch.undo()
    attention.register()


@pytest.mark.parametrize(
    ("preset", "low", "high"), [("tiny", 0.9e6, 1.1e6), ("small", 50e6, 70e6), ("1.5b", 1.5e9, 1.6e9)]
)
def test_presets_have_the_promised_size(preset: str, low: float, high: float) -> None:
    """tiny is about 1 M parameters, small about 60 M, 1.5b has the shape of Qwen2.5-1.5B."""
    vocabulary = {"tiny": 2048, "small": 16384, "1.5b": 151_936}[preset]

    class Sized:
        def __len__(self) -> int:
            return vocabulary

        def convert_tokens_to_ids(self, token: str) -> int:
            return 1

    with torch.device("meta"):
        made = model.make_model(preset, Sized(), context=2048, seed=0)

    assert low < sum(weight.numel() for weight in made.parameters()) < high


def test_missing_base_is_named(tmp_path: Any, tokenizer: Any) -> None:
    """A folder without a model is a TrainError that names it."""
    with pytest.raises(TrainError, match=str(tmp_path)):
        model.load_model(tmp_path, tokenizer)
