"""DataLoaders: batches of every form are taken apart into the samples that a model reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, DataError
from active_learn.streams.loader_batches import read_loader
from PIL import Image
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["card", "lost", "my", "is", "rate"]
N = 11  # with batches of 4 the last one is smaller
X = torch.arange(3.0 * N).reshape(N, 3)
TEXTS = [" ".join(WORDS[: 1 + i % 5]) + " card" * (i // 5) for i in range(N)]
PAIRS = [(text, WORDS[i % 5]) for i, text in enumerate(TEXTS)]
IMAGES = [Image.new("RGB", (8 + i, 9), (20 * i, 0, 90)) for i in range(N)]


class Rows(Dataset):
    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> Any:
        return self.rows[at]


def identity(batch: list[Any]) -> list[Any]:
    return batch


def loader(rows: list[Any], **options: Any) -> DataLoader:
    return DataLoader(Rows(rows), **{"batch_size": 4, **options})


def as_plain(item: Any) -> Any:
    if isinstance(item, torch.Tensor):
        return item.tolist()
    if isinstance(item, dict):
        return {name: as_plain(value) for name, value in item.items()}
    if isinstance(item, tuple | list):
        return tuple(as_plain(part) for part in item)
    return item


ROWS = {
    "tensors": list(X),
    "tensor and label": [(x, i) for i, x in enumerate(X)],
    "text": TEXTS,
    "text and label": [(text, i) for i, text in enumerate(TEXTS)],
    "pairs": PAIRS,
    "pairs and labels": [(pair, i) for i, pair in enumerate(PAIRS)],
    "mappings": [{"text": text, "label": i} for i, text in enumerate(TEXTS)],
    "mappings of tensors": [{"x": x, "y": i} for i, x in enumerate(X)],
    "nested mappings": [{"inputs": {"x": X[i], "text": TEXTS[i]}, "y": 0} for i in range(N)],
}


@pytest.mark.parametrize("collate_fn", [None, identity], ids=["collated", "as they are"])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_batches_are_taken_apart(rows: list[Any], collate_fn: Any) -> None:
    read = list(read_loader(loader(rows, collate_fn=collate_fn)))
    assert as_plain(read) == as_plain(rows)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4)])
def test_columns_of_a_collate_function_of_ones_own(shape: tuple[int, int]) -> None:
    def columns(batch: list[Any]) -> Any:
        return [torch.stack([x for x, _ in batch]), torch.tensor([y for _, y in batch])]

    rows = [(torch.full(shape, float(i)), i) for i in range(N)]
    for collate_fn in (columns, lambda batch: tuple(columns(batch))):
        read = list(read_loader(loader(rows, collate_fn=collate_fn)))
        assert as_plain(read) == as_plain(rows)


def test_images_of_several_sizes_and_tensors_of_several_shapes() -> None:
    assert list(read_loader(loader(IMAGES, collate_fn=identity))) == IMAGES
    tensors = [torch.zeros(3, 5 + i) for i in range(N)]
    read = list(read_loader(loader(tensors, collate_fn=identity)))
    assert [one.shape for one in read] == [one.shape for one in tensors]


def test_a_batch_sampler_and_no_batches_at_all() -> None:
    batches = BatchSampler(SequentialSampler(range(N)), 4, drop_last=False)
    for one in (
        DataLoader(Rows(TEXTS), batch_sampler=batches),
        DataLoader(Rows(TEXTS), batch_size=None),
    ):
        assert list(read_loader(one)) == TEXTS


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="a batch of the DataLoader has columns of 1 and 4 samples"):
        list(read_loader(loader(TEXTS, collate_fn=lambda batch: {"text": batch, "y": [1]})))


# Models


def word_tokenizer() -> Any:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", *WORDS])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]"
    )


def bert() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=7, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, pad_token_id=0, num_labels=3, initializer_range=0.5,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config).eval()


def kept(model: Any, samples: Any) -> list[int]:
    sampler = ActiveSampler("classification", model, 4, random_state=0, strategy="margin")
    return [index for _, index in sampler.select(samples, return_indices=True, total=N)]


def test_texts_of_a_loader_in_every_form() -> None:
    both = (bert(), word_tokenizer())
    expected = kept(both, iter(TEXTS))
    tokenized = [{**both[1](text), "labels": 1} for text in TEXTS]
    padded = transformers.DataCollatorWithPadding(both[1])
    pair_of_columns = [(text, 1) for text in TEXTS]
    for one in (
        loader(TEXTS, collate_fn=both[1]),  # lists of tokens, of several lengths
        loader(TEXTS, collate_fn=lambda batch: both[1](batch, padding=True, return_tensors="pt")),
        loader(
            pair_of_columns,
            collate_fn=lambda rows: (both[1]([t for t, _ in rows]), [1] * len(rows)),
        ),
        loader(TEXTS),
        loader(ROWS["text and label"]),
        loader(ROWS["mappings"]),
        loader(tokenized, collate_fn=padded),
    ):
        assert kept(both, one) == expected
    assert kept(both, loader(PAIRS)) == kept(both, iter(PAIRS))
    assert kept(both, loader(ROWS["pairs and labels"])) == kept(both, iter(PAIRS))
    named = [{"text": text, "text_pair": other, "label": 1} for text, other in PAIRS]
    assert kept(both, loader(named)) == kept(both, iter(PAIRS))
    tokenized = [both[1](text, text_pair=other) for text, other in PAIRS]
    assert kept(both, loader(tokenized, collate_fn=padded)) == kept(both, iter(PAIRS))


def test_batches_padded_to_several_lengths_need_a_tokenizer() -> None:
    model, tokenizer = bert(), word_tokenizer()

    def batches(**padding: Any) -> DataLoader:
        return loader(TEXTS, collate_fn=lambda b: tokenizer(b, return_tensors="pt", **padding))

    expected = kept((model, tokenizer), iter(TEXTS))
    assert kept(model, batches(padding="max_length", max_length=16)) == expected
    message = r"input_ids .* different shapes .*: give \(model, tokenizer\), which pads them"
    with pytest.raises(DataError, match=message):
        kept(model, batches(padding=True))


def test_a_row_of_two_texts_is_refused() -> None:
    rows = [{"premise": a, "hypothesis": b} for a, b in PAIRS]
    with pytest.raises(DataError, match=r"a row with 'premise', 'hypothesis' \(give one column\)"):
        kept((bert(), word_tokenizer()), loader(rows))


def test_images_of_a_loader_in_every_form() -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=16, patch_size=8, num_labels=3, initializer_range=0.5,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    both = (model, transformers.ViTImageProcessor(size={"height": 16, "width": 16}))
    expected = kept(both, iter(IMAGES))
    pixels = both[1](images=IMAGES, return_tensors="pt")["pixel_values"]
    for one in (
        loader(IMAGES, collate_fn=identity),
        loader([{"image": image, "label": 1} for image in IMAGES], collate_fn=identity),
        loader([(image, 1) for image in IMAGES], collate_fn=identity),
        loader([{"pixel_values": one, "labels": 1} for one in pixels]),
    ):
        assert kept(both, one) == expected


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor, labels: Any = None) -> torch.Tensor:
        assert labels is None
        return self.head(torch.sin(x))


def test_rows_of_a_module_by_name() -> None:
    torch.manual_seed(0)
    model = Named()
    expected = kept(model, iter(X))
    for rows in (
        [{"x": x, "labels": 1, "id": f"row {i}"} for i, x in enumerate(X)],
        [{"image": x, "label": 1} for x in X],
        [(x, 1) for x in X],
    ):
        assert kept(model, loader(rows)) == expected
    assert kept(model, DataLoader(TensorDataset(X, X), batch_size=4)) == expected
    with pytest.raises(DataError, match=r"samples have 'left', 'right'; the model needs 'x'"):
        kept(model, loader([{"left": x, "right": x} for x in X]))


def test_rows_of_a_dataset_as_a_pool() -> None:
    both = (bert(), word_tokenizer())
    sampler = ActiveSampler("classification", both, 4, random_state=0)
    _, expected = sampler.select(TEXTS, return_indices=True)
    rows = Rows(ROWS["mappings"])
    assert np.array_equal(sampler.select(rows, return_indices=True)[1], expected)
