"""What the examples beside exported heads of regions have in common, and their model card."""

__all__ = ["CARD", "example_of"]

CARD = """# {title} of '{control}'

| | |
| --- | --- |
| Labels | {labels} |
| Head | {version} |
| {parts} are known by | {encoder} |
| Compared | on {tasks} tasks: the backend's regions, scores differ by {difference:.1g} |

{usage}
The other Python files are those of label-studio-active-sampler, under its licence.
`head.safetensors` and `head.json` are the trained head, and `encoder/`, if it is there, is the
Hugging Face encoder.
"""

# The lines of an example are those of its kind of parts, around this.
HEAD = '''folder = Path(__file__).parent
head = json.loads((folder / "head.json").read_text())
weights = load_file(folder / "head.safetensors")
labels = head["labels"]
Run = namedtuple("Run", "start stop tag score")  # parts of one label, from start to before stop


def runs_in(features, name):
    """Return what one head finds: the runs of parts of one label, the first of which is 1."""
    features = features.astype(np.float16).astype(np.float32)  # as the backend keeps them
    logits = features @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    described, offsets = head[name], np.array([0, len(shares)])
    counts = Counts(np.array(described["starts"]), np.array(described["pairs"]))
    best = best_tags(shares, offsets, counts.transitions(), described["strength"])
    classes = described["classes"]
    number = np.array([labels.index(one) + 1 if one else 0 for one in classes])
    column = {labels.index(one) + 1: at for at, one in enumerate(classes) if one}
    return [
        Run(start, stop, tag, float(shares[start:stop, column[tag]].mean()))
        for start, stop, tag in runs_of(number[best], offsets).tolist()
    ]


def all_runs(features):
    """Return what the head finds, of two layers where regions overlap others of another label."""
    found = runs_in(features, "parts")
    if "overlapping" in head:
        found = join_runs(found, runs_in(features, "overlapping"), head["relations"])
    return sorted(found)
'''


def example_of(beginning: str, *others: str) -> str:
    """Return an example: its docstring and imports, what all have in common, and the others."""
    return "\n".join([beginning, "\n\n".join([HEAD, *others])])
