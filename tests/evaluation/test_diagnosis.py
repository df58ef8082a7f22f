"""The diagnosis of codes against plain computations, and its words on codes with known faults."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from h2q.evaluation.diagnosis import diagnose_codes
from h2q.quantization import HouseholderQuantizer, RandomRotationQuantizer, SignQuantizer, pack_bits

DIGITS = load_digits()
X, LABELS = DIGITS.data.astype(np.float32), DIGITS.target


def test_numbers_are_those_of_plain_computations() -> None:
    quantizer = HouseholderQuantizer(24, random_state=0).fit(X)
    x, labels = X[:400], LABELS[:400]
    codes, rotated = quantizer.encode(x), quantizer.transform(x)
    found = diagnose_codes(codes, 24, rotated=rotated, labels=labels)
    bits = np.unpackbits(codes, axis=1)[:, :24].astype(float)
    share = bits.mean(axis=0)
    np.testing.assert_allclose(found.bit_balance, share)
    np.testing.assert_allclose(
        found.bit_entropy, -share * np.log2(share) - (1 - share) * np.log2(1 - share), atol=1e-12
    )
    np.testing.assert_allclose(found.bit_correlation, np.corrcoef(bits.T), atol=1e-9)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(bits.T))
    assert found.effective_bits == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
    buckets = np.unique(codes, axis=0, return_counts=True)[1]
    assert (found.distinct_codes, found.largest_bucket) == (len(buckets), buckets.max())
    np.testing.assert_array_equal(found.bucket_sizes, np.sort(buckets)[::-1])
    hamming = (bits[:, None] != bits[None]).sum(axis=2)
    pairs, same = ~np.eye(400, dtype=bool), labels[:, None] == labels
    np.testing.assert_array_equal(found.distances, np.bincount(hamming[pairs], minlength=25))
    np.testing.assert_array_equal(found.similar_distances, np.bincount(hamming[pairs & same], minlength=25))
    np.testing.assert_array_equal(found.dissimilar_distances, np.bincount(hamming[~same], minlength=25))
    assert found.separation == pytest.approx(roc_auc_score(same[pairs], -hamming[pairs]), abs=1e-9)
    scaled = rotated * np.sqrt(24) / np.linalg.norm(rotated, axis=1, keepdims=True)
    assert found.quantization_error_l2 == pytest.approx(quantizer.quantization_error(x), rel=1e-5)
    assert found.quantization_error_l1 == pytest.approx(np.abs(scaled - np.sign(scaled)).mean(), rel=1e-5)
    assert found.sign_agreement == 1


def test_multi_hot_pairs_are_similar_with_a_label_in_common() -> None:
    generator = np.random.default_rng(0)
    codes = SignQuantizer(16).fit(X).encode(X)[:200]
    tags = generator.random((200, 12)) < 0.1
    found = diagnose_codes(codes, 16, labels=tags)
    common = (tags[:, None] & tags).any(axis=2)
    np.fill_diagonal(common, False)
    assert found.similar_distances.sum() == common.sum()
    assert found.distances.sum() == 200 * 199


def test_many_items_are_sampled_by_the_seed() -> None:
    codes = SignQuantizer(16).fit(X).encode(X)
    first, again, other = (diagnose_codes(codes, 16, labels=LABELS, random_state=seed) for seed in (0, 0, 1))
    assert first.distances.sum() == 1_000 * (len(X) - 1)
    np.testing.assert_array_equal(first.distances, again.distances)
    assert (first.distances != other.distances).any()


def findings(bits: np.ndarray, **options) -> str:
    return " | ".join(diagnose_codes(pack_bits(bits), bits.shape[1], **options).findings)


GOOD = np.random.default_rng(0).random((4_000, 32)) < 0.5


def test_good_codes_have_no_findings() -> None:
    assert findings(GOOD) == ""
    few = GOOD[:40]
    assert "independent" not in findings(few)  # so few items show no more


def test_faults_are_said_in_words() -> None:
    collapsed = GOOD.copy()
    collapsed[: 4_000 * 62 // 100] = GOOD[np.arange(4_000 * 62 // 100) % 10]
    assert "62% of the items share 10 codes: ties decide the ranking" in findings(collapsed)
    assert "all items have the same code: there is no ranking" in findings(np.repeat(GOOD[:1], 50, axis=0))
    bucket = GOOD.copy()
    bucket[:400] = GOOD[0]
    assert "10% of the items have the same code: all of them are tied" in findings(bucket)
    assert "4,000 items have 256 codes, 15.6 items a code: many ties" in findings(GOOD[:, :8])
    constant = GOOD.copy()
    constant[:, [3, 9]] = True
    assert "bits 3, 9 are the same in all items: they carry nothing" in findings(constant)
    skewed = GOOD.copy()
    skewed[:, 5] = np.arange(4_000) < 100
    assert "bit 5 is the same in over 90% of the items: it carries little" in findings(skewed)
    copied = GOOD.copy()
    copied[:, 7] = ~copied[:, 2]
    assert "1 pair of bits is almost copies or opposites (correlation beyond 0.9), bits 2 and 7" in findings(copied)
    repeated = np.repeat(GOOD[:, :8], 4, axis=1)
    assert "the 32 bits vary like 8 independent ones" in findings(repeated)


def test_faults_of_labels_and_embeddings_are_said_in_words() -> None:
    labels = np.random.default_rng(1).integers(0, 10, 4_000)
    said = findings(GOOD, labels=labels)
    assert "a similar pair is nearer than a dissimilar one in 50% of the cases" in said
    coarse = np.repeat(GOOD[:10], 400, axis=0)
    assert "of the pairs that share a code are dissimilar" in findings(coarse, labels=labels)
    assert "are dissimilar" not in findings(coarse, labels=np.repeat(np.arange(10), 400))
    quantizer = RandomRotationQuantizer(32, random_state=0).fit(X)
    codes, rotated = quantizer.encode(X), quantizer.transform(X)
    assert "the L2 quantization error, 0.399, is that of random directions (0.404)" in " ".join(
        diagnose_codes(codes, 32, rotated=rotated).findings
    )
    wrong = " ".join(diagnose_codes(codes, 32, rotated=-rotated).findings)
    assert "100% of the bits are not the signs of the rotated embeddings" in wrong


def test_one_item_has_a_diagnosis() -> None:
    found = diagnose_codes(np.array([[5]], np.uint8), 8, labels=[1])
    assert (found.distinct_codes, found.distances.sum(), found.separation, found.findings) == (1, 0, None, ())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": [1, 2]}, ValueError, "labels must have 4 rows, one an item; got 2"),
        ({"rotated": np.ones((3, 8))}, ValueError, "rotated must have 4 rows, one for each code; got 3"),
        ({"rotated": np.ones((4, 7))}, ValueError, "rotated has 7 features, but 8 were expected"),
        ({"codes": np.zeros((0, 1), np.uint8)}, ValueError, "codes is empty"),
        ({"n_bits": 9}, ValueError, "codes must have shape"),
    ],
)
def test_bad_input_is_named(options, error, message: str) -> None:
    with pytest.raises(error, match=message):
        diagnose_codes(**({"codes": np.zeros((4, 1), np.uint8), "n_bits": 8} | options))
