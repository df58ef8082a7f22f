"""Fit, encode and score, against the single functions of the other rooms."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.comparison import (
    EmbeddedFolds,
    compare_quantizers,
    default_contenders,
    embed_folds,
    score_embeddings,
    score_quantizer,
)
from h2q.evaluation import (
    diagnose_codes,
    embeddings_mean_average_precision,
    float_neighbors,
    mean_average_precision,
    neighbor_recall,
)
from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer, SignQuantizer, quantizer_names

X, LABELS = load_digits().data.astype(np.float32), load_digits().target
FOLDS = {"train": np.arange(700), "query": np.arange(700, 800), "database": np.arange(800, 1797)}


@pytest.fixture(scope="module")
def folds() -> EmbeddedFolds:
    return embed_folds(X, LABELS, FOLDS, k=5)


def test_scores_are_those_of_the_single_functions(folds: EmbeddedFolds) -> None:
    score = score_quantizer(HouseholderQuantizer(16, random_state=3), folds, name="mine", k=50, depth=20)
    quantizer = HouseholderQuantizer(16, random_state=3).fit(X[:700])
    codes = quantizer.encode(X[700:800]), quantizer.encode(X[800:])
    labels = LABELS[700:800], LABELS[800:]
    expected = mean_average_precision(*codes, *labels, n_bits=16, k=50)
    by_embeddings = mean_average_precision(
        *codes, *labels, n_bits=16, k=50, ties="embeddings", query_embeddings=X[700:800], database_embeddings=X[800:]
    )
    assert (score.name, score.n_bits, score.n_bytes) == ("mine", 16, 2)
    assert score.map_expected.value == expected.value
    assert score.map_embeddings.value == by_embeddings.value
    index = BinaryIndex(16)
    index.add(codes[1])
    ids = index.search(codes[0], 20).ids
    np.testing.assert_array_equal(score.neighbors, ids)
    truth = float_neighbors(X[700:800], X[800:], 5)
    assert score.recall.value == neighbor_recall(truth, ids[:, :5]).value
    assert score.quantization_error_l2 == pytest.approx(quantizer.quantization_error(X[700:800]), rel=1e-6)
    assert score.distinct_codes == len({code.tobytes() for code in codes[1]})
    assert min(score.fit_seconds, score.encode_seconds, score.score_seconds) > 0


def test_errors_are_measured_on_the_fold_asked_for(folds: EmbeddedFolds) -> None:
    score = score_quantizer(SignQuantizer(16), folds, error_fold="database")
    quantizer = SignQuantizer(16).fit(X[:700])
    diagnosis = diagnose_codes(quantizer.encode(X[800:]), 16, rotated=quantizer.transform(X[800:]))
    assert score.quantization_error_l1 == pytest.approx(diagnosis.quantization_error_l1)
    assert score.quantization_error_l2 == pytest.approx(diagnosis.quantization_error_l2)
    assert score.quantization_error_l2 != pytest.approx(quantizer.quantization_error(X[700:800]), rel=1e-4)


def test_only_what_is_asked_for_is_scored() -> None:
    score = score_quantizer(SignQuantizer(8), EmbeddedFolds(X[:700], X[700:800], X[800:]))
    assert score.map_expected is score.map_embeddings is score.recall is score.neighbors is None
    values = score.values()
    assert values["recall"] is None
    assert values["quantization_error_l2"] == score.quantization_error_l2


def test_quantizers_get_components_and_scores_the_real_embeddings() -> None:
    reduced = embed_folds(X, LABELS, FOLDS, k=5, n_components=8)
    assert (reduced.train.shape, reduced.queries.shape, reduced.database.shape) == ((700, 8), (100, 8), (997, 8))
    fold = score_quantizer(SignQuantizer(8), reduced, k=50)
    whole = score_quantizer(SignQuantizer(8), embed_folds(X, LABELS, FOLDS, k=5), k=50)
    assert fold.map_embeddings.value == pytest.approx(whole.map_embeddings.value, abs=1e-3)
    real = score_embeddings(reduced, k=50)
    expected = embeddings_mean_average_precision(X[700:800], X[800:], LABELS[700:800], LABELS[800:], k=50)
    assert real.map_expected.value == real.map_embeddings.value == expected.value
    assert (real.n_bits, real.n_bytes, real.recall) == (None, 4 * 64, None)
    np.testing.assert_array_equal(reduced.true_neighbors, float_neighbors(X[700:800], X[800:], 5))


def test_quantizers_are_never_fitted_on_queries_or_database(folds: EmbeddedFolds) -> None:
    changed = X.copy()
    changed[700:] = np.random.default_rng(0).standard_normal(changed[700:].shape)
    quantizers = [SignQuantizer(16), SignQuantizer(16)]
    for quantizer, embeddings in zip(quantizers, (X, changed), strict=True):
        score_quantizer(quantizer, embed_folds(embeddings, LABELS, FOLDS))
    np.testing.assert_array_equal(quantizers[0].projection_, quantizers[1].projection_)


def test_every_registered_quantizer_is_compared(folds: EmbeddedFolds) -> None:
    contenders = default_contenders({"whitening": 0.5}, {"itq": {"n_init": 2}})
    assert [contender.quantizer for contender in contenders] == list(quantizer_names())
    itq = next(contender for contender in contenders if contender.quantizer == "itq")
    assert itq.make(8, 1).get_params()["n_init"] == 2
    assert itq.make(8, 1).get_params()["whitening"] == 0.5
    scores = compare_quantizers(folds, [4, 8], contenders, k=20)
    assert [(score.name, score.n_bits) for score in scores] == [
        (contender.label, n_bits) for n_bits in (4, 8) for contender in contenders
    ]
