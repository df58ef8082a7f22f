"""The page in a real browser, over `h2q serve`."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from h2q.index import BinaryIndex

from .conftest import HOSTILE, Page

Serve = Callable[[Path], str]


def test_an_upload_finds_the_picture_and_a_click_goes_on_from_it(page: Page, serve: Serve, pictures: Path) -> None:
    page.open(serve(pictures))
    assert page.text("#name") == "photos.h2q"
    assert "60 pictures" in page.text("#facts")
    page.one("#file").send_keys(str(pictures.parent / "photos" / "04.jpg"))
    page.wait_for_status("20 results for 04.jpg, re-ranked scoring, network")
    assert page.names()[0] == "04.jpg"
    assert page.text(".card .distance") in ("0.000", "-0.000")
    assert page.one(".card .code").get_attribute("aria-label").startswith("0 of ")
    second = page.names()[1]
    page.all(".card")[1].click()
    page.wait_for_status(f"for {second.split('/')[-1]}")
    assert page.names()[0] == second
    page.driver.back()
    page.wait_for_status("for 04.jpg")
    assert page.names()[0] == "04.jpg"
    page.driver.forward()
    page.wait_for_status(f"for {second.split('/')[-1]}")
    address = page.driver.current_url
    page.open(address)
    page.wait_for(lambda: page.names()[0] == second)
    assert page.console_errors() == []


def test_options_change_the_answer(page: Page, serve: Serve, pictures: Path) -> None:
    page.open(serve(pictures))
    page.one(".card").click()
    page.wait_for_status("20 results")
    page.one("#count").send_keys(Keys.ARROW_LEFT)
    page.wait_for_status("15 results")
    page.one("#scoring input[value=hamming]").click()
    page.wait_for_status("Hamming scoring")
    assert page.text(".card .distance") == "0 bits"
    page.one("#time-all").click()
    page.wait_for(lambda: all(output.text.endswith("s") for output in page.all("#scoring output")))
    assert len(page.all("#scoring output")) == 3
    page.one("#where").send_keys("size > 100000000", Keys.ENTER)
    page.wait_for_status("Nothing fulfills the filter")
    page.one("#where").send_keys(" and", Keys.ENTER)
    page.wait_for(lambda: "where cannot be read" in page.text("#error"))
    page.one("#where").clear()
    page.one("#where").send_keys("size > 0", Keys.ENTER)
    page.wait_for_status("15 results")
    assert not page.one("#error").is_displayed()
    assert "size " in page.text(".card .details")


def test_a_broken_upload_is_an_error_and_what_was_there_stays(
    page: Page, serve: Serve, pictures: Path, tmp_path: Path
) -> None:
    page.open(serve(pictures))
    before = page.names()
    (tmp_path / "broken.jpg").write_bytes((pictures.parent / "photos" / "04.jpg").read_bytes()[:300])
    (tmp_path / "text.jpg").write_text("no picture")
    for name in ("broken.jpg", "text.jpg"):
        page.one("#file").send_keys(str(tmp_path / name))
        page.wait_for(lambda: "picture" in page.text("#error"))
        assert page.names() == before
        page.driver.execute_script("document.getElementById('error').textContent = ''")
    page.one(".card").click()
    page.wait_for_status("20 results")
    assert not page.one("#error").is_displayed()


def test_an_empty_index_says_so(page: Page, serve: Serve, tmp_path: Path) -> None:
    BinaryIndex(16).save(tmp_path / "empty")
    page.open(serve(tmp_path / "empty"), wait=False)
    page.wait_for_status("This index is empty")
    assert not page.one("#controls").is_displayed()


def test_html_in_ids_and_metadata_is_text(page: Page, serve: Serve, pictures: Path, nested: Path) -> None:
    page.open(serve(pictures))
    page.one("#count").send_keys(Keys.END)
    page.wait_for(lambda: HOSTILE in page.names())
    page.driver.execute_script("arguments[0].click()", page.all(".card")[page.names().index(HOSTILE)])
    page.wait_for_status(f"results for {HOSTILE}")
    page.one("#tab-why").click()
    page.wait_for(lambda: page.all(".line"))
    page.open(serve(nested))
    page.one("#where").send_keys("note is not null", Keys.ENTER)
    page.wait_for(lambda: "<script>" in page.text(".card .details"))
    assert page.driver.execute_script("return window.hacked") is None
    assert page.all("#view script, #view img[src=x]") == []


def test_nested_codes_have_a_length(page: Page, serve: Serve, nested: Path) -> None:
    page.open(serve(nested))
    page.one(".card").click()
    page.wait_for_status("20 results")
    page.one("#length").send_keys(Keys.HOME)
    page.wait_for(lambda: page.all(".card .code[aria-label$='of 16 bits differ']"))
    assert page.text("#length-value") == "16 bits"
    assert not page.one("#drop").is_displayed()


def test_the_views(page: Page, serve: Serve, pictures: Path) -> None:
    page.open(serve(pictures))
    page.one("#tab-why").click()
    page.wait_for_status("Search for something first")
    page.one("#tab-search").click()
    page.wait_for(lambda: page.all(".card"))
    page.one(".card").click()
    page.wait_for_status("20 results")
    page.one("#tab-why").click()
    page.wait_for(lambda: len(page.all(".line")) == 20)
    assert "nearest by the full embeddings" in page.text(".lead")
    page.one("#tab-comparison").click()
    page.wait_for(lambda: page.all("#view table"))
    assert len(page.all("#view .chart")) == 3
    assert {"sign", "ITQ", "H²Q"} <= set(page.text("tbody").split())
    assert not page.one("#controls").is_displayed()


def test_the_keyboard_suffices(page: Page, serve: Serve, pictures: Path) -> None:
    page.open(serve(pictures))
    reached = []
    for _ in range(30):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        active = page.driver.switch_to.active_element
        reached.append(active.get_attribute("id") or active.get_attribute("class"))
        outline = page.driver.execute_script(
            "const e = document.activeElement, f = e.id === 'file' ? e.nextElementSibling : e;"
            "return getComputedStyle(f).outlineStyle"
        )  # fmt: skip
        assert outline == "solid", f"{reached[-1]} shows no focus"
        if "card" in reached[-1]:
            break
    assert {"tab-search", "theme", "file", "count", "where"} <= set(reached)
    chosen = page.driver.switch_to.active_element.get_attribute("title")
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.wait_for_status(f"results for {chosen.split('/')[-1]}")
    page.one("#tab-search").send_keys(Keys.ARROW_RIGHT)
    page.wait_for(lambda: page.all(".line"))
    assert page.driver.switch_to.active_element.get_attribute("id") == "tab-why"
    assert page.one("#tab-why").get_attribute("aria-selected") == "true"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(page: Page, site: str, width: int) -> None:
    page.open(site, width=width)
    page.one(".card").click()
    page.wait_for_status("20 results")
    for name, drawn in (("why", ".line"), ("comparison", "table"), ("search", ".card")):
        page.one(f"#tab-{name}").click()
        page.wait_for(lambda drawn=drawn: page.all(f"#view {drawn}"))
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width, name


def test_dark_mode(page: Page, serve: Serve, pictures: Path) -> None:
    def brightness() -> float:
        script = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        return sum(page.driver.execute_script(script)) / 3

    page.open(serve(pictures), dark=True)
    assert brightness() < 50
    assert page.one("#theme").get_attribute("aria-pressed") == "true"
    page.one("#theme").click()
    assert brightness() > 200
    page.driver.refresh()
    page.wait_for(lambda: page.all(".card"))
    assert brightness() > 200
    page.open(serve(pictures), dark=False)
    assert brightness() > 200


@pytest.mark.parametrize("dark", [False, True])
def test_axe_has_no_complaint(page: Page, site: str, npm: Path, dark: bool) -> None:
    page.open(site, dark=dark)
    page.one(".card").click()
    page.wait_for_status("20 results")
    source = (npm / "axe-core" / "axe.min.js").read_text()
    for name, drawn in (("search", ".card"), ("why", ".line"), ("comparison", "table")):
        page.one(f"#tab-{name}").click()
        page.wait_for(lambda drawn=drawn: page.driver.find_elements(By.CSS_SELECTOR, f"#view {drawn}"))
        page.driver.execute_script(source)
        found = page.run("return (await axe.run()).violations.map((v) => [v.id, v.impact, v.nodes[0].html])")
        assert found == [], name


def test_the_history_outlives_a_reload_and_links_within_the_page(page: Page, serve: Serve, pictures: Path) -> None:
    page.open(serve(pictures))
    names = []
    for _ in range(2):
        names.append(page.names()[1])
        page.all(".card")[1].click()
        page.wait_for_status(f"for {names[-1].split('/')[-1]},")
    page.driver.execute_script("location.hash = '#content'")
    page.driver.execute_script("document.querySelector('.skip').focus()")  # it is out of sight until then
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.driver.switch_to.active_element.get_attribute("id") == "content"
    assert page.names()[0] == names[1]
    page.driver.back()
    page.driver.refresh()
    page.wait_for(lambda: page.names()[:1] == names[1:])
    page.driver.back()
    page.wait_for(lambda: page.names()[:1] == names[:1])
    page.driver.execute_script(f"location.hash = '#id=' + encodeURIComponent(JSON.stringify('{names[1]}'))")
    page.wait_for(lambda: page.names()[:1] == names[1:])
    assert page.text("#error") == ""


def test_whole_numbers_beyond_those_of_javascript_are_ids(page: Page, serve: Serve, tmp_path: Path) -> None:
    index = BinaryIndex(16)
    index.add(np.arange(40, dtype=np.uint8).reshape(20, 2), 2**60 + np.arange(20))
    index.save(tmp_path / "large")
    page.open(serve(tmp_path / "large"))
    page.one(".card[title='1152921504606846979']").click()
    page.wait_for_status("for 1152921504606846979,")
    assert page.names()[0] == "1152921504606846979"


def test_a_comparison_that_fails_is_an_error(page: Page, serve: Serve, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "damaged.h2q")
    address = serve(tmp_path / "damaged.h2q")
    page.open(address)
    for file in (tmp_path / "damaged.h2q" / "index").glob("segment-*"):
        content = file.read_bytes()
        with file.open("r+b") as opened:
            opened.write(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    page.one("#tab-comparison").click()
    page.wait_for(lambda: "the comparison failed" in page.text("#error"))
