"""CEL beside torch's own cosine embedding loss."""

from typing import Any

import pytest
import torch

from h2q.similarity.losses import CosineEmbedding, code_margin


@pytest.mark.parametrize("margin", [None, -0.5, 0.0, 0.3])
def test_it_is_torchs_cosine_embedding_loss_over_all_pairs(margin: float | None, make_batch: Any) -> None:
    z, labels, _ = make_batch(12, 24)
    loss = CosineEmbedding(n_bits=24, n_classes=5, margin=margin)
    i, j = (1 - torch.eye(12)).nonzero(as_tuple=True)
    targets = torch.where(labels[i] == labels[j], 1, -1)
    expected = torch.nn.functional.cosine_embedding_loss(z[i], z[j], targets, margin=loss.margin)
    assert loss(z, labels).item() == pytest.approx(expected.item(), rel=1e-10)
    assert loss.margin == (code_margin(24, 5) if margin is None else margin)
