"""Particulars of Hugging Face models: pairs, words, ready-tokenized samples, padding, limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler
from active_learn.errors import DataError, ModelError
from active_learn.models import adapt

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["card", "lost", "my", "is", "rate"]
VOCABULARY = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS]
TEXTS = ["card lost", "my card is lost", "rate", "is my rate my card rate"]


def word_tokenizer(special_tokens=True, **options):
    model = tokenizers.models.WordLevel(
        {word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if special_tokens:
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{"pad_token": "[PAD]", **options},
    )


def bert(**options):
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        pad_token_id=0,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        **{"max_position_embeddings": 32, "num_labels": 3, **options},
    )
    return transformers.BertForSequenceClassification(config).eval()


def gpt2(**options):
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=len(VOCABULARY), n_embd=16, n_layer=1, n_head=2, n_positions=32, num_labels=3,
        **{"bos_token_id": 1, "eos_token_id": 2, **options},
    )  # fmt: skip
    return transformers.GPT2ForSequenceClassification(config).eval()


def one_by_one(model, encodings):
    with torch.no_grad():
        return torch.cat([model(**encoding).logits for encoding in encodings])


def logits_of(model, samples):
    return adapt(model)(samples).logits


def test_pairs_use_the_second_segment():
    model, tokenizer = bert(), word_tokenizer()
    pairs = [("card lost", "rate"), ("my", "card is lost my card"), ("is", "rate rate")]
    encodings = [dict(tokenizer(a, b, return_tensors="pt")) for a, b in pairs]
    expected = one_by_one(model, encodings)
    assert any(encoding["token_type_ids"].any() for encoding in encodings)
    torch.testing.assert_close(logits_of((model, tokenizer), pairs), expected)
    columns = tuple(list(column) for column in zip(*pairs, strict=True))
    torch.testing.assert_close(logits_of((model, tokenizer), columns), expected)


def test_pairs_keep_their_second_text_on_a_pipe():
    model, segments = bert(), []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: segments.append(kwargs["token_type_ids"]), with_kwargs=True
    )
    pairs = [("card lost", word) for word in WORDS]
    sampler = ActiveSampler("classification", (model, word_tokenizer()), 2, random_state=0)
    chosen = list(sampler.select(iter(pairs), total=len(pairs)))
    assert len(chosen) == 2
    assert set(chosen) <= set(pairs)
    assert segments
    assert all(batch.any(dim=1).all() for batch in segments)


def test_words_and_arrays_of_texts():
    both = (bert(), word_tokenizer())
    expected = logits_of(both, TEXTS)
    torch.testing.assert_close(logits_of(both, [text.split() for text in TEXTS]), expected)
    torch.testing.assert_close(logits_of(both, np.array(TEXTS)), expected)
    torch.testing.assert_close(logits_of(both, np.array(TEXTS, dtype=object)), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("build", [bert, lambda: gpt2(pad_token_id=0)], ids=["bert", "gpt2"])
def test_ready_tokenized_samples_padded_on_either_side(build, side):
    both = (build(), word_tokenizer(padding_side=side))
    expected = logits_of(both, TEXTS)
    padded = both[1](TEXTS, padding=True, return_tensors="pt")
    torch.testing.assert_close(logits_of(both, padded), expected)
    torch.testing.assert_close(logits_of(both, dict(padded)), expected)
    unpadded = both[1](TEXTS)
    rows = [{k: values[i] for k, values in unpadded.items()} for i in range(len(TEXTS))]
    for row in rows:
        row.update(label=1, text="carried along")
    torch.testing.assert_close(logits_of(both, rows), expected)


@pytest.mark.parametrize(
    ("config_pad", "tokenizer_pad"), [(None, "[PAD]"), (0, None), (3, "[PAD]"), (None, None)]
)
def test_without_an_agreed_pad_token_samples_run_alone(config_pad, tokenizer_pad):
    model, tokenizer = gpt2(), word_tokenizer(special_tokens=False, pad_token=tokenizer_pad)
    model.config.pad_token_id = config_pad
    with pytest.warns(UserWarning, match="one at a time"):
        adapter = adapt((model, tokenizer))
    encodings = [dict(tokenizer(text, return_tensors="pt")) for text in TEXTS]
    torch.testing.assert_close(adapter(TEXTS).logits, one_by_one(model, encodings))
    assert adapter.batch_size == 1


@pytest.mark.parametrize("family", ["Bert", "Roberta"])
def test_long_texts_are_cut_at_the_models_limit(family):
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(VOCABULARY), pad_token_id=0, hidden_size=16, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=16, max_position_embeddings=11, num_labels=3,
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    limit = 10 if family == "Roberta" else 11
    cut = " ".join(["card"] * (limit - 2))
    logits = logits_of((model, word_tokenizer()), [cut, cut + " lost my rate"])
    torch.testing.assert_close(logits[0], logits[1])


def test_mixed_kinds_are_named():
    both = (bert(), word_tokenizer())
    with pytest.raises(DataError, match="sample 1 is tuple; expected all texts"):
        logits_of(both, ["card", ("card", "lost")])
    with pytest.raises(DataError, match="sample 0 is int"):
        logits_of(both, [3])
    with pytest.raises(DataError, match="sample 2 is tuple"):
        logits_of(both, [("a", "b"), ("a", "b"), ("a", "b", "c")])


def test_a_text_without_tokens_is_named():
    both = (gpt2(pad_token_id=0), word_tokenizer(special_tokens=False))
    with pytest.raises(DataError, match="sample 1 has no tokens"):
        logits_of(both, ["card", "", "lost"])


def test_what_stands_beside_the_model():
    with pytest.raises(ModelError, match="expected its tokenizer or its image processor"):
        adapt((bert(), "tokenizer"))


def test_regression_of_several_outputs():
    model, tokenizer = bert(num_labels=2, problem_type="regression"), word_tokenizer()
    output = adapt((model, tokenizer))(TEXTS)
    encodings = [dict(tokenizer(text, return_tensors="pt")) for text in TEXTS]
    torch.testing.assert_close(output.logits, one_by_one(model, encodings))


class Wrapper(torch.nn.Module):
    """Hands all arguments on, as PEFT does when it knows no task."""

    def __init__(self, model):
        super().__init__()
        self.base_model = model

    def get_base_model(self):
        return self.base_model

    def forward(self, *args, **kwargs):
        return self.base_model(*args, **kwargs)


@pytest.mark.parametrize("build", [bert, lambda: gpt2(pad_token_id=0)], ids=["bert", "gpt2"])
def test_a_wrapper_takes_what_the_model_inside_takes(build):
    inner, tokenizer = build(), word_tokenizer()
    pairs = [("card lost", "rate"), ("my", "card is lost my card"), ("is", "rate rate")]
    for samples in (TEXTS, pairs):
        expected = logits_of((inner, tokenizer), samples)
        torch.testing.assert_close(logits_of((Wrapper(inner), tokenizer), samples), expected)


def test_a_module_that_hands_on_what_it_gets_keeps_the_attention_mask():
    class Forwards(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = bert()

        def forward(self, input_ids, **others):
            return self.inner(input_ids, **others)

    torch.manual_seed(1)
    module, tokenizer = Forwards().eval(), word_tokenizer()
    expected = logits_of((module.inner, tokenizer), TEXTS)
    torch.testing.assert_close(logits_of((module, tokenizer), TEXTS), expected)


class MeanOfWords(torch.nn.Module):
    """Knows no mask: padding would count as words."""

    def __init__(self):
        super().__init__()
        self.words, self.head = torch.nn.Embedding(len(VOCABULARY), 8), torch.nn.Linear(8, 3)

    def forward(self, input_ids):
        return self.head(self.words(input_ids).mean(dim=1))


@pytest.mark.parametrize("pad_token", ["[PAD]", None])
def test_a_module_that_knows_no_mask_gets_no_padding(pad_token):
    torch.manual_seed(1)
    module, tokenizer = MeanOfWords(), word_tokenizer(pad_token=pad_token)
    ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in TEXTS]
    expected = torch.cat([module(one) for one in ids]).detach()
    torch.testing.assert_close(logits_of((module, tokenizer), TEXTS), expected)


def test_a_module_that_calls_its_inputs_otherwise_is_refused():
    class Renamed(MeanOfWords):
        def forward(self, ids, mask=None):
            return super().forward(ids)

    message = "forward of Renamed takes ids, mask; expected inputs called as the tokenizer calls"
    with pytest.raises(ModelError, match=message):
        adapt((Renamed(), word_tokenizer()))


def test_a_config_without_a_pad_token_runs_samples_alone():
    """Perceiver's has none at all."""
    torch.manual_seed(1)
    config = transformers.PerceiverConfig(
        vocab_size=len(VOCABULARY), d_model=16, d_latents=16, num_latents=4, num_labels=3,
        num_self_attends_per_block=1, num_self_attention_heads=2, num_cross_attention_heads=2,
        max_position_embeddings=32,
    )  # fmt: skip
    model = transformers.PerceiverForSequenceClassification(config).eval()
    tokenizer = word_tokenizer()
    with pytest.warns(UserWarning, match=r"config \(None\) must be set and equal"):
        logits = logits_of((model, tokenizer), TEXTS)
    encodings = [tokenizer(text, return_tensors="pt") for text in TEXTS]
    accepted = ("input_ids", "attention_mask")
    encodings = [{name: one[name] for name in accepted} for one in encodings]
    torch.testing.assert_close(logits, one_by_one(model, encodings))


def test_the_limit_of_an_encoder_inside_a_module_cuts_texts():
    class Inside(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = bert(max_position_embeddings=8)

        def forward(self, input_ids, attention_mask):
            return self.inner(input_ids, attention_mask)

    logits = logits_of((Inside(), word_tokenizer()), ["card " * 6, "card " * 20])
    torch.testing.assert_close(logits[0], logits[1])


def fnet():
    torch.manual_seed(0)
    config = transformers.FNetConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, intermediate_size=24,
        max_position_embeddings=64, pad_token_id=0, num_labels=3,
    )  # fmt: skip
    return transformers.FNetForSequenceClassification(config).eval()


def reformer():
    """Of its samples only some lengths differ: those of two chunks."""
    torch.manual_seed(0)
    config = transformers.ReformerConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_attention_heads=2, attention_head_size=8,
        feed_forward_size=24, attn_layers=["local"] * 2, local_attn_chunk_length=4,
        axial_pos_embds=False, max_position_embeddings=64, pad_token_id=0, num_labels=3,
        is_decoder=False,
    )  # fmt: skip
    return transformers.ReformerForSequenceClassification(config).eval()


@pytest.mark.filterwarnings("ignore:.*mixes padding in")
@pytest.mark.parametrize("build", [fnet, reformer])
def test_a_model_that_mixes_padding_in_is_told_and_run_by_length(build):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=k)) for k in rng.integers(4, 13, 60)]
    model, tokenizer = build(), word_tokenizer()
    one_at_a_time = adapt((model, tokenizer), batch_size=1)(texts)
    sizes = []
    adapter = adapt((model, tokenizer))
    model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    with pytest.warns(UserWarning, match=r".* other results .* Samples of one length run"):
        output = adapter(texts)
    torch.testing.assert_close(output.logits, one_at_a_time.logits)
    assert max(sizes[2:]) > 1  # samples of one length still share batches
    chosen = [
        ActiveSampler("classification", (model, tokenizer), 10, batch_size=n, strategy="margin")
        for n in (1, 16, 64)
    ]
    indices = [one.select(texts, return_indices=True)[1].tolist() for one in chosen]
    assert indices[0] == indices[1] == indices[2]


def canine():
    """Takes no sample of under four tokens, alone or among equals."""
    torch.manual_seed(0)
    config = transformers.CanineConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=64, num_hash_buckets=64, pad_token_id=0,
        num_labels=3,
    )  # fmt: skip
    return transformers.CanineForSequenceClassification(config).eval()


def test_a_sample_that_cannot_run_alone_is_not_compared():
    texts = ["card lost my card is lost my", "card lost my card", "card"]
    assert logits_of((canine(), word_tokenizer()), texts[::2]).shape == (2, 3)
    with pytest.warns(UserWarning, match="mixes padding in"):
        logits = logits_of((canine(), word_tokenizer()), texts[:2])
    encodings = [dict(word_tokenizer()(text, return_tensors="pt")) for text in texts[:2]]
    torch.testing.assert_close(logits, one_by_one(canine(), encodings))


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_model_that_masks_its_padding_runs_mixed_lengths(dtype):
    model, tokenizer = bert().to(dtype), word_tokenizer()
    sizes = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    adapt((model, tokenizer))(TEXTS * 4)
    assert max(sizes) == 4 * len(TEXTS)


class LatePooling(MeanOfWords):
    """A head on every word, averaged over the words that are no padding, as EuroBERT's."""

    def forward(self, input_ids, attention_mask):
        logits = self.head(self.words(input_ids)) * attention_mask[:, :, None]
        return logits.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("batch_size", ["auto", 1])
def test_a_head_on_every_token_that_is_averaged_over_the_mask(batch_size):
    torch.manual_seed(1)
    module, tokenizer = LatePooling(), word_tokenizer()
    ids = [tokenizer(text, return_tensors="pt")["input_ids"] for text in TEXTS]
    with torch.no_grad():
        expected = torch.cat([module.words(one).mean(dim=1) for one in ids])
    output = adapt((module, tokenizer), batch_size=batch_size)(TEXTS)
    torch.testing.assert_close(output.embedding, expected)
    torch.testing.assert_close(output.logits, module.head(expected).detach())
