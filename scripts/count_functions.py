"""Count the functions of h2q that a call passes through, for the four ways of docs/architecture.md.

    python scripts/count_functions.py [--list] [WAY ...]

Counts every function and method of the package that runs at least once (in any thread; lambdas, comprehensions and
compiled numba kernels are left out), the files that they are in, and the deepest stack of them. To compare with another
commit, put its ``src`` first on PYTHONPATH.
"""

import importlib
import pkgutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import h2q
from h2q.datasets import load_dataset

PACKAGE = str(Path(h2q.__file__).parent)
PLAN = """
name = "Digits"

[grid]
datasets = ["digits"]
losses = ["CosineEmbedding"]
bits = [16]
seeds = [0]
quantizers = ["real", "sign", "itq", "h2q-l2", "penalty"]

[training]
image_size = 32
epochs = 1
min_steps = 0
hidden = [32]

[penalty]
weights = [0.1]
"""


def array_to_neighbors() -> Callable[[], Any]:
    X = load_digits().data.astype(np.float32)

    def way() -> None:
        quantizer = h2q.HouseholderQuantizer(32, random_state=0).fit(X)
        index = h2q.BinaryIndex(quantizer=quantizer)
        index.add(X)
        index.search(X[:10], k=10)

    return way


def _digits() -> tuple[list[Any], Any]:
    data = load_dataset("digits")
    rows = data.folds["train"][:100]
    return [data.images[int(row)] for row in rows], data.labels[rows]


def images_to_hasher() -> Callable[[], Any]:
    images, labels = _digits()
    return lambda: h2q.ImageHasher(16, image_size=32).fit(images, labels)


def image_to_codes() -> Callable[[], Any]:
    images, labels = _digits()
    hasher = h2q.ImageHasher(16, image_size=32).fit(images, labels)
    return lambda: hasher.encode(images[:10])


def labels_to_map() -> Callable[[], Any]:
    X, labels = load_digits(return_X_y=True)
    X = X[:, X.std(axis=0) > 0]
    codes = h2q.SignQuantizer().fit(X).encode(X)
    return lambda: (
        h2q.mean_average_precision(codes[:100], codes[100:], labels[:100], labels[100:], n_bits=X.shape[1]).value
    )


def plan_to_report() -> Callable[[], Any]:
    from h2q.experiments import load_plan, run_plan, write_report

    folder = Path(tempfile.mkdtemp())
    (folder / "plan.toml").write_text(PLAN)

    def way() -> None:
        run_plan(load_plan(folder / "plan.toml"), folder / "run")
        write_report(folder / "run")

    return way


WAYS = {
    way.__name__: way for way in (array_to_neighbors, images_to_hasher, image_to_codes, labels_to_map, plan_to_report)
}


class Counter:
    """Collects (file, function) pairs and the deepest stack while it is the profiler of all threads."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str]] = set()
        self.deepest = 0
        self._depth = threading.local()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or code.co_name.startswith("<") or not code.co_filename.startswith(PACKAGE):
            return
        depth = getattr(self._depth, "value", 0) + (1 if event == "call" else -1)
        self._depth.value = depth
        if event == "call":
            self.functions.add((code.co_filename.removeprefix(PACKAGE + "/"), code.co_qualname))
            self.deepest = max(self.deepest, depth)

    def count(self, way: Callable[[], Any]) -> None:
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            way()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def main(arguments: list[str]) -> None:
    names = [argument for argument in arguments if argument in WAYS] or list(WAYS)
    # Everything is imported first: what runs at import is not counted.
    for module in pkgutil.walk_packages([PACKAGE], "h2q."):
        importlib.import_module(module.name)
    print(f"{'way':20} {'functions':>9} {'files':>6} {'deepest':>8}")
    for name in names:
        counter = Counter()
        counter.count(WAYS[name]())
        files = {file for file, _ in counter.functions}
        print(f"{name:20} {len(counter.functions):9} {len(files):6} {counter.deepest:8}", flush=True)
        if "--list" in arguments:
            for file, function in sorted(counter.functions):
                print(f"    {file}: {function}")


if __name__ == "__main__":
    main(sys.argv[1:])
