"""Drift of the data under an index, and the refit that answers it."""

import json
import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q import BinaryIndex, HouseholderQuantizer, RandomRotationQuantizer, RefinedQuantizer, load_quantizer
from h2q.files import read_tensors, write_tensors
from h2q.index import open_index
from h2q.index.drift import THRESHOLDS, measure_drift
from h2q.index.faiss_index import FaissIndex

X, LABELS = load_digits(return_X_y=True)
X = np.asarray(X, np.float32)[np.random.default_rng(0).permutation(len(X))]
LABELS = LABELS[np.random.default_rng(0).permutation(len(LABELS))]
OLD, NEW = X[LABELS < 5], X[LABELS >= 5]
FITTED, HELD_OUT = OLD[:600], OLD[600:]


@pytest.fixture(scope="module")
def quantizer() -> HouseholderQuantizer:
    return HouseholderQuantizer(32, random_state=0).fit(FITTED)


def indexed(quantizer: Any, rows: Any, **options: Any) -> BinaryIndex:
    index = BinaryIndex(quantizer=quantizer, **options)
    index.add(rows)
    return index


def of(drift: Any, name: str) -> Any:
    return next(measure for measure in drift.measures if measure.name == name)


@pytest.mark.parametrize("keep", [False, True])
def test_held_out_rows_are_no_drift_and_other_classes_are(quantizer: HouseholderQuantizer, keep: bool) -> None:
    index = indexed(quantizer, FITTED, keep_embeddings=keep)
    same, other = index.drift(HELD_OUT), index.drift(NEW)
    assert (same.drifted, same.refit) == (False, False)
    assert "No drift" in same.summary
    assert other.drifted
    assert other.refit
    assert of(other, "mean_shift").exceeded
    assert of(other, "bit_balance").exceeded
    assert other.new_error > other.old_error
    assert "Refit: index.refit()" in other.summary
    assert {measure.name for measure in other.measures} == set(THRESHOLDS) - (set() if keep else {"recall_loss"})
    if keep:
        assert other.old_recall > other.new_recall
        assert f"find {10 * other.new_recall:.1f}" in other.summary
    else:
        assert other.old_recall is None
        assert "the index keeps no embeddings" in other.summary
    assert str(other).count("above") == sum(measure.exceeded for measure in other.measures)


def test_statistics_are_those_of_the_definition() -> None:
    quantizer = RandomRotationQuantizer(32, random_state=0).fit(FITTED)
    statistics, z = quantizer.statistics_, quantizer.transform(FITTED)
    np.testing.assert_allclose(statistics.ones, (z > 0).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics.mean, 0, atol=1e-4)
    np.testing.assert_allclose(statistics.variance, FITTED.var(axis=0).sum(), rtol=1e-4)
    np.testing.assert_allclose(statistics.error, quantizer.quantization_error(FITTED), rtol=1e-5)
    shift = np.linalg.norm(NEW.mean(axis=0) - FITTED.mean(axis=0)) / np.sqrt(FITTED.var(axis=0).sum())
    drift = measure_drift(quantizer, NEW)
    np.testing.assert_allclose(of(drift, "mean_shift").value, shift, atol=0.01)
    change = (quantizer.transform(NEW) > 0).mean(axis=0) - (z > 0).mean(axis=0)
    np.testing.assert_allclose(of(drift, "bit_balance").value, np.sqrt(np.mean(change**2)), atol=0.01)


def test_statistics_come_back_from_a_file_and_older_files_are_read(
    tmp_path: Path, quantizer: HouseholderQuantizer
) -> None:
    quantizer.save(tmp_path / "q.safetensors")
    again = load_quantizer(tmp_path / "q.safetensors")
    assert measure_drift(again, NEW) == measure_drift(quantizer, NEW)
    stored = read_tensors(tmp_path / "q.safetensors", "quantizer")
    kept = {name: tensor for name, tensor in stored.tensors.items() if not name.startswith("statistics")}
    metadata = {name: value for name, value in stored.metadata.items() if name != "statistics"}
    write_tensors(tmp_path / "old.safetensors", "quantizer", kept, metadata)
    older = load_quantizer(tmp_path / "old.safetensors")
    assert older.fingerprint() == quantizer.fingerprint()
    with pytest.raises(ValueError, match="an older version of h2q fitted it: give a sample of them as reference"):
        indexed(older, FITTED).drift(NEW)
    assert indexed(older, FITTED).drift(NEW, reference=FITTED).drifted
    keeping = indexed(older, HELD_OUT, keep_embeddings=True)  # compares with what it keeps
    assert (keeping.drift(HELD_OUT[:250]).drifted, keeping.drift(NEW).drifted) == (False, True)


def test_what_cannot_be_compared_is_refused(quantizer: HouseholderQuantizer) -> None:
    index = indexed(quantizer, FITTED)
    with pytest.raises(ValueError, match="new_embeddings must have at least 200 rows other than zeros"):
        index.drift(NEW[:199])
    with pytest.raises(
        ValueError, match="new_embeddings must have 64 features, as the quantizer was fitted on; got 63"
    ):
        index.drift(NEW[:, 1:])
    with pytest.raises(ValueError, match="the index has no quantizer"):
        BinaryIndex(8).drift(NEW)


def test_another_engine_has_drift_and_refuses_to_refit(tmp_path: Path, quantizer: HouseholderQuantizer) -> None:
    with FaissIndex.create(str(tmp_path / "index"), quantizer=quantizer) as index:
        index.add(FITTED)
        assert index.drift(NEW).drifted
        with pytest.raises(ValueError, match="FaissIndex cannot replace the codes of all its items in one step"):
            index.refit()


@pytest.mark.parametrize("strings", [False, True])
def test_refit_keeps_ids_and_metadata_and_refuses_the_old_codes(
    tmp_path: Path, quantizer: HouseholderQuantizer, strings: bool
) -> None:
    ids: Any = [f"digit-{row:03}" for row in range(300)] if strings else np.arange(300) * 7
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    for part in (slice(0, 200), slice(200, 300)):
        index.add(X[part], ids[part], {"label": LABELS[part]})
        index.save(tmp_path / "index")
    index.remove([ids[5], ids[250]])
    living = np.delete(np.arange(300), [5, 250])
    index.refit(HouseholderQuantizer(16, random_state=1))
    index.save()
    with open_index(tmp_path / "index") as reopened:
        assert (reopened.n_bits, reopened.quantizer.statistics_.n_fitted) == (16, 298)
        assert reopened.quantizer.fingerprint() == index.quantizer.fingerprint() != quantizer.fingerprint()
        wanted = [ids[row] for row in living]
        np.testing.assert_array_equal(reopened.codes(wanted), reopened.quantizer.encode(X[living]))
        assert reopened.metadata(wanted)["label"].to_pylist() == LABELS[living].tolist()
        assert reopened.search(X[:3], 1, rerank=20).ids.ravel().tolist() == [ids[0], ids[1], ids[2]]
        with pytest.raises(ValueError, match="items were encoded by another quantizer"):
            reopened.add(quantizer.encode_items(X[:2]), ids=["a", "b"] if strings else [1, 2])
        with pytest.raises(ValueError, match="quantizer is not that of this index"):
            reopened.use_quantizer(quantizer)


def test_refit_without_kept_embeddings_takes_them_by_id(quantizer: HouseholderQuantizer) -> None:
    index = BinaryIndex(quantizer=quantizer)
    index.add(X[:300], ids=np.arange(300)[::-1])
    codes = index.codes(np.arange(300))
    with pytest.raises(ValueError, match=r"embeddings are missing: .* none of its 300 items. Give embeddings, a row"):
        index.refit()
    with pytest.raises(ValueError, match="got 299 rows for 300 items and 299 ids"):
        index.refit(embeddings=X[:299], ids=np.arange(299))
    with pytest.raises(ValueError, match="not in the index"):
        index.refit(embeddings=X[:300], ids=np.arange(1, 301))
    with pytest.raises(ValueError, match="features"):
        index.refit(quantizer, embeddings=X[:300, 1:])
    np.testing.assert_array_equal(index.codes(np.arange(300)), codes)
    refined = RefinedQuantizer(5, random_state=0).fit(NEW)  # another number of bits, and scalars
    index.refit(refined, embeddings=X[:300], ids=np.arange(300)[::-1])
    np.testing.assert_array_equal(index.codes(np.arange(300)[::-1]), refined.encode(X[:300]))
    index.refit(embeddings=X[:300][::-1])  # in the order of the ids
    np.testing.assert_array_equal(index.codes(np.arange(300)[::-1]), index.quantizer.encode(X[:300]))
    keeping = indexed(quantizer, X[:300], keep_embeddings=True)
    with pytest.raises(ValueError, match="embeddings must be left out"):
        keeping.refit(embeddings=X[:300])


def test_changes_of_two_quantizers_are_not_merged(tmp_path: Path, quantizer: HouseholderQuantizer) -> None:
    indexed(quantizer, X[:200], keep_embeddings=True).save(tmp_path / "index")
    first, second, third = (BinaryIndex.open(tmp_path / "index") for _ in range(3))
    first.refit(RandomRotationQuantizer(32, random_state=0))
    first.save()
    second.add(X[200:210])
    with pytest.raises(FileExistsError, match="their codes are of two quantizers"):
        second.save()
    third.refresh()
    assert third.quantizer.fingerprint() == first.quantizer.fingerprint()


def test_a_first_quantizer_is_not_merged_with_codes_of_none(tmp_path: Path, quantizer: HouseholderQuantizer) -> None:
    codes = quantizer.encode(X[:20])
    with BinaryIndex(32) as index:
        index.add(codes)
        index.save(tmp_path / "index")
    first, second = (BinaryIndex.open(tmp_path / "index") for _ in range(2))
    first.refit(RandomRotationQuantizer(16, random_state=0), embeddings=X[:20])
    second.add(codes, ids=np.arange(100, 120))
    second.save()
    with pytest.raises(FileExistsError, match="their codes are of two quantizers"):
        first.save()
    with BinaryIndex.open(tmp_path / "index") as index:
        np.testing.assert_array_equal(index.codes(np.arange(100, 120)), codes)


def _refit(folder: Path) -> None:
    index = BinaryIndex.open(folder)
    index.refit(RandomRotationQuantizer(32, random_state=os.getpid()))
    index.save()


def test_killed_while_refitting_the_index_is_the_old_or_the_new(
    tmp_path: Path, quantizer: HouseholderQuantizer
) -> None:
    indexed(quantizer, X, keep_embeddings=True).save(tmp_path / "index")
    context, moments = multiprocessing.get_context("fork"), np.random.default_rng(0)
    for _ in range(4 * int(os.environ.get("H2Q_FAULTS", "1"))):
        before = len(list((tmp_path / "index").glob("segment-*")))
        child = context.Process(target=_refit, args=(tmp_path / "index",))
        child.start()
        while child.is_alive() and len(list((tmp_path / "index").glob("*segment-*"))) <= before:
            time.sleep(0.001)
        time.sleep(moments.random() * 0.02)
        with suppress(ProcessLookupError):  # it may be done
            os.kill(child.pid, signal.SIGKILL)
        child.join()
        index = BinaryIndex.open(tmp_path / "index")
        np.testing.assert_array_equal(index.codes(np.arange(len(X))), index.quantizer.encode(X))


def test_the_command_says_it_in_words_and_in_json(
    tmp_path: Path, quantizer: HouseholderQuantizer, capsys: pytest.CaptureFixture[str]
) -> None:
    from h2q.cli.drift import drift

    indexed(quantizer, FITTED, keep_embeddings=True).save(tmp_path / "index")
    np.save(tmp_path / "new.npy", NEW)
    drift(str(tmp_path / "index"), str(tmp_path / "new.npy"))
    printed = capsys.readouterr().out
    assert "mean shift" in printed
    assert "Refit" in printed
    drift(str(tmp_path / "index"), str(tmp_path / "new.npy"), as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["drifted"]
    assert [measure["name"] for measure in document["measures"]] == list(THRESHOLDS)
