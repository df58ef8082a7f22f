"""Encoding a Parquet file that is larger than the memory allowed, beside the time in which pyarrow alone reads it.

    python benchmarks/encoding.py                 # 10,000,000 x 128 (5.1 GB on disk)
    python benchmarks/encoding.py --rows 1000000  # a smaller file

WordNet glosses through all-MiniLM-L6-v2, their first 128 principal components, repeated with noise. Both sides read
the same columns; rounds alternate. Peak memory is that of a process that encodes and does nothing else.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codes_at_equal_bytes import texts
from machine import processor

GROUP = 250_000
ENCODE = """
import resource, sys, time, h2q
quantizer = h2q.load_quantizer(sys.argv[2])
began = time.perf_counter()
h2q.encode_dataset(sys.argv[1], quantizer, sys.argv[3], columns=["id"], n_processes=int(sys.argv[4]), progress=False)
children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(time.perf_counter() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + children) / 1024)
"""


def embeddings() -> np.ndarray:
    """Return the principal components of texts, (32000, 128)."""
    from h2q.quantization.reduction import principal_components

    rows = np.asarray(texts())
    centered = rows - rows.mean(axis=0)
    return np.asarray(centered @ principal_components(centered, 128).directions.T, np.float32)


def write(path: Path, n_rows: int, X: np.ndarray) -> None:
    generator = np.random.default_rng(0)
    schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), X.shape[1]))])
    writer = pq.ParquetWriter(path, schema, compression="none", use_dictionary=["id"])
    for first in range(0, n_rows, GROUP):
        n = min(GROUP, n_rows - first)
        rows = X[generator.integers(len(X), size=n)]
        rows += np.float32(0.05) * generator.standard_normal(rows.shape, np.float32)
        column = pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])
        table = pa.table({"id": np.arange(first, first + n), "vector": column}, schema=schema)
        writer.write_table(table, row_group_size=GROUP)
    writer.close()


def read(path: Path) -> float:
    """Return the seconds in which pyarrow alone reads the file."""
    began = time.perf_counter()
    for _ in pq.ParquetFile(path, buffer_size=1 << 20).iter_batches(32_768, columns=["vector", "id"]):
        pass
    return time.perf_counter() - began


def main() -> None:
    import h2q

    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(processor())
    folder = Path(tempfile.mkdtemp())
    try:
        X = embeddings()
        h2q.HouseholderQuantizer(random_state=0).fit(X).save(folder / "quantizer.safetensors")
        write(folder / "x.parquet", arguments.rows, X)
        size = (folder / "x.parquet").stat().st_size
        print(f"{arguments.rows:,} x 128, {size / 1e9:.2f} GB; encoded to 128 bits")
        for round_number in range(arguments.rounds):
            alone = read(folder / "x.parquet")
            line = f"round {round_number}: pyarrow reads {alone:.1f} s"
            for n_processes in (1, 2):
                target = folder / f"codes-{round_number}-{n_processes}"
                command = [sys.executable, "-c", ENCODE, folder / "x.parquet", folder / "quantizer.safetensors", target]
                printed = subprocess.run(
                    [*map(str, command), str(n_processes)], check=True, capture_output=True, text=True
                ).stdout
                seconds, memory = map(float, printed.split())
                share = 100 * alone / seconds
                line += f"; {n_processes} process(es): {seconds:.1f} s, {share:.0f} % of its speed, {memory:.0f} MiB"
                shutil.rmtree(target)
            print(line, flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
