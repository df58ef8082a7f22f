"""``h2q compare`` and ``h2q info``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import h2q
from h2q.evaluation import float_neighbors

FAST = "sign,random,itq,h2q,refined"


@pytest.fixture(autouse=True)
def in_folder(x_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(x_file.parent)


def test_compare_scores_every_method_on_held_out_rows(document: Any) -> None:
    result = document("compare", "x.npy", "--bits", "32,16", "--queries", 200, "--seed", 1, "--methods", FAST)
    assert [(score["item_bits"], score["method"]) for score in result["scores"]] == [
        (bits, method) for bits in (16, 32) for method in FAST.split(",")
    ]
    scores = {(score["method"], score["item_bits"]): score for score in result["scores"]}
    for bits in (16, 32):
        errors = [scores[name, bits]["quantization_error_l2"] for name in ("h2q", "random", "sign")]
        assert errors == sorted(errors)
        assert scores["h2q", bits]["recall"] > scores["sign", bits]["recall"]
        for name in ("sign", "h2q", "refined"):
            score = scores[name, bits]
            assert score["recall"] < score["recall_asymmetric"] < score["recall_reranked"]
            assert score["n_bytes"] == bits // 8
    assert scores["refined", 32]["n_bits"] == 24
    assert scores["refined", 32]["recall_asymmetric"] > scores["sign", 32]["recall_asymmetric"]
    assert result["items"] + result["queries"] == len(np.load("x.npy"))


def test_compare_gives_what_the_library_gives(document: Any) -> None:
    (score,) = [
        score
        for score in document("compare", "x.npy", "--bits", 24, "--queries", 100, "-k", 5, "--methods", "h2q")["scores"]
        if score["method"] == "h2q"
    ]
    X = np.load("x.npy")
    held_out = np.zeros(len(X), np.bool_)
    held_out[np.random.default_rng(0).choice(len(X), len(X), replace=False)[:100]] = True
    index = h2q.BinaryIndex(quantizer=h2q.HouseholderQuantizer(24, random_state=0).fit(X[~held_out]))
    index.add(X[~held_out])
    answer = index.search(X[held_out], 5, scoring="hamming").ids
    truth = float_neighbors(X[held_out], X[~held_out], 5)
    recall = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(truth.tolist(), answer.tolist(), strict=True)])
    assert score["recall"] == pytest.approx(recall)


def test_compare_is_deterministic(document: Any) -> None:
    def scores() -> list[dict[str, Any]]:
        found = document("compare", "x.npy", "--bits", "16", "--max-samples", 500, "--methods", FAST)["scores"]
        return [{key: value for key, value in score.items() if "seconds" not in key} for score in found]

    assert scores() == scores()


def test_compare_prints_a_table(run: Any) -> None:
    result = run("compare", "x.npy", "--bits", "16", "--methods", FAST)
    for label in ("sign", "random rotation", "ITQ", "H²Q", "refined H²Q", "Hamming", "asymmetric", "re-ranked"):
        assert f" {label} " in result.stdout
    table, verdict, protocol, advice = result.stdout.split("\n\n")
    assert max(map(len, table.splitlines())) <= 80
    assert "By estimated distances (asymmetric): 16 bits: " in verdict
    assert "By Hamming distance: 16 bits: " in verdict
    assert "recall@10 in percent" in protocol
    assert "ITQ is capped: 5 starts of 200 iterations at 16 bits" in protocol
    assert "h2q tune --labels" in advice


@pytest.mark.parametrize(("n_features", "lengths"), [(61, [16, 32, 61]), (40, [16, 32, 40]), (12, [12])])
def test_default_lengths_go_up_to_the_dimensions(n_features: int, lengths: list[int], document: Any) -> None:
    np.save("narrow.npy", np.load("x.npy")[:400, :n_features])
    result = document("compare", "narrow.npy", "--methods", "sign,refined")
    assert list(dict.fromkeys(score["item_bits"] for score in result["scores"])) == lengths


def test_compare_says_who_leads_beyond_noise(document: Any) -> None:
    result = document("compare", "x.npy", "--bits", "16,32", "--queries", 300, "--methods", "sign,h2q")
    assert [score["method"] for score in result["scores"]] == ["sign", "h2q"] * 2
    assert result["leaders"] == {"16": ["H²Q"], "32": ["H²Q"]}  # by 5 points or more of 300 queries
    assert list(result["leaders_asymmetric"]) == ["16", "32"]


def test_compare_caps_the_iterations_of_itq(document: Any) -> None:
    errors = [
        document("compare", "x.npy", "--bits", 16, "--methods", "itq", "--max-iter", cap)["scores"][0][
            "quantization_error_l2"
        ]
        for cap in (1, 200)
    ]
    assert errors[0] > errors[1] + 0.01


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["missing.npy"], "there is no file missing.npy"),
        (1, ["x.npy", "--bits", "128"], "--bits must be at most the dimensions of x.npy, 61; got 128"),
        (1, ["x.npy", "--queries", "1795"], "1795 queries leave 2 of 1797 rows of x.npy to search, and -k is 10"),
        (1, ["codes.npy"], "codes.npy must hold floating-point embeddings; got a uint8 array"),
        (2, ["x.npy", "--bits", "16;32"], "--bits: expected code lengths from 1 to 65536 with commas between"),
        (2, ["x.npy", "--methods", "sign,pq"], "--methods: expected names of sign, random, itq, h2q, refined"),
        (2, ["x.npy", "--metric", "hamming"], "'hamming' is not one of 'cosine', 'euclidean'"),
        (2, [], "Missing argument 'EMBEDDINGS'"),
    ],
)
def test_compare_refuses(exit_code: int, arguments: list[str], message: str, fails: Any) -> None:
    np.save("codes.npy", np.zeros((2000, 4), np.uint8))
    assert message in fails(exit_code, "compare", *arguments)


def test_info_on_everything_of_ours(document: Any, run: Any, quantizer_file: Path, index_folder: Path) -> None:
    answer = document("info", quantizer_file)
    assert (answer["kind"], answer["method"], answer["bits"]) == ("quantizer", "HouseholderQuantizer", 32)
    answer = document("info", index_folder)
    assert (answer["kind"], answer["items"], answer["keep_embeddings"]) == ("index", 1797, True)
    run("encode", "x.npy", "-q", quantizer_file, "-o", "codes.npy")
    answer = document("info", "codes.npy")
    assert (answer["kind"], answer["items"], answer["bits"]) == ("codes", 1797, "up to 32")
    answer = document("info", "x.npy")
    assert (answer["kind"], answer["items"], answer["dimensions"]) == ("embeddings", 1797, 61)
    run("search", index_folder, "x.npy", "-o", "found.npz")
    assert [array["name"] for array in document("info", "found.npz")["arrays"]] == ["ids", "distances"]


def test_info_on_what_others_wrote(document: Any, run: Any) -> None:
    save_file({"vectors": np.load("x.npy")}, "x.safetensors")
    assert document("info", "x.safetensors")["arrays"] == [{"name": "vectors", "shape": [1797, 61], "type": "F32"}]
    assert "vectors 1,797 x 61 F32" in run("info", "x.safetensors").stdout


def test_info_tells_people(run: Any, quantizer_file: Path, index_folder: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in run("info", quantizer_file).stdout.splitlines())
    assert lines["method"] == "HouseholderQuantizer"
    assert "objective=l2" in lines["parameters"]
    assert lines["bytes"].endswith("kB")
    assert "HouseholderQuantizer(n_bits=32, random_state=0)" in run("info", index_folder).stdout


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["missing"], "there is no file or folder missing"),
        (1, ["."], "is no folder of h2q: neither an index nor a hasher"),
        (1, ["letter.txt"], "letter.txt is of an unknown kind; expected one of .npy"),
        (1, ["cut.safetensors"], "cut.safetensors"),
        (2, [], "Missing argument"),
    ],
)
def test_info_refuses(exit_code: int, arguments: list[str], message: str, fails: Any, quantizer_file: Path) -> None:
    Path("letter.txt").write_text("mine")
    Path("cut.safetensors").write_bytes(quantizer_file.read_bytes()[:500])
    assert message in fails(exit_code, "info", *arguments)
