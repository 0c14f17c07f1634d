"""The example beside an exported head of spans, as the text of a Python file."""

__all__ = ["CARD", "EMBEDDED", "EXAMPLE", "OF_MODEL"]

CARD = """# Spans of '{control}'

| | |
| --- | --- |
| Labels | {labels} |
| Head | {version} |
| Words are known by | {encoder} |
| Compared | on {tasks} tasks: the spans that the backend finds, scores differ by {difference:.1g} |

`python example.py "a text"` prints the spans. `find_spans` in `example.py` is what to call from
another program. `words.py`, `transitions.py` and `word_states.py` are those of
label-studio-active-sampler, under its licence. `head.safetensors` and `head.json` are the trained
head, and `encoder/`, if it is there, is the Hugging Face encoder.
"""

EXAMPLE = '''"""Find the spans of a text: python example.py TEXT

It needs: pip install numpy safetensors (and torch transformers, if there is a folder "encoder").
With - it reads a JSON list of texts from its standard input.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from transitions import Counts, best_tags, runs_of
from words import find_words, word_features

folder = Path(__file__).parent
head = json.loads((folder / "head.json").read_text())
weights = load_file(folder / "head.safetensors")
labels = head["labels"]


#FEATURES#

def runs_in(features, name):
    """Return (first word, word behind the last, label, score) of what one head finds."""
    logits = features @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    described, offsets = head[name], np.array([0, len(shares)])
    counts = Counts(np.array(described["starts"]), np.array(described["pairs"]))
    best = best_tags(shares, offsets, counts.transitions(), described["strength"])
    classes = described["classes"]
    number = np.array([labels.index(one) + 1 if one else 0 for one in classes])
    column = {labels.index(one): at for at, one in enumerate(classes) if one}
    return [
        (start, stop, labels[tag - 1], float(shares[start:stop, column[tag - 1]].mean()))
        for start, stop, tag in runs_of(number[best], offsets).tolist()
    ]


def find_spans(text):
    """Return the spans of a text, counted in characters (code points)."""
    readable = text.encode("utf-8", "replace").decode()
    places = find_words(readable)[: head["most_words"]]
    if not len(places):
        return []
    features = features_of(readable, places).astype(np.float16).astype(np.float32)
    found = runs_in(features, "spans")
    if "within" in head:  # spans that lie within longer ones of another label
        found += [
            run
            for run in runs_in(features, "within")
            if any(
                one[0] <= run[0] and run[1] <= one[1] and one[2] != run[2]
                and one[1] - one[0] > run[1] - run[0]
                for one in found
            )
        ]
    order = {label: at for at, label in enumerate(labels)}
    spans = []
    for start, stop, label, score in sorted(found, key=lambda one: (*one[:2], order[one[2]])):
        first, behind = int(places[start, 0]), int(places[stop - 1, 1])
        spans.append({"start": first, "end": behind, "text": text[first:behind],
                      "label": label, "score": score})
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
