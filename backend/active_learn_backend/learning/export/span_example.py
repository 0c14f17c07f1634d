"""The example beside an exported head of spans, as the text of a Python file."""

from .region_example import example_of

__all__ = ["USAGE", "span_example"]

USAGE = """`python example.py "a text"` prints the spans. `find_spans` in `example.py` is what to
call from another program.
"""

BEGINNING = '''"""Find the spans of a text: python example.py TEXT

It needs: pip install numpy safetensors (and torch transformers, if there is a folder "encoder").
With - it reads a JSON list of texts from its standard input.
"""

import json
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
from overlaps import join_runs
from safetensors.numpy import load_file
from transitions import Counts, best_tags, runs_of
from words import find_words, word_features
'''

FIND = '''def find_spans(text):
    """Return the spans of a text, counted in characters (code points)."""
    readable = text.encode("utf-8", "replace").decode()
    places = find_words(readable)[: head["most_words"]]
    if not len(places):
        return []
    spans = []
    for start, stop, tag, score in all_runs(features_of(readable, places)):
        first, behind = int(places[start, 0]), int(places[stop - 1, 1])
        spans.append({"start": first, "end": behind, "text": text[first:behind],
                      "label": labels[tag - 1], "score": score})
    return spans


if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        print(json.dumps([find_spans(text) for text in json.load(sys.stdin)]))
    else:
        print(json.dumps(find_spans(" ".join(sys.argv[1:])), ensure_ascii=False))
'''

EMBEDDED = '''def features_of(text, places):
    """Return the features of the words of a text: hashed ones, and those of their shape."""
    return word_features([[text[a:b] for a, b in places.tolist()]], embedded=True)
'''

OF_MODEL = '''import threading

from transformers import AutoModel, AutoTokenizer
from word_states import WordStates

tokenizer = AutoTokenizer.from_pretrained(folder / "encoder")
model = AutoModel.from_pretrained(folder / "encoder").float().eval()
states = WordStates(model, tokenizer, head["max_length"], threading.Lock())


def features_of(text, places):
    """Return the features of the words of a text: states of the encoder, and their shape."""
    shapes = word_features([[text[a:b] for a, b in places.tolist()]], embedded=False)
    return np.concatenate([states([text], [places])[0], shapes], axis=1)
'''


def span_example(*, of_model: bool) -> str:
    """Return the example for words that are known by a model, or by hashed features."""
    return example_of(BEGINNING, OF_MODEL if of_model else EMBEDDED, FIND)
