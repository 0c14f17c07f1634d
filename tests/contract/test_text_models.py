"""Text classifiers of transformers hold the contract of models, padded as they may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from model_contract import N_SAMPLES, ModuleContract
from torch import nn

transformers = pytest.importorskip("transformers")
WORDS = ["card", "lost", "my", "is", "rate", "exchange", "why", "top", "up", "failed"]


def word_tokenizer(**options: Any) -> Any:
    """Make a tokenizer with one token a word, [CLS] and [SEP] around."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS]
    model = tokenizers.models.WordLevel(
        {word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"
    )
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        **options,
    )


class TextContract(ModuleContract):
    """Text classifiers from tiny random configs; each family names its classes and its head."""

    family = ""
    sizes: dict[str, Any] = {}
    padding_side = "right"
    accepted = ("input_ids", "attention_mask")

    def build(self):
        torch.manual_seed(1)
        config = getattr(transformers, f"{self.family}Config")(
            **{"vocab_size": 4 + len(WORDS), "pad_token_id": 0, "num_labels": self.n_outputs},
            **self.sizes,
        )
        model = getattr(transformers, f"{self.family}ForSequenceClassification")(config)
        # The random heads start so small that all samples would look alike.
        with torch.no_grad():
            self.head(model).weight.mul_(10.0)
        return model, word_tokenizer(padding_side=self.padding_side)

    def module(self, model):
        return model[0]

    def samples(self):
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(WORDS, size=length)) for length in range(1, N_SAMPLES + 1)]

    def expected(self, model, samples):
        module, tokenizer = model
        module.eval()
        rows = []
        for sample in samples:
            encoded = tokenizer(sample, return_tensors="pt")
            with torch.no_grad():
                inputs = {name: encoded[name] for name in self.accepted}
                rows.append(module(**inputs).logits.float())
        return torch.cat(rows).numpy()


BERT_SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}


class TestBert(TextContract):
    family, sizes = "Bert", BERT_SIZES

    def head(self, module):
        return module.classifier


class TestBertRegressor(TestBert):
    n_outputs = 1


class TestRoberta(TextContract):
    family, sizes = "Roberta", BERT_SIZES

    def head(self, module):
        return module.classifier.out_proj


class TestDistilBert(TextContract):
    family = "DistilBert"
    sizes = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}

    def head(self, module):
        return module.classifier


class TestDeberta(TextContract):
    family, sizes = "DebertaV2", {**BERT_SIZES, "relative_attention": True}

    def head(self, module):
        return module.classifier


class TestGPT2(TextContract):
    family = "GPT2"
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}

    def head(self, module):
        return module.score


class TestGPT2PaddedLeft(TestGPT2):
    padding_side = "left"


class TestLlama(TextContract):
    family = "Llama"
    sizes = {**BERT_SIZES, "num_key_value_heads": 2}

    def head(self, module):
        return module.score


class TestLlamaPaddedLeft(TestLlama):
    padding_side = "left"


class TestGemma3(TextContract):
    """Its pad token and its limits lie in the config of its text part."""

    family = "Gemma3"

    def build(self):
        torch.manual_seed(1)
        text = {**BERT_SIZES, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
        vision = {**BERT_SIZES, "image_size": 28, "patch_size": 14}
        config = transformers.Gemma3Config(
            text_config={**text, "vocab_size": 4 + len(WORDS)},
            vision_config=vision,
            mm_tokens_per_image=4,
        )
        config.num_labels = self.n_outputs
        model = transformers.Gemma3ForSequenceClassification(config)
        with torch.no_grad():
            self.head(model).weight.mul_(10.0)
        return model, word_tokenizer()

    def head(self, module):
        return module.score


class OwnModule(nn.Module):
    """An encoder, a head, and no config."""

    def __init__(self, n_outputs: int, **options: Any) -> None:
        super().__init__()
        sizes = {**BERT_SIZES, "vocab_size": 4 + len(WORDS), "pad_token_id": 0}
        self.encoder = transformers.BertModel(transformers.BertConfig(**sizes, **options))
        self.head = nn.Linear(16, n_outputs)

    def forward(self, input_ids, **others):
        return {"logits": self.head(self.encoder(input_ids, **others).last_hidden_state[:, 0])}


class TestOwnModuleWithATokenizer(TextContract):
    def build(self):
        torch.manual_seed(1)
        return OwnModule(self.n_outputs), word_tokenizer()

    def head(self, module):
        return module.head

    def expected(self, model, samples):
        module, tokenizer = model
        module.eval()
        with torch.no_grad():
            rows = [module(**tokenizer(one, return_tensors="pt"))["logits"] for one in samples]
        return torch.cat(rows).float().numpy()


@pytest.mark.filterwarnings("ignore:.*mixes padding in")
class MixesPadding(TextContract):
    """Families whose results depend on the padding of a batch."""

    def samples(self):
        """Lengths of which some are equal, so that some samples share a batch."""
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(WORDS, size=length)) for length in (4, 1, 4, 4, 2, 4, 1)]


class TestFNet(MixesPadding):
    family, accepted = "FNet", ("input_ids",)
    sizes = {name: BERT_SIZES[name] for name in BERT_SIZES if name != "num_attention_heads"}
    test_half_precision = None  # its Fourier transform knows no half precision on a CPU

    def head(self, module):
        return module.classifier


class TestConvBert(MixesPadding):
    family, sizes = "ConvBert", {**BERT_SIZES, "embedding_size": 16, "conv_kernel_size": 3}

    def head(self, module):
        return module.classifier.out_proj
