"""``h2q images``: a folder of real pictures from nothing to a search, and what the commands print."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "cifar10-sample.parquet"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    encoded = [image["bytes"] for image in pq.read_table(SAMPLE)["img"].to_pylist()[:20]]
    for number, content in enumerate([*encoded, encoded[8]]):
        (folder / f"{number:02}.jpg").write_bytes(content)
    (folder / "broken.jpg").write_bytes(encoded[0][:200])
    return folder


def test_three_commands(photos: Path, document: Any, run: Any) -> None:
    index = photos.parent / "photos.h2q"
    result = run("images", "index", photos, "-o", index, "--image-size", 32)
    assert result.exit_code == 0, result.stderr
    assert "21 new, 0 changed, 0 gone, 0 as before" in result.stdout
    assert "broken.jpg (does not decode)" in result.stdout
    assert document("images", "index", photos, "-o", index, "--image-size", 32)["kept"] == 21
    found = document("images", "search", index, photos / "08.jpg", "-k", 2)
    assert sorted(found["paths"]) == [str(photos / "08.jpg"), str(photos / "20.jpg")]
    assert "08.jpg" in run("images", "search", index, photos / "08.jpg", "--where", "width = 32").stdout
    printed = run("images", "duplicates", index, "--radius", 0, "--keep", "best").stdout
    assert "1 group within 0 of 16 bits" in printed
    assert "keep  " in printed
    assert document("images", "duplicates", index, "--radius", 0)["groups"][0]["distance"] == 0


def test_faults_are_explained(photos: Path, run: Any, tmp_path: Path) -> None:
    result = run("images", "index", tmp_path / "none", "-o", tmp_path / "x.h2q")
    assert result.exit_code == 2
    assert "is not a folder" in " ".join(result.stderr.split())
    assert isinstance(run("images", "search", tmp_path / "none", photos / "08.jpg").exception, SystemExit)
