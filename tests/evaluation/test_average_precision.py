"""Average precision against sampled orders of the tied items, other libraries, and the authors' key."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from ranx import Qrels, Run, evaluate
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_average_precision

from h2q.evaluation import embeddings_mean_average_precision, mean_average_precision, scores_mean_average_precision
from h2q.quantization import SignQuantizer
from h2q.similarity import extract_features

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "cifar10-sample.parquet"

DIGITS = load_digits()
EMBEDDINGS = DIGITS.data.astype(np.float32) - DIGITS.data.mean(axis=0).astype(np.float32)


def unit_rows(embeddings: np.ndarray) -> np.ndarray:
    exact = embeddings.astype(np.float64)
    return exact / np.linalg.norm(exact, axis=1, keepdims=True)


def plain_average_precision(
    relevant: list[bool], cut: int, divisor: str, all_relevant: int | None = None
) -> float | None:
    """The definition, by one loop over one ranking. None: nothing is relevant."""
    total = sum(relevant) if all_relevant is None else all_relevant
    if total == 0:
        return None
    hits, precisions = 0, 0.0
    for rank, good in enumerate(relevant[:cut], 1):
        if good:
            hits += 1
            precisions += hits / rank
    divide = hits if divisor == "retrieved" else min(cut, total)
    return precisions / divide if divide else 0.0


def as_input(distances: list[int], relevant: list[bool], n_bits: int) -> tuple:
    """Codes at these distances from a query of zeros, and labels with this relevance."""
    bits = np.arange(n_bits)[None] < np.array(distances)[:, None]
    return (
        np.zeros((1, (n_bits + 7) // 8), np.uint8),
        np.packbits(bits, axis=1),
        np.array([1]),
        np.array(relevant).astype(int),
    )


@pytest.mark.parametrize("k", [None, 50, 137, 1000])
@pytest.mark.parametrize("divisor", ["retrieved", "relevant"])
def test_expected_is_the_mean_over_sampled_orders(k: int | None, divisor: str) -> None:
    codes = SignQuantizer(8).fit(EMBEDDINGS).encode(EMBEDDINGS)
    exact = mean_average_precision(
        codes[:1], codes[1:], DIGITS.target[:1], DIGITS.target[1:], n_bits=8, k=k, divisor=divisor
    ).value
    generator, samples = np.random.default_rng(0), []
    for _ in range(400):
        order = 1 + generator.permutation(len(codes) - 1)
        samples.append(
            mean_average_precision(
                codes[:1], codes[order], DIGITS.target[:1], DIGITS.target[order], n_bits=8, k=k, divisor=divisor,
                ties="row",
            ).value
        )  # fmt: skip
    standard_error = np.std(samples) / np.sqrt(len(samples))
    assert abs(np.mean(samples) - exact) < 4 * standard_error + 1e-9


class _Float64Torch:
    """torch, but what is called float32 is float64: torchmetrics' own lines, in full precision."""

    def __getattr__(self, name: str) -> Any:
        return torch.float64 if name == "float32" else getattr(torch, name)


@pytest.fixture(scope="module")
def photos() -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of real photographs."""
    rows = pq.read_table(SAMPLE).slice(0, 240).to_pylist()
    images = [Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB") for row in rows]
    return extract_features(images, image_size=64), np.array([row["label"] for row in rows])


@pytest.mark.filterwarnings("ignore:.*unsafe cast from uint64 to int64")  # in ranx's own kernels
@pytest.mark.parametrize("k", [None, 40])
def test_rankings_without_ties_agree_with_other_libraries(photos, k: int | None, monkeypatch) -> None:
    monkeypatch.setattr("torchmetrics.functional.retrieval.average_precision.torch", _Float64Torch())
    features, labels = photos
    x = unit_rows(features)
    similarity, n = x[:30] @ x[30:].T, len(x) - 30
    by_embeddings = embeddings_mean_average_precision(features[:30], features[30:], labels[:30], labels[30:], k=k)
    by_scores = scores_mean_average_precision(similarity, labels[:30], labels[30:], k=k)
    documents = [f"d{i}" for i in range(n)]
    for q in range(30):
        ranks = np.argsort(np.argsort(-similarity[q]))
        assert np.diff(np.sort(similarity[q])).min() > 1e-12
        relevant = labels[30:] == labels[q]
        # As many distances as items: seen from the query of zeros, an item's code has as many bits set as its rank.
        query, database, one, flags = as_input(ranks.tolist(), relevant.tolist(), n)
        ours = [by_embeddings.per_query[q], by_scores.per_query[q]] + [
            mean_average_precision(query, database, one, flags, n_bits=n, ties=ties, k=k).value
            for ties in ("expected", "row", "optimistic", "pessimistic")
        ]
        theirs = float(retrieval_average_precision(torch.tensor(1.0 + n - ranks), torch.tensor(relevant), top_k=k))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        if k is None:
            theirs = average_precision_score(relevant, similarity[q])
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
        # ranx divides by all relevant items; so does divisor="relevant", as long as k does not cut them.
        run = Run({"q": dict(zip(documents, (1000.0 - ranks).tolist(), strict=True))})
        qrels = Qrels({"q": {d: 1 for d, good in zip(documents, relevant, strict=True) if good}})
        theirs = float(evaluate(qrels, run, "map" if k is None else f"map@{k}"))
        score = mean_average_precision(query, database, one, flags, n_bits=n, divisor="relevant", k=k).value
        assert score * min(k or n, relevant.sum()) / relevant.sum() == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("radius", [None, 2])
def test_float_policy_is_the_authors_key(radius: int | None) -> None:
    codes = SignQuantizer(16).fit(EMBEDDINGS).encode(EMBEDDINGS)
    unit = unit_rows(EMBEDDINGS)
    bits = np.unpackbits(codes, axis=1).astype(np.int64)
    result = mean_average_precision(
        codes[:50], codes[50:], DIGITS.target[:50], DIGITS.target[50:], n_bits=16, k=200, radius=radius,
        ties="embeddings",
        query_embeddings=EMBEDDINGS[:50], database_embeddings=EMBEDDINGS[50:],
    )  # fmt: skip
    for q in range(50):
        hamming = (bits[q] != bits[50:]).sum(axis=1)
        key = 10 * hamming + ((unit[q] - unit[50:]) ** 2).sum(axis=1)
        order = np.argsort(key, kind="stable")
        if radius is not None:
            order = order[hamming[order] <= radius]
        ranking = (DIGITS.target[50:] == DIGITS.target[q])[order].tolist()
        expected = plain_average_precision(ranking, 200, "retrieved", 1) or 0.0
        assert result.per_query[q] == pytest.approx(expected, abs=1e-12)


def test_multi_hot_labels_share_at_least_one_label() -> None:
    generator = np.random.default_rng(0)
    codes = SignQuantizer(16).fit(EMBEDDINGS).encode(EMBEDDINGS)
    tags = generator.random((len(codes), 70)) < 0.02
    result = mean_average_precision(codes[:30], codes[30:], tags[:30], tags[30:], n_bits=16, empty="skip", ties="row")
    bits = np.unpackbits(codes, axis=1)
    for q in range(30):
        order = np.argsort((bits[q] != bits[30:]).sum(axis=1), kind="stable")
        relevant = (tags[q] & tags[30:]).any(axis=1)[order].tolist()
        expected = plain_average_precision(relevant, len(order), "retrieved")
        assert np.isnan(result.per_query[q]) if expected is None else result.per_query[q] == pytest.approx(expected)
    one_hot = np.eye(10, dtype=int)[DIGITS.target]
    same = [
        mean_average_precision(codes[:30], codes, labels[:30], labels, n_bits=16).value
        for labels in (DIGITS.target, one_hot)
    ]
    assert same[0] == pytest.approx(same[1], abs=1e-12)


def test_embeddings_are_ranked_by_cosine() -> None:
    result = embeddings_mean_average_precision(
        EMBEDDINGS[:40], EMBEDDINGS[40:], DIGITS.target[:40], DIGITS.target[40:], k=300
    )
    unit = unit_rows(EMBEDDINGS)
    for q in range(40):
        order = np.argsort(-(unit[q] @ unit[40:].T), kind="stable")
        ranking = (DIGITS.target[40:] == DIGITS.target[q])[order].tolist()
        assert result.per_query[q] == pytest.approx(plain_average_precision(ranking, 300, "retrieved"), abs=1e-12)
    low, high = result.confidence_interval()
    assert low < result.value < high
    assert (result.k, result.n_queries, result.n_database, result.ties) == (300, 40, 1757, "expected")


@pytest.mark.parametrize("divisor", ["retrieved", "relevant"])
@pytest.mark.parametrize("k", [None, 1, 7, 200])
def test_without_a_database_each_query_ranks_all_others(divisor: str, k: int | None) -> None:
    generator = np.random.default_rng(5)
    x, labels = generator.standard_normal((60, 4)), generator.integers(0, 5, 60)
    x[7] = x[8]  # equal embeddings are ties with others, and never with itself
    result = embeddings_mean_average_precision(x, None, labels, None, k=k, divisor=divisor, empty="skip")
    expected = [
        embeddings_mean_average_precision(
            x[i : i + 1],
            np.delete(x, i, 0),
            labels[i : i + 1],
            np.delete(labels, i),
            k=k,
            divisor=divisor,
            empty="skip",
        ).per_query[0]
        for i in range(60)
    ]
    np.testing.assert_allclose(result.per_query, expected, atol=1e-12)
    assert result.n_database == 59


def test_a_database_needs_embeddings_and_labels() -> None:
    with pytest.raises(ValueError, match="database_embeddings and database_labels must both be given, or both be None"):
        embeddings_mean_average_precision(np.ones((2, 2)), None, [0, 1], [0, 1])
