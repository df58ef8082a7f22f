"""Time from a click to the drawn answer on the page, in a real browser: a static site and `h2q serve`.

    python benchmarks/page.py features.npy --images train.parquet --onnxruntime node_modules/onnxruntime-web/dist

Takes features of CIFAR-10 by EfficientNet-Lite0 at 128 pixels, as `h2q embed` writes them; and a Parquet file of
images, of which a hundred become files, and some of them the queries. The time is that from the click, or from the
choice of a file, until the browser has drawn the results; thumbnails, which load afterwards, are not counted. Needs
chromium and chromium-driver.
"""

import argparse
import base64
import datetime
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from h2q.files import write_checked_json
from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer
from h2q.web.site import export_site
from machine import processor

FILES, QUERIES, BITS = 100, 20, 128
CLOCK = """
const done = arguments[arguments.length - 1];
const act = %s;
performance.clearMeasures('h2q-answer');
const began = performance.now();
act();
const look = () => {
  if (!performance.getEntriesByName('h2q-answer').length) return setTimeout(look, 0);
  const answered = performance.now();
  requestAnimationFrame(() => setTimeout(() => done([answered - began, performance.now() - began]), 0));
};
look();
"""
CLICK = CLOCK % "() => document.querySelectorAll('.card')[arguments[0]].click()"
CHOOSE = (
    CLOCK
    % """() => {
  const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], arguments[1], { type: 'image/jpeg' }));
  const input = document.getElementById('file');
  input.files = data.files;
  input.dispatchEvent(new Event('change'));
}"""
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def make_collection(folder: Path, features: np.ndarray, images: list[bytes]) -> Path:
    """Write a collection of pictures of these features, of which the first have files."""
    (folder / "photos").mkdir()
    names = [f"{row:05}.jpg" for row in range(len(features))]
    for name, content in zip(names, images, strict=False):
        (folder / "photos" / name).write_bytes(content)
    collection = folder / "photos.h2q"
    collection.mkdir()
    write_checked_json(collection / "pictures.json", {"kind": "pictures", "source": str(folder / "photos")})
    quantizer = HouseholderQuantizer(BITS, whitening=1.0, random_state=0).fit(features[:4096])
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    now = datetime.datetime.now(datetime.UTC)
    metadata = {name: [32] * len(names) for name in ("size", "width", "height")} | {"modified": [now] * len(names)}
    index.add(features, names, metadata)
    index.save(collection / "index")
    return collection


def open_browser(profile: Path) -> Any:
    """Start chromium, headless."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{argument}")
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(120)
    driver.set_window_size(1280, 900)
    return driver


def processor_milliseconds(driver: Any) -> float:
    """Return the processor time that the page's thread has taken so far."""
    metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(1000 * metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def ask(driver: Any, script: str, queries: list[tuple[Any, ...]]) -> str:
    """Ask all queries, of which the first five do not count; return the cells of the table."""
    times = []
    for query in queries:
        began = processor_milliseconds(driver)
        times.append([*driver.execute_async_script(script, *query), 0.0])
        times[-1][2] = processor_milliseconds(driver) - began
    answered, drawn, busy = np.array(times[5:]).T
    cells = [f"{np.median(answered):.0f} ({answered.min():.0f} to {answered.max():.0f})"]
    return " | ".join([*cells, f"{np.median(drawn):.0f}", f"{np.median(busy):.0f}"])


def measure(driver: Any, address: str, images: list[bytes], wait: Callable[[], None]) -> dict[str, str]:
    """Return times of clicks on results, and of pictures that are chosen, after some that are not counted."""
    driver.get(address)
    wait()
    driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    encoded = [base64.b64encode(content).decode() for content in images[: QUERIES + 5]]
    return {
        "click on a result": ask(driver, CLICK, [(1 + number % 10,) for number in range(QUERIES + 5)]),
        "a picture": ask(driver, CHOOSE, [(content, f"{row}.jpg") for row, content in enumerate(encoded)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", type=Path)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--onnxruntime", type=Path, required=True)
    options = parser.parse_args()
    features = np.load(options.features)
    images = [
        image["bytes"]
        for image in next(pq.ParquetFile(options.images).iter_batches(FILES, columns=["img"]))["img"].to_pylist()
    ]
    folder = Path(tempfile.mkdtemp())
    collection = make_collection(folder, features, images)
    export_site(collection, folder / "site", onnxruntime=options.onnxruntime)
    driver = open_browser(folder / "profile")

    def wait() -> None:
        while not driver.find_elements("css selector", ".card"):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "site")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = {"static site": measure(driver, f"http://127.0.0.1:{server.server_address[1]}/", images, wait)}
    command = [sys.executable, "-c", "from h2q.cli import main; main()", "serve", str(collection), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    address = process.stdout.readline().split()[0] if process.stdout else ""
    rows["h2q serve, re-ranked"] = measure(driver, address, images, wait)
    process.terminate()
    driver.quit()
    sizes = {
        name: (folder / "site" / "data" / name).stat().st_size for name in ("codes.bin", "items.json", "model.onnx")
    }
    page = (
        sum(file.stat().st_size for file in (folder / "site" / "page").iterdir())
        + (folder / "site" / "index.html").stat().st_size
    )
    shutil.rmtree(folder)
    print(
        f"{processor()}; load average {os.getloadavg()[0]:.0f}. {len(features):,} codes of {BITS} bits, "
        f"{QUERIES} queries of each kind."
    )
    print(f"The page: {page:,} bytes. " + ", ".join(f"{name}: {size:,} bytes" for name, size in sizes.items()) + ".\n")
    print(
        "| | query | ms until answered, median (range) | ms until drawn | ms of the page's processor time |\n"
        "|---|---|---:|---:|---:|"
    )
    for name, times in rows.items():
        for query, text in times.items():
            print(f"| {name} | {query} | {text} |")


if __name__ == "__main__":
    main()
