"""Models as libraries build them: adapters of PEFT, two heads, padding that is mixed in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import pytest
import torch
from active_learn import ActiveSampler
from active_learn.errors import ModelError
from active_learn.models import adapt

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["card", "lost", "my", "is", "rate"]
SIZES = {
    "vocab_size": 2 + len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "num_labels": 3,
    "initializer_range": 0.5,
}
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=k)) for k in RNG.integers(4, 9, 12)]


def word_tokenizer() -> Any:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )


def build(family: str, **changed: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES | changed)
    return getattr(transformers, f"{family}ForSequenceClassification")(config).eval()


def one_by_one(model: Any) -> torch.Tensor:
    encodings = [word_tokenizer()(text, return_tensors="pt") for text in TEXTS]
    with torch.no_grad():
        rows = [
            model(input_ids=one["input_ids"], attention_mask=one["attention_mask"]).logits
            for one in encodings
        ]
    return torch.cat(rows)


# PEFT


def lora(model: Any, *targets: str, **options: Any) -> Any:
    """Return a model with adapters that change its results."""
    config = peft.LoraConfig(r=2, target_modules=[*targets], init_lora_weights=False, **options)
    return peft.get_peft_model(model, config).eval()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda: lora(build("Bert"), "query"),
        lambda: lora(build("Bert"), "query", modules_to_save=["classifier"]),
        lambda: lora(build("Bert"), "query", task_type="SEQ_CLS"),
        lambda: lora(build("Llama", num_key_value_heads=2), "q_proj"),
    ],
    ids=["no task", "a head of its own", "task", "decoder without a task"],
)
def test_adapters_of_peft(wrap: Callable[[], Any]) -> None:
    model = wrap()
    logits = adapt((model, word_tokenizer()))(TEXTS).logits
    torch.testing.assert_close(logits, one_by_one(model), rtol=1e-4, atol=1e-5)


def test_adapters_on_the_head_itself_are_to_be_merged() -> None:
    model = lora(build("Bert"), "query", "classifier")
    with pytest.raises(ModelError, match=r"merge the adapters first \(merge_and_unload\)"):
        adapt((model, word_tokenizer()))(TEXTS)
    expected = one_by_one(model)
    logits = adapt((model.merge_and_unload(), word_tokenizer()))(TEXTS).logits
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


# Two heads
# timm itself is not installed: it needs torchvision, of PyTorch's own index on CPUs, and where that
# is, transformers uses other image processors than those that the tests are to run.


class NormLinear(torch.nn.Module):
    """The head of LeViT and RepViT in timm."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.linear = torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.bn(x))


class Distilled(torch.nn.Module):
    """Ends as LeViT, RepViT, EfficientFormer (one input) and DeiT (two tokens) do in timm."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens
        self.stem = torch.nn.Linear(8, 32)
        self.head, self.head_dist = NormLinear(), NormLinear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.tanh(self.stem(x))
        first, second = both.chunk(2, dim=1) if self.tokens else [both[:, :16]] * 2
        return (self.head(first) + self.head_dist(second)) / 2


@pytest.mark.parametrize("tokens", [False, True])
def test_distilled_models_of_timm(tokens: bool) -> None:
    torch.manual_seed(0)
    model, x = Distilled(tokens).eval(), torch.randn(20, 8)
    adapter = adapt(model)
    output = adapter(x)
    torch.testing.assert_close(output.logits, model(x).detach())
    rebuilt = output.embedding @ adapter.weight.T + adapter.bias
    torch.testing.assert_close(rebuilt, output.logits)
    assert output.embedding.shape == (20, 32)
    assert len(ActiveSampler("classification", model, 5).select(x)) == 5


def test_levit_with_a_teacher() -> None:
    torch.manual_seed(0)
    config = transformers.LevitConfig(
        image_size=64, hidden_sizes=[16, 24, 32], num_attention_heads=[1, 2, 2], depths=[1, 1, 1],
        key_dim=[4, 4, 4], mlp_ratio=[1, 1, 1], attention_ratio=[1, 1, 1], num_labels=3,
        down_ops=[["Subsample", 4, 4, 1, 1, 2], ["Subsample", 4, 6, 1, 1, 2], [""]],
    )  # fmt: skip
    model = transformers.LevitForImageClassificationWithTeacher(config).eval()
    images = torch.randn(6, 3, 64, 64)
    output = adapt(model)(images)
    torch.testing.assert_close(output.logits, model(images).logits.detach())
    assert output.embedding.shape == (6, 64)


# Padding


@pytest.mark.filterwarnings("ignore:.*mixes padding in")
@pytest.mark.parametrize(
    ("family", "sizes"),
    [("Yoso", {}), ("Nystromformer", {"num_landmarks": 4, "segment_means_seq_len": 4})],
)
def test_padding_that_is_mixed_in(family: str, sizes: dict[str, int]) -> None:
    model = build(family, **sizes)
    expected = one_by_one(model)
    for batch_size in (1, 5, 64):
        logits = adapt((model, word_tokenizer()), batch_size=batch_size)(TEXTS).logits
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["ModernBert", "Gemma2"])
def test_padding_that_is_masked(family: str) -> None:
    model = build(family, **{"num_key_value_heads": 2, "head_dim": 8} if "G" in family else {})
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        logits = adapt((model, word_tokenizer()))(TEXTS).logits
    torch.testing.assert_close(logits, one_by_one(model), rtol=1e-4, atol=1e-5)


def test_a_model_that_draws_random_numbers_is_told() -> None:
    """The hashes of Reformer are drawn at each run, unless its config has a seed."""
    torch.manual_seed(0)
    config = transformers.ReformerConfig(
        vocab_size=SIZES["vocab_size"], hidden_size=16, num_attention_heads=2,
        attention_head_size=8, feed_forward_size=24, attn_layers=["lsh", "lsh"], num_buckets=2,
        lsh_attn_chunk_length=4, axial_pos_embds=False, max_position_embeddings=64,
        pad_token_id=0, num_labels=3, is_decoder=False,
    )  # fmt: skip
    model = transformers.ReformerForSequenceClassification(config).eval()
    texts = [" ".join(TEXTS[:4]), " ".join(TEXTS[4:7])]
    with pytest.warns(UserWarning, match="Reformer.* gives other results each time it runs"):
        adapt((model, word_tokenizer()))(texts)
