"""What checksums cost: saving, opening and searching an index, writing and reading files, with and without them.

    python benchmarks/checksums.py
    python benchmarks/checksums.py --folder /dev/shm --rounds 40

"Without" replaces the hash functions by ones that return 0 without reading anything; all else is the same code. The two
take turns, in an order that changes with every round. The table gives the medians, their ratio, the median of the
ratios of each round, and the ratio of the medians of processor time, which other programs disturb less. Every write is
synced; what is read is in the page cache, or in memory (--folder /dev/shm).
"""

import argparse
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xxhash

from h2q.files import open_array, read_tensors, write_npy, write_tensors
from h2q.index import BinaryIndex


class NoDigest:
    """A digest that reads nothing."""

    def __init__(self, content: object = b"") -> None:
        pass

    def update(self, content: object) -> None:
        """Do nothing."""

    def intdigest(self) -> int:
        """Return 0."""
        return 0

    def hexdigest(self) -> str:
        """Return zeros."""
        return "0" * 16


@contextmanager
def no_checksums() -> Iterator[None]:
    """Replace the hash functions for the length of a block."""
    names = ("xxh3_64", "xxh3_64_intdigest", "xxh3_64_hexdigest")
    real = {name: getattr(xxhash, name) for name in names}
    xxhash.xxh3_64 = NoDigest
    xxhash.xxh3_64_intdigest = lambda content: 0
    xxhash.xxh3_64_hexdigest = lambda content: "0" * 16
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(xxhash, name, function)


def workloads(folder: Path, n: int) -> dict[str, Callable[[], object]]:
    """Return what to measure; each is run in the order of this dictionary."""
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 256, (n, 48), dtype=np.uint8)
    index = BinaryIndex(384)
    index.add(codes)
    opened: list[BinaryIndex] = []

    def open_index() -> None:
        opened[:] = [BinaryIndex.open(folder / "index")]

    def search() -> None:
        opened[0].search(codes[:1], k=10)

    def save() -> None:
        opened.clear()  # unmapping is not part of opening
        shutil.rmtree(folder / "index", ignore_errors=True)
        index.save(folder / "index")

    def write_array() -> None:
        with write_npy(folder / "codes.npy", codes.shape, codes.dtype) as write:
            write(codes)

    def read_array() -> None:
        open_array(folder / "codes.npy").read()

    def read_rows() -> None:
        for _ in open_array(folder / "codes.npy").chunks():
            pass

    return {
        "index: save": save,
        "index: open": open_index,
        "index: first search": search,
        "index: next search": search,
        "tensors: write": lambda: write_tensors(folder / "x.safetensors", "example", {"codes": codes}, {}),
        "tensors: read": lambda: read_tensors(folder / "x.safetensors", "example"),
        ".npy: write": write_array,
        ".npy: open as a memory map": read_array,
        ".npy: open and read": read_rows,
    }


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return how long a call takes, by the wall clock and by the processor."""
    began = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began[0], time.process_time() - began[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to write; default: a temporary folder")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--items", type=int, default=1_000_000, help="codes of 384 bits")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        works = workloads(Path(name), options.items)
        times: dict[str, list[tuple[tuple[float, float], tuple[float, float]]]] = {label: [] for label in works}
        for number in range(options.rounds + 1):
            measured: list[dict[str, tuple[float, float]]] = [{}, {}]
            for checked in (True, False) if number % 2 else (False, True):
                if checked:
                    measured[1] = {label: seconds_of(work) for label, work in works.items()}
                else:
                    with no_checksums():
                        measured[0] = {label: seconds_of(work) for label, work in works.items()}
            if number:  # the first round compiles and warms up
                for label in works:
                    times[label].append((measured[0][label], measured[1][label]))
    print(f"{platform.processor() or platform.machine()}, {options.items:,} codes of 48 bytes, {options.rounds} rounds")
    print(f"{'':28}{'without':>10}{'with':>10}{'medians':>10}{'rounds':>10}{'processor':>11}")
    for label, pairs in times.items():
        (off, off_processor), (on, on_processor) = np.array(pairs).transpose(1, 2, 0)
        medians, rounds = np.median(on) / np.median(off) - 1, np.median(on / off) - 1
        processor = np.median(on_processor) / np.median(off_processor) - 1
        print(
            f"{label:28}{np.median(off) * 1e3:7.1f} ms{np.median(on) * 1e3:7.1f} ms"
            f"{medians:+10.1%}{rounds:+10.1%}{processor:+11.1%}"
        )


if __name__ == "__main__":
    main()
