"""``h2q fit`` and ``h2q encode``: the same as the library, and what they say to what is wrong."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import h2q
from h2q.files import StoredArray, write_npy

METHODS = {
    "h2q": h2q.HouseholderQuantizer,
    "itq": h2q.ITQQuantizer,
    "random": h2q.RandomRotationQuantizer,
    "sign": h2q.SignQuantizer,
}


@pytest.mark.parametrize("method", METHODS)
def test_fit_is_what_the_library_does(method: str, document: Any, x_file: Path) -> None:
    output = x_file.with_name("q.safetensors")
    result = document("fit", x_file, "-o", output, "--method", method, "--bits", 20, "--seed", 3, "--held-out", 0)
    X = np.load(x_file)
    expected = METHODS[method](20, random_state=3).fit(X)
    np.testing.assert_array_equal(h2q.load_quantizer(output).encode(X), expected.encode(X))
    assert result["quantization_error"] == pytest.approx(expected.quantization_error(X), rel=1e-5)
    assert (result["bits"], result["dimensions"], result["rows"]) == (20, X.shape[1], len(X))


def test_the_error_of_rows_held_out_is_that_of_rows_not_fitted(document: Any, x_file: Path) -> None:
    output, X = x_file.with_name("q.safetensors"), np.load(x_file)
    result = document("fit", x_file, "-o", output, "--bits", 40, "--method", "itq", "--held-out", 900)
    assert (result["rows"], result["held_out_rows"]) == (len(X) - 900, 900)
    assert result["held_out_error"] > result["quantization_error"] + 0.002
    order = np.random.default_rng(0).permutation(len(X))
    expected = h2q.ITQQuantizer(40, random_state=0).fit(X[np.sort(order[900:])])
    assert h2q.load_quantizer(output).fingerprint() == expected.fingerprint()
    assert result["held_out_error"] == pytest.approx(expected.quantization_error(X[order[:900]]), rel=1e-5)


def test_refined_codes_by_bytes(document: Any, x_file: Path) -> None:
    output, codes, X = x_file.with_name("q.safetensors"), x_file.with_name("codes.npy"), np.load(x_file)
    result = document("fit", x_file, "-o", output, "--method", "refined", "--bytes", 5)
    assert (result["bits"], result["method"]) == (32, "refined")
    assert document("fit", x_file, "-o", output, "--method", "refined", "--bits", 40)["bits"] == 32
    assert document("encode", x_file, "-q", output, "-o", codes)["bits"] == 32
    np.testing.assert_array_equal(np.load(codes), h2q.load_quantizer(output).encode(X))


def test_nested_codes_and_their_prefixes(run: Any, document: Any, x_file: Path) -> None:
    output, X = x_file.with_name("q.safetensors"), np.load(x_file)
    options = ["--method", "nested", "--lengths", "8,24", "--steps", 20, "--held-out", 0]
    printed = run("fit", x_file, "-o", output, *options).stdout
    assert "prefixes that are codes, too: 8, 24 bits (h2q search --bits)" in printed
    expected = h2q.NestedQuantizer(lengths=(8, 24), steps=20, random_state=0).fit(X)
    np.testing.assert_array_equal(h2q.load_quantizer(output).encode(X), expected.encode(X))
    index, queries = x_file.with_name("index"), x_file.with_name("queries.npy")
    np.save(queries, X[:5])
    document("index", "build", x_file, "-q", output, "-o", index)
    result = document("search", index, queries, "--bits", 8, "--scoring", "hamming")
    with h2q.open_index(index) as opened:
        assert result["ids"] == opened.search(X[:5], scoring="hamming", n_bits=8).ids.tolist()


def test_fit_options_reach_the_quantizer(document: Any, x_file: Path) -> None:
    output = x_file.with_name("q.safetensors")
    document("fit", x_file, "-o", output, "--no-center", "--whitening", 0.5, "--objective", "l1", "--bits", 8)
    quantizer = h2q.load_quantizer(output)
    assert (quantizer.center, quantizer.whitening, quantizer.objective) == (False, 0.5, "l1")
    document("fit", x_file, "-o", output, "--schedule", "constant", "--max-samples", 200, "--bits", 8)
    quantizer = h2q.load_quantizer(output)
    assert (quantizer.schedule, quantizer.max_samples) == ("constant", 200)


def test_the_same_seed_gives_the_same_bytes(document: Any, x_file: Path) -> None:
    files = [x_file.with_name(f"{name}.safetensors") for name in "ab"]
    for file in files:
        document("fit", x_file, "-o", file, "--bits", 24)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_fit_tells_people(run: Any, x_file: Path) -> None:
    result = run("fit", x_file, "-o", x_file.with_name("q.safetensors"), "--bits", 32)
    assert "H²Q: 61 dimensions to 32 bits, fitted on 1,618 rows" in result.stdout
    assert re.search(r"quantization error 0\.\d+ on the rows fitted, 0\.\d+ on 179 rows held out", result.stdout)
    assert "q.safetensors" in result.stdout


def test_parquet_in_chunks(document: Any, x_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    X = np.load(x_file)
    parquet = x_file.with_suffix(".parquet")
    pq.write_table(pa.table({"text": ["a"] * len(X), "vector": list(X)}), parquet)
    monkeypatch.setattr(StoredArray, "chunk_bytes", 100 * 4 * X.shape[1])
    output, codes = x_file.with_name("q.safetensors"), x_file.with_name("codes.npy")
    document("fit", parquet, "-o", output, "--bits", 32)
    result = document("encode", f"{parquet}:vector", "-q", output, "-o", codes)
    np.testing.assert_array_equal(np.load(codes), h2q.load_quantizer(output).encode(X))
    assert (result["items"], result["bits"]) == (len(X), 32)


def test_encode_is_what_the_library_does(run: Any, x_file: Path, quantizer_file: Path) -> None:
    codes = x_file.with_name("codes.npy")
    result = run("encode", x_file, "-q", quantizer_file, "-o", codes)
    assert "1,797 embeddings to codes of 32 bits" in result.stdout
    assert "61 times smaller" in result.stdout
    np.testing.assert_array_equal(np.load(codes), h2q.load_quantizer(quantizer_file).encode(np.load(x_file)))


def test_encode_replaces_a_file_but_keeps_it_when_it_fails(
    run: Any, fails: Any, x_file: Path, quantizer_file: Path
) -> None:
    codes = x_file.with_name("codes.npy")
    assert run("encode", x_file, "-q", quantizer_file, "-o", codes).exit_code == 0
    before = codes.read_bytes()
    X = np.load(x_file)
    X[1000, 0] = np.inf
    np.save(x_file.with_name("broken.npy"), X)
    message = fails(1, "encode", x_file.with_name("broken.npy"), "-q", quantizer_file, "-o", codes)
    assert "broken.npy contains infinity (inf) in 1 of" in message
    assert "first: row 1000" in message
    assert codes.read_bytes() == before
    assert not list(codes.parent.glob(".*"))


def test_a_row_of_zeros_without_a_mean(run: Any, fails: Any, x_file: Path) -> None:
    quantizer, X = x_file.with_name("q.safetensors"), np.load(x_file)
    assert run("fit", x_file, "-o", quantizer, "--no-center", "--bits", 8).exit_code == 0
    X[5] = 0
    np.save(x_file.with_name("zero.npy"), X)
    message = fails(1, "encode", x_file.with_name("zero.npy"), "-q", quantizer, "-o", x_file.with_name("c.npy"))
    assert "zero.npy" in message
    assert "all-zero row(s) (first: row 5)" in message


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["missing.npy", "-o", "q.safetensors"], "there is no file missing.npy"),
        (1, ["x.npy", "-o", "q.safetensors", "--bits", "100"], "x.npy: --bits must be at most the number of features"),
        (1, ["codes.npy", "-o", "q.safetensors"], "codes.npy: X must hold floating-point embeddings; got a uint8"),
        (1, ["foreign.npy", "-o", "q.safetensors"], "foreign.npy is truncated or no NumPy file"),
        (1, ["nan.npy", "-o", "q.safetensors"], "nan.npy: X contains NaN in 1 of 1797 rows (first: row 7)"),
        (2, ["x.npy"], "Missing option '--output' / '-o'"),
        (
            2,
            ["x.npy", "-o", "q.bin"],
            "Invalid value for --output: expected a name that ends in .safetensors; got q.bin",
        ),
        (2, ["x.npy", "-o", "no/q.safetensors"], "Invalid value for --output: the folder no does not exist"),
        (2, ["x.npy", "-o", "q.safetensors", "--bits", "3.5"], "got '3.5'"),
        (2, ["x.npy", "-o", "x.npy/q.safetensors"], "--output: x.npy is a file, not a folder to write to"),
        (2, ["x.npy", "-o", "q.safetensors", "--bits", "0"], "Invalid value for '--bits'"),
        (2, ["x.npy", "-o", "q.safetensors", "--method", "pca"], "--method: expected one of sign, random, itq, h2q"),
        (2, ["x.npy", "-o", "q.safetensors", "--objective", "l3"], "--objective: expected one of l2, l1, min_entry"),
        (
            2,
            ["x.npy", "-o", "q.safetensors", "--method", "itq", "--objective", "l2"],
            "Invalid value for --objective: only --method h2q takes it; the method is itq",
        ),
        (
            2,
            ["x.npy", "-o", "q.safetensors", "--method", "sign", "--n-init", "3"],
            "--n-init: only --method itq or h2q takes it; the method is sign",
        ),
        (
            2,
            ["x.npy", "-o", "q.safetensors", "--method", "refined", "--no-center"],
            "--no-center: only --method sign or random or itq or h2q or nested takes it; the method is refined",
        ),
        (
            2,
            ["x.npy", "-o", "q.safetensors", "--steps", "5"],
            "--steps: only --method nested takes it; the method is h2q",
        ),
        (
            2,
            ["x.npy", "-o", "q.safetensors", "--method", "nested", "--lengths", "8,x"],
            "--lengths: expected code lengths from 1 to 65536 with commas between",
        ),
        (
            1,
            ["x.npy", "-o", "q.safetensors", "--method", "nested", "--lengths", "8,16", "--bits", "32"],
            "--bits 32 must be the last of the lengths, 16; leave one out",
        ),
        (2, ["x.npy", "-o", "q.safetensors", "--bits", "8", "--bytes", "2"], "--bytes: --bits and --bytes are two"),
        (2, ["x.npy", "-o", "q.safetensors", "--held-out", "1797"], "--held-out: x.npy has 1797 rows; got 1797"),
        (
            2,
            ["x.npy", "-o", "q.safetensors", "--whitening", "2"],
            "--whitening: expected a number from 0 to 1, or auto; got '2'",
        ),
        (2, ["x.safetensors", "-o", "x.safetensors"], "x.safetensors is also an input; give another name"),
    ],
)
def test_fit_refuses(
    exit_code: int, arguments: list[str], message: str, fails: Any, x_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(x_file.parent)
    X = np.load(x_file)
    Path("x.safetensors").write_bytes(b"")
    np.save("codes.npy", np.zeros((10, 4), np.uint8))
    Path("foreign.npy").write_text("neither this nor that")
    X[7] = np.nan
    np.save("nan.npy", X)
    assert message in fails(exit_code, "fit", *arguments)
    assert not Path("q.safetensors").exists()


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["x.npy", "-q", "missing.safetensors", "-o", "c.npy"], "missing.safetensors: No such file or directory"),
        (1, ["x.npy", "-q", "x.npy", "-o", "c.npy"], "x.npy is truncated or no safetensors file"),
        (1, ["narrow.npy", "-q", "quantizer.safetensors", "-o", "c.npy"], "narrow.npy has 10 features, but 61 were"),
        (1, ["empty.npy", "-q", "quantizer.safetensors", "-o", "c.npy"], "empty.npy is empty"),
        (2, ["x.npy", "-o", "c.npy"], "Missing option '--quantizer' / '-q'"),
        (2, ["x.npy", "-q", "quantizer.safetensors", "-o", "c.txt"], "expected a name that ends in .npy; got c.txt"),
        (2, ["x.npy", "-q", "quantizer.safetensors", "-o", "x.npy"], "x.npy is also an input"),
    ],
)
def test_encode_refuses(
    exit_code: int,
    arguments: list[str],
    message: str,
    fails: Any,
    quantizer_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(quantizer_file.parent)
    X = np.load("x.npy")
    np.save("narrow.npy", X[:, :10])
    np.save("empty.npy", X[:0])
    assert message in fails(exit_code, "encode", *arguments)
    assert not Path("c.npy").exists()


def test_memory_does_not_grow_with_the_file(tmp_path: Path, quantizer_file: Path) -> None:
    rows, X = 1_000_000, np.load(quantizer_file.with_name("x.npy"))
    with write_npy(tmp_path / "large.npy", (rows, X.shape[1]), np.float32) as write:
        for start in range(0, rows, 50_000):
            write(np.resize(np.roll(X, start, axis=0), (min(50_000, rows - start), X.shape[1])))
    size = (tmp_path / "large.npy").stat().st_size
    grown = {}
    for name in ("x.npy", "large.npy"):
        path = quantizer_file.with_name("x.npy") if name == "x.npy" else tmp_path / name
        command = [sys.executable, "-c", PEAK, "encode", path, "-q", quantizer_file, "-o", tmp_path / "codes.npy"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        grown[name] = 1024 * int(done.stderr)
    assert size > 240e6
    assert grown["large.npy"] - grown["x.npy"] < 0.4 * size


# Memory that is the process's own; pages of the mapped input can be dropped at any time, and are not counted.
PEAK = """
import sys, threading, time
from h2q.cli import build_app

def own_kilobytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

peak, done = [0], threading.Event()
def watch():
    while not done.is_set():
        peak[0] = max(peak[0], own_kilobytes())
        time.sleep(0.002)

thread = threading.Thread(target=watch)
thread.start()
try:
    build_app()(sys.argv[1:], standalone_mode=False)
finally:
    done.set()
    thread.join()
    print(peak[0], file=sys.stderr)
"""


def test_labels_choose_the_whitening(document: Any, run: Any, x_file: Path) -> None:
    output, X, labels = x_file.with_name("q.safetensors"), np.load(x_file), load_digits().target
    np.save(x_file.with_name("labels.npy"), labels)
    given = ("fit", x_file, "-o", output, "--labels", x_file.with_name("labels.npy"), "--whitening", "auto")
    result = document(*given, "--bits", 16)
    order = np.random.default_rng(0).permutation(len(X))
    kept = np.sort(order[len(X) // 10 :])
    expected = h2q.HouseholderQuantizer(16, whitening="auto", random_state=0).fit(X[kept], labels[kept])
    assert result["whitening"] == expected.whitening_
    assert h2q.load_quantizer(output).fingerprint() == expected.fingerprint()
    assert "whitening within classes, chosen on rows held out: " in run(*given, "--bits", 8, "--method", "sign").stdout


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (2, ["--whitening", "auto"], "--whitening: it goes with --labels"),
        (2, ["--labels", "few.npy"], "--labels: it goes with --whitening auto"),
        (2, ["--whitening", "2"], "--whitening: expected a number from 0 to 1, or auto; got '2'"),
        (2, ["--whitening", "yes"], "--whitening: expected a number from 0 to 1, or auto; got 'yes'"),
        (1, ["--whitening", "auto", "--labels", "few.npy"], "few.npy has 5 labels, and x.npy 1,797 rows"),
        (1, ["--whitening", "auto", "--labels", "same.npy"], "holds one class only"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    exit_code: int, arguments: list[str], message: str, fails: Any, x_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(x_file.parent)
    np.save("few.npy", np.arange(5))
    np.save("same.npy", np.zeros(1797, int))
    assert message in fails(exit_code, "fit", "x.npy", "-o", "q.safetensors", *arguments)
