"""Scores and diagnoses from the shell are those of the library."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.evaluation import diagnose_codes, embeddings_mean_average_precision, evaluate_codes
from h2q.quantization import HouseholderQuantizer, load_quantizer

X, LABELS = load_digits().data.astype(np.float32), load_digits().target
N = 300


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate")
    quantizer = HouseholderQuantizer(12, random_state=0).fit(X)
    quantizer.save(folder / "q.safetensors")
    codes = quantizer.encode(X)
    tags = np.eye(10, dtype=bool)[LABELS]
    np.savez(folder / "queries.npz", codes=codes[:N], embeddings=X[:N], labels=LABELS[:N], tags=tags[:N])
    np.savez(folder / "items.npz", codes=codes[N:], embeddings=X[N:], labels=LABELS[N:], tags=tags[N:])
    np.save(folder / "codes.npy", codes)
    np.save(folder / "x.npy", X)
    np.save(folder / "labels.npy", LABELS)
    return folder


@pytest.fixture(autouse=True)
def _there(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)


CODES = ("queries.npz:codes", "items.npz:codes")
LABEL_OPTIONS = ("--query-labels", "queries.npz:labels", "--database-labels", "items.npz:labels")
EMBEDDINGS = ("--query-embeddings", "queries.npz:embeddings", "--database-embeddings", "items.npz:embeddings")


@pytest.mark.parametrize("ties", ["expected", "embeddings", "row"])
def test_scores_are_those_of_the_library(document, ties: str) -> None:
    options = ("--bits", 12, "-k", "50,all", "--radius", "2", "--ties", ties, "--divisor", "relevant", "--seed", 3)
    answer = document("evaluate", *CODES, *LABEL_OPTIONS, *EMBEDDINGS, *options)
    with np.load("queries.npz") as first, np.load("items.npz") as second:
        queries, items = dict(first), dict(second)
    labels = queries["labels"], items["labels"]
    embeddings = {"query_embeddings": queries["embeddings"], "database_embeddings": items["embeddings"]}
    expected = evaluate_codes(
        queries["codes"], items["codes"], *labels, n_bits=12, ks=[50, None], radii=[2], ties=ties, divisor="relevant",
        **(embeddings if ties == "embeddings" else {}),
    )  # fmt: skip
    assert (answer["queries"], answer["items"], answer["bits"], answer["ties"]) == (N, len(X) - N, 12, ties)
    cuts = [expected.at_k[50], expected.at_k[None], expected.within_radius[2]]
    for row, cut, where in zip(answer["scores"], cuts, [(50, None), (None, None), (None, 2)], strict=False):
        assert (row["what"], row["k"], row["radius"]) == ("codes", *where)
        for name in ("mean_average_precision", "precision", "recall"):
            result = getattr(cut, name)
            assert row[name]["value"] == pytest.approx(result.value, abs=1e-12)
            assert row[name]["interval"] == pytest.approx(list(result.confidence_interval(random_state=3)), abs=1e-12)
    assert answer["scores"][0]["ndcg"]["value"] == pytest.approx(expected.at_k[50].ndcg.value, abs=1e-12)
    assert answer["scores"][2]["ndcg"] is None
    by_embeddings = [
        embeddings_mean_average_precision(queries["embeddings"], items["embeddings"], *labels, k=k, divisor="relevant")
        for k in (50, None)
    ]
    last = [(row["what"], row["mean_average_precision"]["value"]) for row in answer["scores"][3:]]
    assert last == [("embeddings", pytest.approx(result.value, abs=1e-12)) for result in by_embeddings]


def test_multi_hot_labels_of_one_class_are_class_ids(document) -> None:
    tags = ("--query-labels", "queries.npz:tags", "--database-labels", "items.npz:tags")
    by_tags, by_class = (document("evaluate", *CODES, *labels)["scores"] for labels in (tags, LABEL_OPTIONS))
    for one, other in zip(by_tags, by_class, strict=True):
        assert one["mean_average_precision"]["value"] == pytest.approx(other["mean_average_precision"]["value"])


def test_the_table_is_for_people(run) -> None:
    shown = run("evaluate", *CODES, *LABEL_OPTIONS, "-k", "50,all", "--radius", "1").stdout
    lines = [line.split() for line in shown.splitlines() if line.strip()]
    assert lines[0] == ["counted", "mAP", "precision", "recall", "nDCG"]
    assert [" ".join(line[:2]) for line in lines[2:5]] == ["first 50", "all items", "within 1"]
    assert "300 queries, 1,497 items of 16 bits" in shown
    assert "Ties: expected; Divisor: retrieved; queries without relevant items: zero" in shown
    alone = run("evaluate", "queries.npz:embeddings", "items.npz:embeddings", *LABEL_OPTIONS).stdout
    assert alone.split()[:2] == ["counted", "mAP"]
    assert "all items, embeddings" in alone


def test_queries_that_are_all_skipped_have_no_score(run, document, tmp_path: Path) -> None:
    np.save(tmp_path / "other.npy", np.full(N, 77))
    labels = ("--query-labels", tmp_path / "other.npy", "--database-labels", "items.npz:labels")
    answer = document("evaluate", *CODES, *labels, "--empty", "skip")
    assert answer["scores"][0]["mean_average_precision"] == {"value": None, "interval": [None, None]}
    assert "none" in run("evaluate", *CODES, *labels, "--empty", "skip").stdout


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (2, (*CODES, *LABEL_OPTIONS, "-k", "0"), "expected whole numbers from 1 or all, with commas between; got '0'"),
        (2, (*CODES, *LABEL_OPTIONS, "--radius", "x"), "expected whole numbers from 0, with commas between; got 'x'"),
        (
            2,
            (*CODES, *LABEL_OPTIONS, "--ties", "embeddings"),
            "embeddings needs --query-embeddings and --database-embeddings",
        ),
        (2, (*CODES, *LABEL_OPTIONS, *EMBEDDINGS[:2]), "give the embeddings of both, queries and items"),
        (2, (*CODES, *LABEL_OPTIONS, "--ties", "random"), "random"),
        (2, (*CODES, *LABEL_OPTIONS[:2]), "--database-labels"),
        (1, (CODES[0], "items.npz:embeddings", *LABEL_OPTIONS), "must both be codes (uint8) or both embeddings"),
        (
            2,
            ("queries.npz:embeddings", "items.npz:embeddings", *LABEL_OPTIONS, "--bits", "8"),
            "it is for codes, and queries.npz:embeddings holds embeddings",
        ),
        (1, (*CODES, *LABEL_OPTIONS, "--bits", "7"), "query_codes must have shape (n, 1)"),
        (1, (*CODES, LABEL_OPTIONS[0], LABEL_OPTIONS[3], *LABEL_OPTIONS[2:]), "query_labels must have 300 rows"),
        (1, (*CODES, LABEL_OPTIONS[0], "no.npy", *LABEL_OPTIONS[2:]), "there is no file no.npy"),
        (1, (*CODES, LABEL_OPTIONS[0], "queries.npz:codes", *LABEL_OPTIONS[2:]), "queries.npz:codes"),
    ],
)
def test_mistakes_are_one_line(fails, exit_code: int, arguments: tuple, message: str) -> None:
    assert message in fails(exit_code, "evaluate", *arguments)


def test_inspect_says_what_the_library_finds(run, document) -> None:
    options = ("codes.npy", "--embeddings", "x.npy", "-q", "q.safetensors", "--labels", "labels.npy")
    answer = document("inspect", *options)
    rotated = load_quantizer(Path("q.safetensors")).transform(X)
    expected = diagnose_codes(np.load("codes.npy"), 12, rotated=rotated, labels=LABELS)
    assert answer["findings"] == list(expected.findings)
    assert answer["distinct_codes"] == expected.distinct_codes
    assert answer["largest_buckets"] == expected.bucket_sizes[:10].tolist()
    assert answer["similar_distances"] == expected.similar_distances.tolist()
    assert answer["quantization_error_l2"] == pytest.approx(expected.quantization_error_l2)
    shown = run("inspect", *options).stdout
    for text in (
        f"distinct codes       {expected.distinct_codes:,}",
        f"L2 {expected.quantization_error_l2:.4f}",
        f"a similar pair is nearer in {100 * expected.separation:.1f}% of the cases",
        *expected.findings,
    ):
        assert text in shown


def test_inspect_without_more_than_codes(run, tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.random.default_rng(0).integers(0, 256, (3_000, 8), np.uint8))
    shown = run("inspect", tmp_path / "good.npy").stdout
    assert shown.rstrip().endswith("nothing stands out")
    assert "quantization error" not in shown
    np.save(tmp_path / "same.npy", np.zeros((50, 8), np.uint8))
    assert "all items have the same code: there is no ranking" in run("inspect", tmp_path / "same.npy").stdout


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ("x.npy",), "x.npy holds float32; expected packed codes (uint8)"),
        (2, ("codes.npy", "--embeddings", "x.npy"), "needs both, --embeddings and --quantizer"),
        (1, ("codes.npy", "--labels", "queries.npz:labels"), "labels must have 1797 rows"),
        (1, ("codes.npy", "--bits", "40"), "codes must have shape (n, 5)"),
    ],
)
def test_mistakes_of_inspect_are_one_line(fails, exit_code: int, arguments: tuple, message: str) -> None:
    assert message in fails(exit_code, "inspect", *arguments)
