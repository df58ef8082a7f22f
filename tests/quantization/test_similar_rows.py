"""Labels at stage two: scatter of similar rows, and the power that is chosen on rows held out."""

from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator

from h2q import mean_average_precision
from h2q.hamming import distances
from h2q.quantization import HouseholderQuantizer, ITQQuantizer, Schedule, SignQuantizer, load_quantizer
from h2q.quantization.similar_rows import (
    POWERS,
    LabeledRows,
    PairedRows,
    average_precisions,
    best_power,
    pair_scatter,
    scatter_power,
    within_class_scatter,
)

DIGITS, LABELS = load_digits(return_X_y=True)
SHORT = Schedule(rounds=4, steps=10, batch_size=32, rate=0.3, polish_iterations=4)


@pytest.fixture(scope="module")
def nuisance() -> np.ndarray:
    """Digits with 8 strong directions that have nothing to do with the class."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(len(DIGITS), 8)) @ generator.normal(size=(8, 64))
    return (DIGITS + 4 * noise + generator.normal(size=DIGITS.shape)).astype(np.float32)


def make(**options: Any) -> HouseholderQuantizer:
    return HouseholderQuantizer(**({"n_bits": 16, "schedule": SHORT, "random_state": 0} | options))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 24))
@settings(max_examples=20, deadline=None)
def test_average_precisions_are_those_of_the_evaluation(seed: int, n: int, n_bits: int) -> None:
    generator = np.random.default_rng(seed)
    codes = np.packbits(generator.random((n + 5, n_bits)) < 0.5, axis=1)
    labels = generator.integers(0, 3, n + 5)
    expected = mean_average_precision(codes[:5], codes[5:], labels[:5], labels[5:], n_bits=n_bits).per_query
    result = average_precisions(distances(codes[:5], codes[5:]), labels[:5, None] == labels[5:])
    np.testing.assert_allclose(np.nan_to_num(result), expected, atol=1e-12)


def test_scatter_is_that_of_plain_loops() -> None:
    rows = DIGITS[:60, 20:24].astype(np.float32)
    total = np.zeros((4, 4))
    for label in range(10):
        members = rows[LABELS[:60] == label].astype(np.float64)
        for row in members:
            total += np.outer(row - members.mean(axis=0), row - members.mean(axis=0))
    expected = total / 60
    np.testing.assert_allclose(within_class_scatter(rows, LABELS[:60]), expected, rtol=1e-9)
    np.testing.assert_allclose(within_class_scatter(rows, np.eye(10, dtype=bool)[LABELS[:60]]), expected, rtol=1e-9)


def test_the_pairs_of_a_class_have_the_scatter_of_the_class() -> None:
    rows = DIGITS[:30, 20:24].astype(np.float32)
    pairs = np.array([(i, j) for i in range(30) for j in range(30)])
    np.testing.assert_allclose(pair_scatter(rows, pairs), within_class_scatter(rows, np.zeros(30, int)), rtol=1e-6)


def test_whitened_rows_vary_alike_within_a_class() -> None:
    rows = DIGITS[:, [20, 21, 34, 35]].astype(np.float32)
    forward, backward = scatter_power(within_class_scatter(rows, LABELS), 1.0)
    whitened = within_class_scatter(rows @ forward, LABELS)
    np.testing.assert_allclose(whitened, whitened[0, 0] * np.eye(4), atol=1e-3 * whitened[0, 0])
    np.testing.assert_allclose(forward @ backward, np.eye(4), atol=1e-5)


def test_a_power_is_chosen_only_beyond_its_standard_error() -> None:
    generator = np.random.default_rng(0)
    plain = generator.random(100)
    noise = generator.normal(size=100)
    noise -= noise.mean()
    assert best_power({0.0: plain, 0.5: plain + 0.02 + noise}) == 0
    assert best_power({0.0: plain, 0.5: plain + 0.2 + noise}) == 0.5


def test_labels_take_away_what_tells_no_class_from_another(nuisance: np.ndarray) -> None:
    train, held_out = slice(0, 1200), slice(1200, None)

    def score(quantizer: Any) -> float:
        codes, items = quantizer.encode(nuisance[held_out]), quantizer.encode(nuisance[train])
        return mean_average_precision(codes, items, LABELS[held_out], LABELS[train], n_bits=16).value

    plain = make().fit(nuisance[train])
    auto = make(whitening="auto").fit(nuisance[train], LABELS[train])
    assert auto.whitening_ in POWERS[1:]
    assert score(auto) > score(plain) + 0.1
    pairs = np.concatenate([np.flatnonzero(LABELS[train] == c)[:100].reshape(-1, 2) for c in range(10)])
    paired = make(whitening="auto").fit(nuisance[train], pairs=pairs)
    assert paired.whitening_ > 0
    assert score(paired) > score(plain) + 0.1


def test_labels_that_tell_nothing_change_nothing(nuisance: np.ndarray) -> None:
    labels = np.random.default_rng(1).integers(0, 10, len(nuisance))
    quantizer = make(whitening="auto").fit(nuisance, labels)
    assert quantizer.whitening_ == 0
    np.testing.assert_array_equal(quantizer.encode(nuisance), make().fit(nuisance).encode(nuisance))


def test_without_labels_auto_is_0(nuisance: np.ndarray) -> None:
    auto, plain = make(whitening="auto").fit(nuisance), make().fit(nuisance)
    np.testing.assert_array_equal(auto.encode(nuisance), plain.encode(nuisance))
    assert auto.whitening_ == 0
    labeled = make().fit(nuisance, LABELS)
    np.testing.assert_array_equal(labeled.encode(nuisance), plain.encode(nuisance))


@pytest.mark.parametrize("n_bits", [16, 64])
@pytest.mark.parametrize("center", [True, False])
def test_files_decoding_and_scores_work_with_it(nuisance: np.ndarray, n_bits: int, center: bool, tmp_path: Any) -> None:
    quantizer = make(n_bits=n_bits, center=center, whitening="auto").fit(nuisance, LABELS)
    assert quantizer.whitening_ > 0
    quantizer.save(tmp_path / "auto.safetensors")
    loaded = load_quantizer(tmp_path / "auto.safetensors")
    assert isinstance(loaded, HouseholderQuantizer)
    assert (loaded.whitening, loaded.whitening_) == ("auto", quantizer.whitening_)
    codes = quantizer.encode(nuisance)
    np.testing.assert_array_equal(loaded.encode(nuisance), codes)
    rows = nuisance if center else nuisance / np.linalg.norm(nuisance, axis=1, keepdims=True)
    error = np.square(quantizer.decode(codes) - rows).sum() / np.square(rows - rows.mean(axis=0)).sum()
    assert error < 1
    queries = quantizer.asymmetric_queries(nuisance[:50])
    signs = 2.0 * np.unpackbits(codes, axis=1)[:, :n_bits] - 1
    estimates = queries.constants[:, None] - queries.weights @ signs.T
    unit = nuisance / np.linalg.norm(nuisance, axis=1, keepdims=True)
    assert np.corrcoef(estimates.ravel(), (1 - unit[:50] @ unit.T).ravel())[0, 1] > 0.2


def test_multi_hot_rows_and_names_give_what_class_ids_give(nuisance: np.ndarray) -> None:
    ids = make(whitening="auto").fit(nuisance, LABELS)
    rows = make(whitening="auto").fit(nuisance, np.eye(10, dtype=int)[LABELS])
    names = make(whitening="auto").fit(nuisance, [f"class {label}" for label in LABELS])
    np.testing.assert_array_equal(ids.encode(nuisance), rows.encode(nuisance))
    np.testing.assert_array_equal(ids.encode(nuisance), names.encode(nuisance))


def test_a_sample_of_the_rows_keeps_their_labels(nuisance: np.ndarray) -> None:
    order = np.argsort(LABELS, kind="stable")
    for known in ({"y": LABELS[order]}, {"pairs": np.array([(i, i + 1) for i in range(0, 1790, 2)])}):
        quantizer = make(whitening="auto", max_samples=900).fit(nuisance[order], **known)
        assert quantizer.whitening_ > 0


def test_rows_held_out_are_not_in_the_scatter() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    labels = np.arange(200) % 4
    held_out = LabeledRows(labels).hold_out(rows, np.random.default_rng(1))
    assert not set(held_out.queries) & set(held_out.items)
    np.testing.assert_allclose(held_out.scatter, within_class_scatter(rows[held_out.items], labels[held_out.items]))
    pairs = np.arange(200).reshape(-1, 2)
    found = PairedRows(pairs).hold_out(rows, np.random.default_rng(1))
    targets = {int(query): found.items[row] for query, row in zip(found.queries, found.relevant, strict=True)}
    assert all(list(items) == [query + 1] for query, items in targets.items())
    known = [pair for pair in pairs.tolist() if pair[0] not in targets]
    np.testing.assert_allclose(found.scatter, pair_scatter(rows, np.array(known)))


def test_metadata_routing_knows_pairs() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        asking = SignQuantizer().set_fit_request(pairs=True)
    assert asking.get_metadata_routing().fit.requests == {"pairs": True}


@pytest.mark.parametrize("kind", [HouseholderQuantizer, ITQQuantizer])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_accepts_the_estimator(kind: Any) -> None:
    options = {"schedule": SHORT} if kind is HouseholderQuantizer else {"max_iter": 3}
    for estimator, check in estimator_checks_generator(kind(whitening="auto", random_state=0, **options)):
        try:
            check(estimator)
        except Exception as error:
            if type(error).__name__ != "SkipTest":
                raise


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        ({"y": LABELS[:100]}, ValueError, "y must have 1797 rows, one an item; got 100"),
        ({"y": np.zeros(1797, int)}, ValueError, "y holds one class only"),
        ({"y": np.arange(1797)}, ValueError, "y holds no two items of the same class"),
        ({"y": LABELS, "pairs": [[0, 1], [1, 2]]}, ValueError, "y and pairs are two ways"),
        ({"pairs": [0, 1]}, ValueError, r"pairs must have shape \(n_pairs, 2\)"),
        ({"pairs": [[0, 1]]}, ValueError, "pairs must be at least two"),
        ({"pairs": [[0, 1797], [1, 2]]}, ValueError, "pairs must be rows of X, from 0 to 1796; got 1797"),
        ({"pairs": [[0, 0], [1, 2]]}, ValueError, "pairs must be of different items"),
        ({"pairs": [[0.5, 1], [1, 2]]}, TypeError, "pairs must be whole numbers"),
    ],
)
def test_bad_labels_are_named(known: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(whitening="auto").fit(DIGITS, **known)


def test_batches_have_no_labels() -> None:
    with pytest.raises(TypeError, match="X must be one array where labels or pairs are given"):
        make(whitening="auto").fit(iter([DIGITS]), LABELS)
