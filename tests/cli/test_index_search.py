"""``h2q index`` and ``h2q search``: the same results as the library, and their errors."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import h2q


@pytest.fixture(autouse=True)
def in_folder(x_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(x_file.parent)
    X = np.load(x_file)
    np.save("queries.npy", X[:7])
    np.save("ids.npy", np.arange(len(X)) * 10)


@pytest.fixture
def codes_file(run: Any, quantizer_file: Path) -> Path:
    assert run("encode", "x.npy", "-q", quantizer_file, "-o", "codes.npy").exit_code == 0
    return Path("codes.npy")


def library_index(quantizer_file: Path) -> h2q.BinaryIndex:
    index = h2q.BinaryIndex(quantizer=h2q.load_quantizer(quantizer_file), keep_embeddings=True)
    index.add(np.load("x.npy"))
    return index


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, []),
        ({"scoring": "asymmetric"}, ["--scoring", "asymmetric"]),
        ({"scoring": "hamming"}, ["--scoring", "hamming"]),
        ({"rerank": 50}, ["--rerank", "50"]),
        ({"n_bits": 12}, ["--bits", "12"]),
        ({"prefix": 12, "shortlist": 30}, ["--prefix", "12", "--shortlist", "30"]),
        ({"prefix": 12, "scoring": "hamming"}, ["--prefix", "12", "--scoring", "hamming"]),
    ],
)
def test_search_is_what_the_library_does(
    options: dict[str, Any], arguments: list[str], document: Any, index_folder: Path, quantizer_file: Path
) -> None:
    answer = document("search", index_folder, "queries.npy", "-k", 5, *arguments)
    expected = library_index(quantizer_file).search(np.load("queries.npy"), 5, **options)
    assert answer["ids"] == expected.ids.tolist()
    np.testing.assert_allclose(answer["distances"], expected.distances, atol=1e-6)


def test_search_within_a_radius(document: Any, index_folder: Path, quantizer_file: Path) -> None:
    answer = document("search", index_folder, "queries.npy", "--radius", 4)
    expected = library_index(quantizer_file).search_radius(np.load("queries.npy"), 4)
    assert answer["ids"] == [expected[q].ids.tolist() for q in range(7)]
    assert answer["radius"] == 4


def test_codes_need_no_quantizer(run: Any, document: Any, codes_file: Path) -> None:
    assert run("index", "build", codes_file, "-o", "plain").exit_code == 0
    np.save("query_codes.npy", np.load(codes_file)[:3])
    answer = document("search", "plain", "query_codes.npy", "-k", 1)
    assert [distances for (distances,) in answer["distances"]] == [0, 0, 0]
    assert h2q.BinaryIndex.open("plain").n_bits == 32


def test_ids_append_remove_compact(document: Any, codes_file: Path) -> None:
    built = document("index", "build", codes_file, "--ids", "ids.npy", "-o", "index")
    n = built["items"]
    assert built["added"] == n == len(np.load("x.npy"))
    appended = document("index", "append", "index", codes_file)
    assert appended["items"] == 2 * n
    assert (10 * (n - 1) + 1) in h2q.BinaryIndex.open("index")
    assert document("index", "remove", "index", "0,10,20")["items"] == 2 * n - 3
    np.save("gone.npy", np.array([30, 40]))
    assert document("index", "remove", "index", "gone.npy")["removed"] == 2
    assert len(document("info", "index")["quantizer"] or "") == 0
    assert document("index", "compact", "index")["items"] == 2 * n - 5
    assert document("info", "index")["segments"] == 1


def test_build_replaces_an_index(document: Any, codes_file: Path) -> None:
    np.save("few.npy", np.load(codes_file)[:5])
    document("index", "build", codes_file, "-o", "index")
    assert document("index", "build", "few.npy", "-o", "index")["items"] == 5
    assert len(h2q.BinaryIndex.open("index")) == 5


@pytest.mark.parametrize("name", ["found.npz", "found.json"])
def test_results_in_a_file(name: str, run: Any, document: Any, index_folder: Path) -> None:
    expected = document("search", index_folder, "queries.npy", "-k", 3)
    result = run("search", index_folder, "queries.npy", "-k", 3, "-o", name)
    assert f"results saved to {name}" in result.stdout
    if name.endswith("json"):
        answer = json.loads(Path(name).read_text())
    else:
        with np.load(name) as arrays:
            answer = {key: arrays[key].tolist() for key in arrays.files}
    assert answer == {"ids": expected["ids"], "distances": expected["distances"]}


def test_radius_results_in_a_file(run: Any, document: Any, index_folder: Path) -> None:
    expected = document("search", index_folder, "queries.npy", "--radius", 3)
    assert run("search", index_folder, "queries.npy", "--radius", 3, "-o", "found.npz").exit_code == 0
    with np.load("found.npz") as arrays:
        parts = np.split(arrays["ids"], arrays["offsets"][1:-1])
    assert [part.tolist() for part in parts] == expected["ids"]


def test_a_table_for_people(run: Any, index_folder: Path) -> None:
    np.save("many.npy", np.load("x.npy")[:12])
    lines = run("search", index_folder, "many.npy", "-k", 2, "--scoring", "hamming").stdout.splitlines()
    assert any(line.split()[:3] == ["3", "3", "(0)"] for line in lines)
    assert "12 queries, 2 nearest of 1,797 items" in lines[-1]
    assert "2 more: -o FILE or --json" in lines[-1]


def test_few_items_are_all_found(document: Any, codes_file: Path) -> None:
    np.save("few.npy", np.load(codes_file)[:4])
    document("index", "build", "few.npy", "-o", "small")
    for arguments in ([], ["-k", "20"]):
        result = document("search", "small", "few.npy", *arguments)
        assert result["k"] == 4
        assert len(result["ids"][0]) == 4


def test_replacing_items(document: Any, codes_file: Path) -> None:
    codes = np.load(codes_file)
    np.save("two.npy", codes[7:9])
    np.save("two_ids.npy", np.array([3, 4000]))
    document("index", "build", codes_file, "-o", "index")
    assert (
        document("index", "append", "index", "two.npy", "--ids", "two_ids.npy", "--replace")["items"] == len(codes) + 1
    )
    np.testing.assert_array_equal(h2q.BinaryIndex.open("index").codes([3, 4000]), codes[7:9])


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["build", "missing.npy", "-o", "new"], "there is no file missing.npy"),
        (2, ["build", "x.npy", "-o", "new"], "x.npy holds float32, not codes (uint8): embeddings need --quantizer"),
        (1, ["build", "codes.npy", "-o", "new", "--bits", "64"], "codes.npy: items must have shape (n, 8)"),
        (1, ["build", "codes.npy", "-o", "new", "--ids", "short.npy"], "--ids short.npy must be 1-D with 1797 entries"),
        (1, ["build", "codes.npy", "-o", "new", "--ids", "twice.npy"], "--ids twice.npy holds 1 id(s) more than once"),
        (1, ["build", "codes.npy", "-o", "full"], "full holds other files and no index; choose another folder"),
        (1, ["build", "codes.npy", "-o", "codes.npy"], "codes.npy is a file; an index is saved to a folder"),
        (2, ["build", "codes.npy"], "give a folder with --output, or an address with --to"),
        (1, ["append", "nowhere", "codes.npy"], "there is no index at"),
        (2, ["build", "codes.npy", "-o", "new", "--keep-embeddings"], "--keep-embeddings: codes.npy holds codes"),
        (2, ["build", "x.npy", "-o", "new", "-q", "quantizer.safetensors", "--bits", "8"], "--bits: expected 32, the"),
        (1, ["append", "index", "codes.npy"], "codes.npy holds codes, but index keeps embeddings"),
        (1, ["append", "index", "x.npy", "--ids", "taken.npy"], "--ids taken.npy holds 1,797 id(s) that index already"),
        (2, ["append", "index", "x.npy", "--replace"], "--replace: it needs --ids"),
        (1, ["append", "index", "narrow.npy"], "narrow.npy has 10 features, but 61 were expected"),
        (1, ["remove", "index", "99999999"], "1 of 1 ids are not in the index (first: 99999999); nothing was removed"),
        (1, ["remove", "index", "some"], "there is no file some"),
        (2, ["remove", "index"], "Missing argument 'IDS'"),
        (1, ["compact", "full"], "is not an index of h2q: it holds no manifest.json"),
        (2, ["shrink", "index"], "No such command 'shrink'"),
        (2, ["compact"], "Missing argument 'INDEX'"),
    ],
)
def test_index_refuses(
    exit_code: int, arguments: list[str], message: str, fails: Any, index_folder: Path, codes_file: Path
) -> None:
    X = np.load("x.npy")
    np.save("short.npy", np.arange(3))
    np.save("twice.npy", np.r_[0, np.arange(len(X) - 1)])
    np.save("taken.npy", np.arange(len(X)))
    np.save("narrow.npy", X[:, :10])
    Path("full").mkdir()
    Path("full/letter.txt").write_text("mine")
    before = h2q.BinaryIndex.open(index_folder).ids
    assert message in fails(exit_code, "index", *arguments)
    assert not Path("new").exists()
    np.testing.assert_array_equal(h2q.BinaryIndex.open(index_folder).ids, before)


@pytest.mark.parametrize(
    ("exit_code", "arguments", "message"),
    [
        (1, ["nowhere", "queries.npy"], "there is no index at"),
        (1, ["index", "missing.npy"], "there is no file missing.npy"),
        (1, ["index", "ids.npy"], "ids.npy has shape (1797,); expected a 2-D array"),
        (1, ["index", "wide.npy"], "queries has 10 features, but 61 were expected"),
        (
            2,
            ["plain", "codes.npy", "--rerank", "50"],
            "--rerank: plain keeps no embeddings to re-rank by; build it with",
        ),
        (2, ["index", "codes.npy", "--scoring", "asymmetric"], "--scoring: it needs embeddings; codes.npy holds codes"),
        (1, ["index", "codes.npy", "--rerank", "50"], "re-ranking needs queries as embeddings, not codes"),
        (1, ["plain", "queries.npy"], "queries must be packed codes (uint8), since this index has no quantizer"),
        (1, ["plain", "wide_codes.npy"], "queries must have shape (n, 4)"),
        (2, ["index"], "Missing argument 'QUERIES'"),
        (2, ["index", "queries.npy", "-k", "0"], "Invalid value for '-k'"),
        (2, ["index", "queries.npy", "-k", "5", "--radius", "3"], "-k: it does not go with --radius"),
        (2, ["index", "queries.npy", "--rerank", "5"], "--rerank: expected at least -k, which is 10; got 5"),
        (2, ["index", "queries.npy", "--bits", "99"], "--bits: the codes have 32 bits; got 99"),
        (2, ["index", "queries.npy", "--bits", "8", "--prefix", "8"], "--prefix: it compares whole codes in the end"),
        (2, ["index", "queries.npy", "--shortlist", "50"], "--shortlist: it needs --prefix"),
        (
            2,
            ["index", "queries.npy", "--prefix", "8", "--shortlist", "9"],
            "--shortlist: expected at least -k, which is 10; got 9",
        ),
        (
            2,
            ["index", "queries.npy", "--prefix", "8"],
            "--prefix: without --shortlist it promises the exact result, which needs --scoring hamming",
        ),
        (2, ["index", "queries.npy", "--radius", "3", "--bits", "8"], "--bits: it does not go with --radius"),
        (2, ["index", "queries.npy", "-o", "found.csv"], "expected a name that ends in .npz or .json; got found.csv"),
        (2, ["index", "queries.npy", "--scoring", "cosine"], "'cosine' is not one of 'auto', 'hamming', 'asymmetric'"),
    ],
)
def test_search_refuses(
    exit_code: int, arguments: list[str], message: str, run: Any, fails: Any, index_folder: Path, codes_file: Path
) -> None:
    assert run("index", "build", codes_file, "-o", "plain").exit_code == 0
    np.save("wide.npy", np.load("x.npy")[:, :10])
    np.save("wide_codes.npy", np.zeros((2, 9), np.uint8))
    assert message in fails(exit_code, "search", *arguments)


def test_check_finds_a_damaged_file_and_repairs(run: Any, document: Any, index_folder: Path) -> None:
    sound = document("check", index_folder)
    assert sound["sound"]
    assert sound["items"] == len(np.load("x.npy"))
    assert "index is sound: 1,797 items, " in run("check", index_folder).stdout
    segment = next(index_folder.glob("segment-*"))
    content = bytearray(segment.read_bytes())
    content[-1] ^= 1
    segment.write_bytes(content)
    result = run("check", index_folder)
    assert result.exit_code == 1
    assert f"{segment.name}: " in result.stdout
    assert "index is damaged: " in result.stdout
    search = run("search", index_folder, "queries.npy")
    assert search.exit_code == 1
    assert f"{segment.name} is damaged" in search.stderr
    result = run("check", index_folder, "--repair")
    assert result.exit_code == 0, result.stdout
    assert "index is repaired: it holds" in result.stdout
    assert run("search", index_folder, "queries.npy").exit_code == 0
    assert run("check", index_folder).exit_code == 0


def test_check_refuses_what_is_not_an_index(fails: Any, index_folder: Path) -> None:
    assert "there is no index at" in fails(1, "check", "nowhere")
    (index_folder / "manifest.json").unlink()
    (index_folder / "manifest.backup.json").unlink()
    assert "is not an index of h2q: it holds no manifest.json" in fails(1, "check", index_folder)


def test_a_missing_manifest_is_restored_from_its_copy(run: Any, fails: Any, index_folder: Path) -> None:
    (index_folder / "manifest.json").unlink()
    assert "repair it (h2q check" in fails(1, "index", "build", "x.npy", "-q", "quantizer.safetensors", "-o", "index")
    assert run("check", index_folder, "--repair").exit_code == 0
    assert len(h2q.BinaryIndex.open(index_folder)) == 1797


def test_a_save_leaves_the_users_files_alone(run: Any, codes_file: Path) -> None:
    assert run("index", "build", codes_file, "-o", "index").exit_code == 0
    for name in ("segment-analysis.csv", "quantizer-notes.md", "manifest.json.bak"):
        Path("index", name).write_text("mine")
    assert run("index", "build", codes_file, "-o", "index").exit_code == 0
    assert run("index", "compact", "index").exit_code == 0
    for name in ("segment-analysis.csv", "quantizer-notes.md", "manifest.json.bak"):
        assert Path("index", name).read_text() == "mine"


@pytest.fixture
def described(run: Any, quantizer_file: Path) -> Path:
    """Return an index of a Parquet file with ids and metadata."""
    X = np.load("x.npy")
    table = {"embedding": list(X), "name": [f"scans/{i}.png" for i in range(len(X))], "sum": X.sum(axis=1)}
    day = [datetime.date(2024, 5, 1 + i % 30) for i in range(len(X))]
    pq.write_table(pa.table(table | {"day": day, "note": [None] * len(X)}), "items.parquet")
    result = run(
        "index", "build", "items.parquet", "-q", quantizer_file, "-o", "described", "--ids-column", "name",
        "--metadata-columns", "sum, day",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "metadata: sum (float), day (date32[day])" in result.stdout
    return Path("described")


def test_metadata_filter_a_search(described: Path, document: Any, run: Any) -> None:
    X = np.load("x.npy")
    where = "sum < 300 and day >= '2024-05-20'"
    found = document("search", described, "queries.npy", "-k", 3, "--where", where, "--columns", "sum,day")
    assert found["where"] == where
    for items, rows in zip(found["ids"], found["metadata"], strict=True):
        numbers = [int(item[6:-4]) for item in items]
        assert [row["sum"] for row in rows] == X[numbers].sum(axis=1).tolist()
        assert all(row["sum"] < 300 and row["day"] >= "2024-05-20" for row in rows)
    near = document("search", described, "queries.npy", "--radius", 3, "--where", where)
    assert {item for items in near["ids"] for item in items} <= {
        f"scans/{i}.png" for i in np.flatnonzero(X.sum(1) < 300)
    }
    printed = run("search", described, "queries.npy", "-k", 2, "--where", where, "--columns", "day").stdout
    assert "day=2024-05-" in printed
    assert run("search", described, "queries.npy", "--columns", "sum", "-o", "found.npz").exit_code == 0
    with np.load("found.npz") as saved:
        assert saved["ids"].shape == (7, 10)
        assert saved["sum"].shape == (70,)


def test_metadata_beside_an_array_and_in_info(described: Path, document: Any, run: Any, quantizer_file: Path) -> None:
    info = document("info", described)
    assert info["ids"] == "string"
    assert info["metadata"] == {"sum": "float", "day": "date32[day]"}
    pq.write_table(pa.table({"name": ["a", "b"], "sum": pa.array([1, 2], pa.float32())}), "more.parquet")
    np.save("two.npy", np.load("x.npy")[:2])
    assert (
        document("index", "append", described, "two.npy", "--metadata", "more.parquet", "--ids-column", "name")["added"]
        == 2
    )
    assert document("search", described, "queries.npy", "--where", "sum < 3", "-k", 9)["ids"][0] == ["a", "b"]
    assert document("index", "remove", described, "a, scans/3.png")["removed"] == 2
    plain = document("index", "build", "two.npy", "-q", quantizer_file, "-o", "plain", "--metadata", "more.parquet")
    assert plain["metadata"] == {"name": "string", "sum": "float"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "described", "queries.npy", "--where", "sum <"], "--where: cannot be read: at character 5"),
        (["search", "described", "queries.npy", "--where", "x = 1"], "--where: names the column x"),
        (["search", "described", "queries.npy", "--columns", "x"], "--columns: names x, which does not exist"),
        (["index", "append", "described", "items.parquet", "--ids-column", "name"], "already has"),
        (["index", "append", "described", "items.parquet", "--ids-column", "x"], "no column x"),
        (["index", "append", "described", "items.parquet", "--ids-column", "note"], "1,797 rows have no id"),
        (["index", "append", "described", "x.npy", "--ids-column", "name"], "x.npy is no Parquet file"),
        (["index", "append", "described", "queries.npy", "--metadata", "items.parquet"], "has 1,797 rows"),
        (["index", "append", "described", "x.npy", "--ids", "ids.npy"], "are whole numbers, but those of this index"),
        (["index", "append", "described", "x.npy", "--ids", "ids.npy", "--ids-column", "a"], "does not go with --ids"),
    ],
)
def test_faults_of_metadata_name_the_option(described: Path, run: Any, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code != 0
    assert message in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("engine", ["faiss", "postgresql"])
def test_an_engine_by_its_address(
    engine: str, run: Any, document: Any, fails: Any, quantizer_file: Path, postgresql: str
) -> None:
    address = "faiss:approximate?min_items=100" if engine == "faiss" else f"{postgresql}?table=from_the_shell"
    built = document("index", "build", "x.npy", "--to", address, "-q", quantizer_file)
    assert built["items"] == len(np.load("x.npy"))
    found = document("search", address, "queries.npy", "-k", 1, "--scoring", "hamming")
    assert not np.array(found["distances"]).any()
    assert document("index", "remove", address, "3,4")["items"] == built["items"] - 2
    assert document("index", "append", address, "queries.npy")["items"] == built["items"] + 5
    refused = fails(1, "index", "build", "x.npy", "--to", address, "-q", quantizer_file)
    assert ("already has an index" if engine == "postgresql" else "is not empty") in refused
    assert "--output" in fails(2, "index", "build", "x.npy", "-q", quantizer_file)


def test_a_server_that_is_down(fails: Any) -> None:
    address = "postgresql://nobody@127.0.0.1:1/nowhere?retries=1"
    assert "nowhere at 127.0.0.1:1 does not answer: 2 attempts" in fails(1, "search", address, "queries.npy")
