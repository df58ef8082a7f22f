"""Static sites: exact in the browser, offline, and written with care."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from h2q.collections import PictureCollection
from h2q.files import atomic_folder
from h2q.index import BinaryIndex
from h2q.web.site import export_site

from .conftest import Page

SEARCH = """
const { Site } = await import('/page/site.js');
const site = new Site();
await site.info();
const answers = [];
for (const [id, k, nBits, where] of given[0]) {
  try {
    const { results } = await site.search({ id }, { k, nBits, where, scoring: 'hamming' });
    answers.push(results.map(({ id, distance }) => [id, distance]));
  } catch (error) { answers.push(error.message); }
}
return answers;
"""
FILTERS = (
    "digit = 3", "digit <> 3 and half >= 10.5", "not (digit in (1, 2, 3)) or half < 5", "digit between 2 and 4",
    "note is null", "note is not null and even", "not even", "note like '%<script>%12_'", "note ilike '%SCRIPT%'",
    "note not like '%1%'", "note not in ('a', 'it''s')", "day >= '2025-06-01'",
    "day between '2024-02-01' and '2024-02-05'",
    "5 < digit", "even = true or digit = 0 and half <= 300", '"digit" >= 9', "half > -1e2", "digit != half",
)  # fmt: skip
Host = Callable[[Path], str]


@pytest.fixture(scope="module")
def nested_site(nested: Path, host: Host) -> str:
    folder = nested.parent / "site"
    export_site(nested, folder, progress=False)
    return host(folder)


def test_neighbors_and_filters_are_those_of_h2q(page: Page, nested: Path, nested_site: str) -> None:
    index = BinaryIndex.open(nested)
    ids = np.random.default_rng(1).choice(index.ids, 12, replace=False).tolist()
    questions: list[list[Any]] = [[item, 25, n_bits, None] for item in ids for n_bits in (None, 16, 32)]
    questions += [[ids[0], 2_000, None, None], *([ids[1], 30, None, where] for where in FILTERS)]
    page.open(nested_site)
    answers = page.run(SEARCH, questions)
    for (item, k, n_bits, where), answer in zip(questions, answers, strict=True):
        found = index.search(index.codes([item]), k, n_bits=n_bits, where=where)
        expected = [list(pair) for pair in zip(found.ids[0].tolist(), found.distances[0].tolist(), strict=True)]
        assert answer == expected, (item, k, n_bits, where)


def test_filters_that_cannot_be_read_are_errors(page: Page, nested_site: str) -> None:
    wrong = [
        "digit",
        "digit = ",
        "digit = 'a'",
        "size > 3",
        "digit = 3 digit",
        "note > 3",
        "day > 'never'",
        "(digit = 1",
        "§",
    ]
    page.open(nested_site)
    answers = page.run(SEARCH, [["item 5", 5, None, where] for where in wrong])
    assert all(isinstance(answer, str) for answer in answers), answers
    assert "There is no column size; the columns are: digit, half, day, note, even" in answers[3]


def test_large_ids_and_times_without_a_zone_are_those_of_h2q(page: Page, host: Host, tmp_path: Path) -> None:
    index = BinaryIndex(16)
    times = np.datetime64("2024-05-01T00:00:00", "us") + np.arange(20) * np.timedelta64(1, "h")
    ids = index.add(np.arange(40, dtype=np.uint8).reshape(20, 2), 2**60 + np.arange(20), {"time": times})
    index.save(tmp_path / "large")
    export_site(tmp_path / "large", tmp_path / "site", progress=False)
    wheres = ["time >= '2024-05-01 12:00:00'", "time < '2024-05-02'", "5 in (1, 2)", "1 is null"]
    page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "America/New_York"})
    try:
        page.open(host(tmp_path / "site"))
        found, all_, *errors = page.run(SEARCH, [[str(ids[15]), 20, None, where] for where in wheres])
    finally:
        page.driver.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": ""})
    assert [item for item, _ in found] == [
        str(item) for item in index.search(index.codes([ids[15]]), 20, where=wheres[0]).ids[0]
    ]
    assert len(all_) == 20
    assert all("the left side must be a column" in error for error in errors)


def test_resizing_is_that_of_pillow(page: Page, site: str) -> None:
    script = """
    const { resize, overWhite } = await import('/page/resize.js');
    const [pixels, width, height, side, rgba] = given;
    const resized = resize(Uint8Array.from(pixels), width, height, side);
    return [Array.from(resized), Array.from(overWhite(Uint8Array.from(rgba)))];
    """
    generator = np.random.default_rng(0)
    page.open(site)
    for width, height, side in ((9, 70, 32), (120, 33, 32), (32, 5, 32), (64, 64, 32)):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        rgba = generator.integers(0, 256, (1, 300, 4), dtype=np.uint8)
        resized, opaque = page.run(script, pixels.ravel().tolist(), width, height, side, rgba.ravel().tolist())
        # In two steps, because releases of Pillow differ in which comes first.
        columns = Image.fromarray(pixels).resize((side, height), Image.Resampling.BICUBIC)
        expected = columns.resize((side, side), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(resized, np.asarray(expected).ravel())
        white = Image.new("RGBA", (300, 1), (255, 255, 255, 255))
        composite = Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB")
        np.testing.assert_array_equal(opaque, np.asarray(composite).ravel())


def test_a_picture_is_searched_in_the_browser_and_nothing_leaves_it(page: Page, site: str, pictures: Path) -> None:
    page.open(site)
    index = PictureCollection.open(pictures).index
    assert index is not None
    differing = []
    for name in ("04.jpg", "trips/07.jpg", "12.jpg", "trips/21.jpg"):
        page.one("#file").send_keys(str(pictures.parent / "photos" / name))
        page.wait_for_status(f"results for {Path(name).name}, Hamming scoring, network")
        assert page.names()[0] == name
        differing.append(int(page.text(".card .distance").split()[0]))
    assert max(differing) <= 1, "the browser's code is not Python's"
    assert {request.split("/", 3)[2] for request in page.requests() if request.startswith("http")} == {
        site.split("/")[2]
    }
    assert page.console_errors() == []
    page.one("#tab-why").click()
    page.wait_for(lambda: page.all(".line"))


def test_a_broken_picture_is_an_error(page: Page, site: str, tmp_path: Path) -> None:
    page.open(site)
    (tmp_path / "text.jpg").write_text("no picture")
    page.one("#file").send_keys(str(tmp_path / "text.jpg"))
    page.wait_for(lambda: "cannot be read as a picture" in page.text("#error"))
    assert page.all(".card")


def test_a_page_opened_as_a_file_says_what_to_do(page: Page, nested: Path, nested_site: str) -> None:
    page.driver.get((nested.parent / "site" / "index.html").as_uri())
    page.wait_for_status("python -m http.server")


def test_other_files_are_refused_and_an_earlier_site_is_replaced(nested: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    written = export_site(nested, folder, progress=False)
    assert written.items == len(BinaryIndex.open(nested))
    assert written.n_bytes == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    (folder / "data" / "codes.bin").write_bytes(b"")
    export_site(nested, folder, progress=False)
    assert len((folder / "data" / "codes.bin").read_bytes()) == 6 * written.items
    (folder / "CNAME").write_text("photos.example")
    with pytest.raises(FileExistsError, match=r"holds other files \(CNAME\)"):
        export_site(nested, folder, progress=False)
    assert (folder / "CNAME").read_text() == "photos.example"
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files"):
        export_site(nested, tmp_path / "notes", progress=False)
    with pytest.raises(ValueError, match="without a network"):
        export_site(nested, tmp_path / "new", onnxruntime=tmp_path, progress=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes", "site"]


def test_pictures_that_are_gone_have_no_thumbnail(pictures: Path, tmp_path: Path) -> None:
    collection = PictureCollection.open(pictures)
    gone = collection.folder / "08.jpg"
    content = gone.read_bytes()
    gone.unlink()
    try:
        assert export_site(pictures, tmp_path / "site", progress=False).missing == ("08.jpg",)
    finally:
        gone.write_bytes(content)
    info = json.loads((tmp_path / "site" / "data" / "info.json").read_text())
    assert info["accepts"] == ["id", "code"]
    assert len(list((tmp_path / "site" / "thumbnails").rglob("*.jpg"))) == 59
    with pytest.raises(FileNotFoundError, match="npm install onnxruntime-web"):
        export_site(pictures, tmp_path / "other", onnxruntime=tmp_path, progress=False)


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "site"
    abandoned = tmp_path / ".site.h2q-folder-0123456789abcdef.tmp"
    (abandoned / "data").mkdir(parents=True)
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as temporary:
        (temporary / "half").write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []
    for content in ("old", "new"):
        with atomic_folder(target) as temporary:
            (temporary / "index.html").write_text(content)
    assert [file.read_text() for file in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_the_page_is_small() -> None:
    files = Path(__file__).parents[3] / "src" / "h2q" / "web" / "page"
    assert sum(file.stat().st_size for file in files.iterdir()) < 300_000
