"""Indexes of real pictures and of digits, served in process."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

from h2q.collections import PictureCollection
from h2q.files import read_checked_json, write_checked_json
from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer
from h2q.web import Settings, create_app, open_contents

SAMPLE = Path(__file__).parents[2] / "data" / "cifar10-sample.parquet"
TOKEN = "a token of some length"
DIGITS = load_digits()
X = DIGITS.data.astype(np.float32)[:, 1:]

Serve = Callable[..., TestClient]


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder of 40 pictures and their collection, to be copied from."""
    folder = tmp_path_factory.mktemp("indexed")
    (folder / "photos" / "trips").mkdir(parents=True)
    for number, image in enumerate(pq.read_table(SAMPLE)["img"].to_pylist()[:40]):
        (folder / "photos" / ("trips" if number % 2 else ".") / f"{number:02}.jpg").write_bytes(image["bytes"])
    PictureCollection(folder / "photos.h2q", folder / "photos", image_size=32).update()
    return folder


@pytest.fixture
def photos(indexed: Path, tmp_path: Path) -> Path:
    """Return a copy of the collection, of a copy of the folder."""
    for name in ("photos", "photos.h2q"):
        shutil.copytree(indexed / name, tmp_path / name)
    settings = tmp_path / "photos.h2q" / "pictures.json"
    stored = read_checked_json(settings)
    write_checked_json(settings, {**stored, "source": str(tmp_path / "photos")})
    return tmp_path / "photos.h2q"


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an index of digits that keeps their embeddings, with the digit and the row as metadata."""
    index = BinaryIndex(quantizer=HouseholderQuantizer(32, random_state=0).fit(X), keep_embeddings=True)
    index.add(X, metadata={"digit": DIGITS.target.tolist(), "half": np.arange(len(X)) / 2})
    folder = tmp_path_factory.mktemp("digits") / "index"
    index.save(folder)
    return folder


@pytest.fixture
def serve() -> Serve:
    """Return a function that serves what is at a path, with options of `Settings`."""

    def start(path: Path, page: Path | None = None, **options: Any) -> TestClient:
        app = create_app(open_contents(path), Settings(**options), **({} if page is None else {"page": page}))
        return TestClient(app, "http://127.0.0.1", raise_server_exceptions=False)

    return start
