"""The example beside an exported head of spans, as the text of a Python file."""

from .region_example import example_of

__all__ = ["USAGE", "span_example"]

CALL = """prints the spans{how}.
`find_spans` in `example.py` is what to call from another program.
"""
USAGE = {
    "plain": '`python example.py "a text"` ' + CALL.format(how=""),
    "html": '`python example.py "<p>some HTML</p>"` '
    + CALL.format(how=", counted in characters\nof the text of the whole page, as `globalOffsets`"),
    "dialogue": """`python example.py '[["Anna", "hi"], ["Bo", "hello"]]'` """
    + CALL.format(how=":\nthe number of a paragraph, and UTF-16 units in it, as Label Studio has"),
}

BEGINNING = '''"""Find the spans of a text: python example.py TEXT

It needs: pip install numpy safetensors (lxml, if there is a file "html_text.py", and torch
transformers, if there is a folder "encoder").
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

PLAIN = '''def read(text):
    """Return the text, and what says where in it a span is, in characters (code points)."""
    return text, lambda start, end: {"start": start, "end": end, "text": text[start:end]}
'''

HTML = '''from exact_text import exact_text


def read(html):
    """Return the text of HTML, and what says where in it a span is, in characters of it."""
    text = exact_text(html, "html").text
    return text, lambda start, end: {"start": start, "end": end, "text": text[start:end]}
'''

DIALOGUE = '''from exact_text import PARAGRAPH, exact_text


def read(dialogue):
    """Return what is said in a dialogue, as JSON, and what says where in it a span is."""
    exact = exact_text(dialogue, "dialogue")

    def place(start, end):
        start, end = exact.places(np.array([start, end])).tolist()
        (first, at), (last, until) = divmod(start, PARAGRAPH), divmod(end, PARAGRAPH)
        return {"start": str(first), "startOffset": at, "end": str(last), "endOffset": until,
                "text": exact.between(start, end)}

    return exact.text, place
'''

FIND = '''def find_spans(content):
    """Return the spans of a text, HTML or dialogue."""
    text, place = read(content)
    readable = text.encode("utf-8", "replace").decode()
    places = find_words(readable)[: head["most_words"]]
    if not len(places):
        return []
    spans = []
    for start, stop, tag, score in all_runs(features_of(readable, places)):
        first, behind = int(places[start, 0]), int(places[stop - 1, 1])
        spans.append({**place(first, behind), "label": labels[tag - 1], "score": score})
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


def span_example(markup: str, *, of_model: bool) -> str:
    """Return the example for words that are known by a model, or by hashed features.

    Parameters
    ----------
    markup : {'plain', 'html', 'dialogue'}
        Of what the words are.
    """
    read = {"plain": PLAIN, "html": HTML, "dialogue": DIALOGUE}[markup]
    return example_of(BEGINNING, OF_MODEL if of_model else EMBEDDED, read, FIND)
