"""The team's own model beside trained heads."""

from __future__ import annotations

import numpy as np
from active_learn import ActiveSampler
from active_learn.heads import fit_head
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.heads.joint_model import JointModel
from active_learn_backend.learning.user_models import OwnHead, unit_length
from active_learn_backend.learning.user_models.vectors import pack

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


def test_a_bent_head_leaves_the_ranking_readable() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(200, 6)).astype(np.float32)
    vectors = pack(embeddings, embeddings @ rng.normal(size=(6, 2)))
    own = OwnHead(parse_label_config(CONFIG).controls[0], ("a", "b"), 10, "own")
    unit = unit_length(embeddings)
    bent = fit_head("regression", (), unit, list(unit[:, 0] ** 2), round=1)
    assert bent is not None
    assert bent.cosines is not None
    model = JointModel.of(own, [None, bent.sampler_model()])
    logits, embedding = model(vectors)
    assert (logits.shape, embedding.shape) == ((200, 3), (200, 12))
    outputs = [("classification", 2), ("regression", 1)]
    sampler = ActiveSampler(outputs, model, 5, labeled_data=vectors[:9], seed_fisher=True)
    assert len(set(sampler.rank(vectors[9:], 5).indices)) == 5
