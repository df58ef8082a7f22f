"""Encode 1,000,000 x 384 embeddings to 384 bits: beside the bare float32 product, and beside FAISS.

    python benchmarks/quantization_encode.py

The rows are the WordNet embeddings of benchmarks/real_embeddings.py, repeated. Same threads for all; each is run
three times in turn and the fastest counts. Extra memory: what the peak of the process grew by in encode, without codes.
"""

import os
import resource
import time

os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.pop("OPENBLAS_L2_SIZE", None)

import faiss
import numpy as np

from h2q.quantization import ITQQuantizer
from real_embeddings import text_embeddings

N = 1_000_000


def main() -> None:
    """Measure and print the table."""
    text = text_embeddings()
    X = np.tile(text, (-(-N // len(text)), 1))[:N]
    quantizer = ITQQuantizer(max_iter=20, max_samples=20_000, random_state=0).fit(X)
    quantizer.encode(X[:10_000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = quantizer.encode(X)
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - codes.nbytes
    index = faiss.index_factory(384, "ITQ,LSH")
    index.train(X[:20_000])
    rotation = quantizer.rotation_
    runs = {
        "bare float32 product": lambda: X @ rotation,
        "h2q encode": lambda: quantizer.encode(X),
        "FAISS ITQ,LSH sa_encode": lambda: index.sa_encode(X),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(3):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    bare = min(times["bare float32 product"])
    print("| 1,000,000 x 384 to 384 bits | seconds | speed / bare product |\n|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {min(seconds):.2f} | {bare / min(seconds):.2f} |")
    print(f"\nExtra memory beside input and codes: {extra / 2**20:.0f} MiB (the input: {X.nbytes / 2**20:.0f} MiB)")


if __name__ == "__main__":
    main()
