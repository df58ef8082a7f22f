"""What indexing a folder of pictures costs beside the features of the network.

    python benchmarks/picture_index.py [--images 4096]

Writes images of the CIFAR-10 sample into a folder, computes their features alone, and indexes the folder, in one
process. The columns are seconds on the wall and seconds of the processor (of all threads); on a busy machine only
the second kind, and its ratio, say something.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from h2q.collections import PictureCollection
from h2q.datasets.image_folder import find_images
from h2q.datasets.images import FileImages
from h2q.quantization.first_rows import fit_first_rows
from h2q.similarity import extract_features
from h2q.similarity.backbones import load_backbone
from machine import processor

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "cifar10-sample.parquet"


def clock(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds on the wall and of the processor."""
    wall, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - busy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=4096)
    n_images = parser.parse_args().images
    encoded = [image["bytes"] for image in pq.read_table(SAMPLE)["img"].to_pylist()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pictures"
        folder.mkdir()
        for number in range(n_images):
            (folder / f"{number:06}.jpg").write_bytes(encoded[number % len(encoded)])
        backbone = load_backbone("efficientnet-lite0")
        images = FileImages(folder, find_images(folder).paths)
        extract_features(images[:64], backbone, progress=False)
        features = np.zeros((0, 0), np.float32)

        def bare() -> None:
            nonlocal features
            features = extract_features(images, backbone, progress=False)

        rows = {
            "features alone": clock(bare),
            "index the folder": clock(PictureCollection(Path(name) / "p.h2q", folder).update),
            "the fit of its quantizer alone": clock(lambda: fit_first_rows(features[:4096], 128, whitened=True)),
            "again, nothing changed": clock(PictureCollection(Path(name) / "p.h2q", folder).update),
        }
    print(f"{n_images:,} images, {processor()}\n")
    print("|  | wall, s | processor, s | times the features' |\n|---|---:|---:|---:|")
    for label, (wall, busy) in rows.items():
        print(f"| {label} | {wall:.1f} | {busy:.1f} | {busy / rows['features alone'][1]:.2f} |")


if __name__ == "__main__":
    main()
