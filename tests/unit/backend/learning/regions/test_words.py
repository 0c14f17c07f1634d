"""Words of a text, their features, and how their tags and the regions of a text relate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from active_learn.heads import Run
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.exact_text import ExactText
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.learning.encoders.transformer_text import TransformerTextEncoder
from active_learn_backend.learning.encoders.word_states import WordStates
from active_learn_backend.learning.regions.kinds import KINDS, MOST_WORDS, WordEncoder
from active_learn_backend.learning.regions.words import EMBEDDED, SHAPED, find_words, word_features
from tiny_models import WORDS, save_bert

LABELS = ("A", "B")
KIND = KINDS["text"].kind


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in find_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dr. Ek's 3.5 kg", ["Dr", ".", "Ek", "'", "s", "3", ".", "5", "kg"]),
        ("\U0001f600 a\r\nb", ["\U0001f600", "a", "b"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),  # accents belong to their letters
        ("\u0928\u092e\u0938\u094d\u0924\u0947", ["\u0928\u092e\u0938\u094d\u0924\u0947"]),
        ("\u6771\u4eac a1", ["\u6771", "\u4eac", "a1"]),  # written without blanks
        (" \n ", []),
    ],
)
def test_words_and_their_places(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("regions", "tags"),
    [
        ([], [0, 0, 0]),
        ([[0, 3, "A"]], [1, 0, 0]),
        ([[0, 7, "B"]], [2, 2, 0]),
        ([[0, 6, "B"]], [2, 2, 0]),  # two of three letters
        ([[0, 5, "B"]], [2, 0, 0]),  # one of three
        ([[5, 6, "A"]], [0, 1, 0]),  # within a word: that one
        ([[0, 11, "A"], [4, 7, "B"]], [1, 2, 1]),  # of those that overlap the shorter one
        ([[4, 7, "B"], [0, 11, "A"]], [1, 2, 1]),
        ([[3, 4, "A"]], [0, 0, 0]),  # a blank
        ([[0, 3, "gone"]], [0, 0, 0]),
        ([[20, 30, "A"]], [0, 0, 0]),  # behind the end
    ],
)
def test_tags_of_words(regions: list[list[object]], tags: list[int]) -> None:
    places = find_words("abc def ghi")
    assert KIND.tags(regions, LABELS, places).tolist() == tags


def test_regions_of_runs() -> None:
    text = "\U0001f600 abc def. ghi"
    runs = [Run(1, 3, 2, 0.5), Run(4, 5, 1, 0.25)]
    found = KIND.regions(runs, LABELS, find_words(text))
    assert [(text[one.start : one.end], one.label, one.score) for one in found] == [
        ("abc def", "B", 0.5),
        ("ghi", "A", 0.25),
    ]


def test_features_tell_words_apart_and_know_their_neighbors() -> None:
    texts = [["Oslo", "is", "big"], [], ["oslo", "is", "Big"]]
    found = word_features(texts, embedded=True)
    assert found.shape == (6, EMBEDDED)
    assert word_features(texts, embedded=False).shape == (6, SHAPED)
    assert len(np.unique(found, axis=0)) == 6
    again = word_features([["is"], ["Oslo", "is", "big"]], embedded=True)
    np.testing.assert_array_equal(again[1:], found[:3])  # whatever else is there
    assert np.isfinite(word_features([["\ud800"]], embedded=True)).all()  # a lone surrogate


def test_words_are_hashed_without_a_model() -> None:
    encoder = WordEncoder(TextEncoder())
    (parts,) = encoder.encode([ExactText("Anna met Bo")])
    assert (encoder.fingerprint, encoder.n_features) == ("words2-hashed", EMBEDDED)
    assert not encoder.by_doubt  # of hashed words plain means order better
    assert parts.features.shape == (3, EMBEDDED)
    assert parts.places.tolist() == [[0, 4], [5, 8], [9, 11]]
    (long,) = encoder.encode([ExactText("a " * (MOST_WORDS + 1))])
    assert len(long) == MOST_WORDS


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TransformerTextEncoder:
    return TransformerTextEncoder(save_bert(tmp_path_factory.mktemp("bert")), torch.device("cpu"))


def test_states_are_those_of_the_layer_before_the_last(encoder: TransformerTextEncoder) -> None:
    states = encoder.word_states
    text = "why is my card lost"
    (found,) = states([text], [find_words(text)])
    model, tokenizer = encoder.model.module, encoder.model.tokenizer
    with torch.inference_mode():
        layers = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
    expected = layers.hidden_states[-2][0, 1:-1].numpy()
    center, size = states._center
    np.testing.assert_allclose(found, (expected - center) / size, atol=1e-4)
    assert states.n_features == 16


def test_a_longer_text_is_read_in_windows(encoder: TransformerTextEncoder) -> None:
    text = " ".join(WORDS * 12)  # 132 words; the model takes 32 tokens
    places = find_words(text)
    (found,) = encoder.word_states([text], [places])
    assert found.shape == (132, 16)
    assert np.abs(found).sum(axis=1).all()
    alone = text[: places[9, 1]]
    together = encoder.word_states([alone, text], [places[:10], places])
    np.testing.assert_allclose(together[1], found, atol=1e-4)  # whatever else is in the batch


def test_words_without_a_token_have_no_state(encoder: TransformerTextEncoder) -> None:
    text = "card \u200b lost"
    places = np.array([[0, 4], [5, 6], [7, 11]])
    (found,) = encoder.word_states([text], [places])
    assert found[[0, 2]].any(axis=1).all()
    (none,) = encoder.word_states([""], [np.empty((0, 2), np.int64)])
    assert none.shape == (0, 16)


def test_word_states_stand_beside_the_shapes(encoder: TransformerTextEncoder) -> None:
    words = WordEncoder(encoder)
    parts, other = words.encode([ExactText("my card"), ExactText("why")])
    assert parts.features.shape == (2, 16 + SHAPED)
    assert other.features.shape == (1, 16 + SHAPED)
    assert words.fingerprint == f"words2-{encoder.fingerprint}"
    assert words.by_doubt


def test_a_tokenizer_has_to_tell_where_tokens_lie(encoder: TransformerTextEncoder) -> None:
    with pytest.raises(SettingsError, match="fast tokenizer"):
        WordStates(encoder.model.module, object(), 32, encoder._lock)


def test_the_fingerprint_is_fit_for_a_folder(
    tmp_path: Path, encoder: TransformerTextEncoder
) -> None:
    (tmp_path / WordEncoder(encoder).fingerprint).mkdir()
