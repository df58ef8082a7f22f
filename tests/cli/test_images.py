"""``h2q images``: a folder of real pictures from nothing to a search, and what the commands print."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from h2q.collections import PictureCollection

PROGRAM = (sys.executable, "-c", "from h2q.cli import main; main()")
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


def test_a_sheet_holds_all_it_shows(photos: Path, document: Any, run: Any, fails: Any, tmp_path: Path) -> None:
    name = photos / 'a "b" <c>.jpg'
    (photos / "03.jpg").rename(name)
    index = photos.parent / "photos.h2q"
    assert run("images", "index", photos, "-o", index).exit_code == 0
    (photos / "04.jpg").unlink()
    result = run("images", "search", index, name, "-k", 30, "-o", tmp_path / "sheet.html")
    assert "sheet.html shows them" in result.stdout
    assert "\x1b" not in result.stdout
    page = (tmp_path / "sheet.html").read_text()
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 21  # the picture itself, and those found but for the one that is gone
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert page.count("cannot be read") == 1
    assert "<c>" not in page
    assert (photos / "05.jpg").as_uri() in page
    assert document("images", "search", index, name, "--open")["sheet"] == str(index / "search.html")
    assert "expected a name that ends in .html" in fails(2, "images", "search", index, name, "-o", "x.png")
    with pytest.raises(ValueError, match="backbone must be one of"):
        PictureCollection(tmp_path / "other.h2q", photos, backbone="none").update()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("term", "shown"), [("xterm-kitty", True), ("xterm-256color", False)])
def test_a_terminal_that_can_shows_thumbnails(photos: Path, run: Any, term: str, shown: bool) -> None:
    import pty

    index = photos.parent / "photos.h2q"
    run("images", "index", photos, "-o", index, "--image-size", 32)
    ours, theirs = pty.openpty()
    command = [*PROGRAM, "images", "search", str(index), str(photos / "08.jpg"), "-k", "2"]
    environment = {name: value for name, value in os.environ.items() if name not in ("TMUX", "STY", "TERM_PROGRAM")}
    process = subprocess.Popen(command, stdout=theirs, env={**environment, "TERM": term}, stdin=subprocess.DEVNULL)
    os.close(theirs)
    content = b""
    while True:
        try:
            part = os.read(ours, 1 << 16)
        except OSError:  # Linux says that the other end is closed
            break
        if not part:
            break
        content += part
    os.close(ours)
    assert process.wait() == 0
    assert content.count(b"\x1b_Gf=100,a=T") == (2 if shown else 0)
    assert b"20.jpg" in content


def test_faults_are_explained(photos: Path, run: Any, tmp_path: Path) -> None:
    result = run("images", "index", tmp_path / "none", "-o", tmp_path / "x.h2q")
    assert result.exit_code == 2
    assert "is not a folder" in " ".join(result.stderr.split())
    assert isinstance(run("images", "search", tmp_path / "none", photos / "08.jpg").exception, SystemExit)
