"""Draw data/cifar10-sample.parquet: 600 images of each class of CIFAR-10, their bytes untouched.

    python scripts/draw_cifar10_sample.py FOLDER_WITH_CIFAR10_PARQUET [data/cifar10-sample.parquet]

The folder holds train.parquet and test.parquet, or the hub's train-*-of-*.parquet. The same input, the same images.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from h2q.datasets.cifar10 import CLASSES, find_parquet, load_parquet
from h2q.datasets.splits import split_per_class
from h2q.files import atomic_path

PER_CLASS = 600
SEED = 0


def main(folder: Path, target: Path) -> None:
    files = find_parquet(folder)
    if not files:
        sys.exit(f"{folder} holds neither train.parquet and test.parquet nor the hub's train-*-of-*.parquet")
    images, labels = load_parquet(files)
    drawn = split_per_class(
        labels,
        images.digests(),
        {"train": PER_CLASS, "query": 0, "validation": 0},
        random_state=SEED,
        class_names=CLASSES,
    )["train"]
    rows = pa.concat_tables([pq.read_table(file, columns=["img", "label"]) for file in files]).take(pa.array(drawn))
    with atomic_path(target) as temporary:
        pq.write_table(rows, temporary, compression="zstd", compression_level=22, use_dictionary=False)
    counts = np.bincount(rows["label"].to_numpy()).tolist()
    print(f"{target}: {len(rows)} images ({counts} by class), {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    default = Path(__file__).resolve().parents[1] / "data" / "cifar10-sample.parquet"
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else default)
