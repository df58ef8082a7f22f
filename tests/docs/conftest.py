"""Real data for the snippets of the documentation: a small CIFAR-10, its features, and a folder of photos."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

SAMPLE = Path(__file__).parents[2] / "data" / "cifar10-sample.parquet"
PER_CLASS = 120


def _write_sample(target: Path) -> pa.Table:
    """Write the first images of each class of the sample in the repository."""
    table = pq.read_table(SAMPLE)
    labels = table["label"].to_numpy()
    rows = np.sort(np.concatenate([np.flatnonzero(labels == c)[:PER_CLASS] for c in np.unique(labels)]))
    table = table.take(pa.array(rows))
    pq.write_table(table, target)
    return table


def _write_photos(folder: Path, table: pa.Table) -> None:
    """Write photo.jpg and a nested folder photos/ with 40 images."""
    pictures = [row["bytes"] for row in table["img"].slice(0, 41).to_pylist()]
    (folder / "photo.jpg").write_bytes(pictures.pop())
    for number, picture in enumerate(pictures):
        place = folder / "photos" / ("2023" if number % 2 else "2024/summer")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.jpg").write_bytes(picture)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to be copied, with embeddings.npy, labels.npy, queries.npy, query-labels.npy, photo.jpg and photos/."""
    root = tmp_path_factory.mktemp("snippets")
    for name in ("data", "cache", "page"):
        (root / name).mkdir()
    table = _write_sample(root / "data" / "cifar10-sample.parquet")
    environment = {
        "H2Q_DATA": str(root / "data"),
        "H2Q_CACHE": str(root / "cache"),
        "MPLBACKEND": "agg",
        "COLUMNS": "100",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setitem(os.environ, name, value)

        from h2q.datasets import load_dataset
        from h2q.similarity import extract_features

        data = load_dataset("cifar10")
        features, page = np.asarray(extract_features(data)), root / "page"
        np.save(page / "queries.npy", features[:200])
        np.save(page / "query-labels.npy", data.labels[:200])
        np.save(page / "embeddings.npy", features[200:])
        np.save(page / "labels.npy", data.labels[200:])
        _write_photos(page, table)
        yield page
