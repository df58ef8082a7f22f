"""A browser, and indexes that it looks at: served by `h2q serve`, and as static sites."""

import functools
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from sklearn.datasets import load_digits

from h2q.collections import PictureCollection
from h2q.index import BinaryIndex
from h2q.quantization import NestedQuantizer
from h2q.web.site import export_site

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "data" / "cifar10-sample.parquet"
NPM = ROOT / ".build" / "npm" / "node_modules"
PATIENCE = 120  # seconds, on a busy machine
HOSTILE = "<img src=x onerror=window.hacked=1>.jpg"


@dataclass
class Page:
    """The page in a browser."""

    driver: Any

    def open(self, address: str, *, width: int = 1280, dark: bool = False, wait: bool = True) -> None:
        """Load an address anew, at a width and in a color scheme, and wait until something is drawn."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        self.driver.get("about:blank")
        self.driver.get(address)
        self.driver.execute_script("localStorage.clear()")
        if wait:
            self.wait_for(lambda: self.all("#view .card"))

    def one(self, selector: str) -> WebElement:
        """Return the first element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """Return the text that is shown."""
        return str(self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def run(self, script: str, *arguments: Any) -> Any:
        """Run the body of an asynchronous function; return its value."""
        wrapped = (
            "const done = arguments[arguments.length - 1];"
            f"(async (...arguments_) => {{ {script} }})(...arguments).then(done, (error) => done('' + error))"
        )
        return self.driver.execute_async_script(wrapped.replace("arguments_", "given"), *arguments)

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until a condition holds; return its value."""
        wait = WebDriverWait(self.driver, PATIENCE, 0.05, [StaleElementReferenceException])  # results are drawn anew
        return wait.until(lambda _: condition())

    def wait_for_status(self, text: str) -> None:
        """Wait until the line above the results holds a text."""
        self.wait_for(lambda: text in self.text("#status"))

    def names(self) -> list[str]:
        """Return the ids of the results."""
        return list(self.driver.execute_script("return [...document.querySelectorAll('.card')].map((c) => c.title)"))

    def requests(self) -> list[str]:
        """Return the addresses of all requests since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def console_errors(self) -> list[str]:
        """Return what the browser complains of since the last call, refused answers aside."""
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if "status of 4" not in entry["message"]]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a headless chromium with a profile of its own."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("NO BROWSER: the page was NOT tested; run bash scripts/browser.sh as root")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage",
        "--disable-component-update", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    started.set_script_timeout(PATIENCE)
    yield started
    started.quit()


@pytest.fixture
def page(browser: Any) -> Page:
    """Return the page in the browser, with what happened before forgotten."""
    result = Page(browser)
    browser.get("about:blank")
    result.requests()
    result.console_errors()
    return result


@pytest.fixture(scope="session")
def npm() -> Path:
    """Return the folder of packages from npm."""
    if not (NPM / "axe-core").is_dir() or not (NPM / "onnxruntime-web").is_dir():
        pytest.skip("NO NPM PACKAGES: the page was NOT tested; run bash scripts/browser.sh")
    return NPM


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a collection of 60 pictures; the name of one is HTML."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos" / "trips").mkdir(parents=True)
    for number, image in enumerate(pq.read_table(SAMPLE)["img"].to_pylist()[:60]):
        name = HOSTILE if number == 0 else f"{'trips/' if number % 2 else ''}{number:02}.jpg"
        (folder / "photos" / name).write_bytes(image["bytes"])
    PictureCollection(folder / "photos.h2q", folder / "photos", image_size=32).update()
    return folder / "photos.h2q"


@pytest.fixture(scope="session")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of digits with nested codes and metadata, one of them HTML, and ids that order nothing."""
    digits = load_digits()
    X, n = digits.data.astype(np.float32), len(digits.data)
    quantizer = NestedQuantizer(48, lengths=(16, 32, 48), steps=20, random_state=0).fit(X)
    index = BinaryIndex(quantizer=quantizer)
    order = np.random.default_rng(0).permutation(n)
    days = np.datetime64("2024-01-01") + np.arange(n)
    note = [None if row % 3 else f"<script>window.hacked=1</script>{row}" for row in range(n)]
    metadata = {"digit": digits.target, "half": np.arange(n) / 2, "day": days, "note": note, "even": order % 2 == 0}
    index.add(X, [f"item {number}" for number in order], metadata)
    index.remove([f"item {number}" for number in order[100:110]])
    folder = tmp_path_factory.mktemp("nested") / "digits"
    index.save(folder)
    return folder


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Yield a function that starts `h2q serve` and returns the address of its page."""
    started: dict[Path, tuple[subprocess.Popen[str], str]] = {}

    def start(path: Path) -> str:
        if path not in started:
            command = [sys.executable, "-c", "from h2q.cli import main; main()", "serve", str(path), "--port", "0"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert process.stdout is not None
            started[path] = process, process.stdout.readline().split()[0]
        return started[path][1]

    yield start
    for process, _ in started.values():
        process.terminate()
    for process, _ in started.values():
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def host() -> Iterator[Callable[[Path], str]]:
    """Yield a function that serves a folder of plain files, as ``python -m http.server`` does."""
    servers: list[ThreadingHTTPServer] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def site(pictures: Path, npm: Path, host: Callable[[Path], str]) -> str:
    """Return the address of a static site of the pictures, with its network and comparison."""
    folder = pictures.parent / "site"
    export_site(pictures, folder, onnxruntime=npm / "onnxruntime-web" / "dist", comparison=True, progress=False)
    return host(folder)
