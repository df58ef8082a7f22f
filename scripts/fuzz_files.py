"""Mutate files of every kind that h2q reads, and check what comes of it.

    python scripts/fuzz_files.py --mutants 1000
    python scripts/fuzz_files.py --kinds parquet npz --seed 7

Each mutant must be read, or refused with one line that names the file. A file that h2q wrote carries checksums: a
mutant of it must be refused, or give the answer of the original. Memory must stay below twice the file plus 200 MB.
Every kind runs in a process of its own, so that a crash is seen, too. Mutants with faults are kept in the folder that
--keep names.
"""

import argparse
import pickle
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_FACTOR, MEMORY_BYTES = 2, 200_000_000
X = np.random.default_rng(0).standard_normal((300, 16)).astype(np.float32)
LABELS = np.arange(len(X)) % 10
CODES = np.packbits(X > 0, axis=1)
NAMES = [f"item {number}" for number in range(len(X))]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    write : callable
        Writes files to a folder; returns the one to mutate.
    read : callable
        Reads the file; returns something that `==` compares.
    checked : bool
        Whether the file carries checksums.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    checked: bool


def read_array(path: Path, ndim: int = 2) -> bytes:
    from h2q.files import list_arrays, open_array

    list_arrays(path)
    array = open_array(path, ndim)
    for _ in array.chunks():
        pass
    return np.ascontiguousarray(array.read()).tobytes()


def write_foreign(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from safetensors.numpy import save_file

        path = folder / name
        if path.suffix == ".npy":
            np.save(path, X)
        elif path.stem == "compressed":
            np.savez_compressed(path, x=X, labels=LABELS)
        elif path.suffix == ".npz":
            np.savez(path, x=X, labels=LABELS)
        elif path.suffix == ".safetensors":
            save_file({"x": X, "labels": LABELS}, path)
        else:
            compression = "none" if path.stem == "plain" else "snappy"
            table = pa.table({"x": list(X), "label": LABELS, "text": [str(label) for label in LABELS]})
            pq.write_table(table, path, compression=compression)
        return path

    return write


def write_codes(folder: Path) -> Path:
    from h2q.files import write_npy

    with write_npy(folder / "codes.npy", CODES.shape, CODES.dtype) as write:
        write(CODES)
    return folder / "codes.npy"


def write_neighbors(folder: Path) -> Path:
    from h2q.files import write_npz

    write_npz(folder / "neighbors.npz", x=X)
    return folder / "neighbors.npz"


def write_tensors(folder: Path) -> Path:
    from h2q.files import write_tensors

    write_tensors(folder / "tensors.safetensors", "example", {"x": X, "labels": LABELS}, {"n_bits": 16})
    return folder / "tensors.safetensors"


def read_tensors(path: Path) -> Any:
    from h2q.files import read_tensors, verify_tensors

    stored = read_tensors(path, "example")
    verify_tensors(path, "example")
    return stored.metadata, {name: tensor.tobytes() for name, tensor in stored.tensors.items()}


def write_record(folder: Path) -> Path:
    from h2q.files import write_checked_json

    write_checked_json(folder / "record.json", {"kind": "example", "items": 6000, "ids": list(range(50)), "x": [0.5]})
    return folder / "record.json"


def read_record(path: Path) -> Any:
    from h2q.files import read_checked_json

    return read_checked_json(path)


def write_plain(folder: Path) -> Path:
    from h2q.files import write_json

    write_json(folder / "plain.json", {"kind": "example", "items": 6000, "ids": list(range(50)), "x": [0.5, None]})
    return folder / "plain.json"


def read_plain(path: Path) -> Any:
    from h2q.files import read_json

    return repr(read_json(path))


def write_quantizer(folder: Path) -> Path:
    from h2q.quantization import ITQQuantizer

    ITQQuantizer(8, n_init=1, random_state=0).fit(X).save(folder / "quantizer.safetensors")
    return folder / "quantizer.safetensors"


def read_quantizer(path: Path) -> bytes:
    from h2q.quantization import load_quantizer

    codes: bytes = load_quantizer(path).encode(X).tobytes()
    return codes


def write_index(pattern: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        from h2q import BinaryIndex
        from h2q.quantization import SignQuantizer

        index = BinaryIndex(quantizer=SignQuantizer(16).fit(X), keep_embeddings=True)
        index.add(X)
        index.remove([3, 5])
        index.save(folder / "index")
        return next((folder / "index").glob(pattern))

    return write


def read_index(path: Path) -> Any:
    from h2q import BinaryIndex

    index = BinaryIndex.open(path.parent)
    neighbors = index.search(X[:10], k=10)
    exact = index.search(X[:10], k=5, rerank=20)
    return len(index), neighbors.ids.tobytes(), neighbors.distances.tobytes(), exact.ids.tobytes()


def write_named_index(pattern: str) -> Callable[[Path], Path]:
    """Write an index of string ids and metadata."""

    def write(folder: Path) -> Path:
        from h2q import BinaryIndex

        index = BinaryIndex(16)
        index.add(CODES, ids=NAMES, metadata={"year": (2000 + LABELS).tolist(), "text": NAMES})
        index.save(folder / "index")
        return next((folder / "index").glob(pattern))

    return write


def read_named_index(path: Path) -> Any:
    from h2q import BinaryIndex

    index = BinaryIndex.open(path.parent)
    filtered = index.search(CODES[:5], k=10, where="year >= 2003")
    return index.search(CODES[:5], k=10).ids.tolist(), filtered.ids.tolist(), index.codes(NAMES).tobytes()


def encode_shards(folder: Path) -> None:
    """Encode `X` into a folder of shards, or go on where the journal ends."""
    from h2q.encoding import encode_dataset
    from h2q.quantization import SignQuantizer

    encode_dataset(folder / "x.npy", SignQuantizer(16).fit(X), folder / "shards", shard_rows=100, progress=False)


def write_shards(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "x.npy", X)
        encode_shards(folder)
        return folder / "shards" / name

    return write


def read_encoded(path: Path) -> Any:
    from h2q.encoding import read_shards

    return [items.codes.tobytes() for items, _ in read_shards(path.parent)]


def go_on_encoding(path: Path) -> Any:
    encode_shards(path.parents[1])
    return read_encoded(path)


def small_network() -> Any:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())


def write_hasher(pattern: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        from h2q import ImageHasher
        from h2q.quantization import RandomRotationQuantizer
        from h2q.similarity.backbones import load_backbone
        from h2q.similarity.heads import HashHead

        head, quantizer = HashHead(48, 16, hidden=(8,)), RandomRotationQuantizer(random_state=0).fit(X)
        ImageHasher.from_parts(load_backbone(small_network(), image_size=8), head, quantizer).save(folder / "hasher")
        return next((folder / "hasher").glob(pattern))

    return write


def read_hasher(path: Path) -> Any:
    from h2q import ImageHasher

    hasher = ImageHasher.load(path.parent, backbone=small_network())
    return hasher.encode(np.arange(768, dtype=np.uint8).reshape(4, 8, 8, 3), progress=False).tobytes()


def write_checkpoint(folder: Path) -> Path:
    import torch

    from h2q.similarity.checkpoints import CheckpointFiles

    CheckpointFiles().save_checkpoint({"state_dict": {"weight": torch.arange(99.0)}}, folder / "last.ckpt")
    return folder / "last.ckpt"


def read_checkpoint(path: Path) -> Any:
    from h2q.similarity.checkpoints import read_checkpoint

    return read_checkpoint(path)["state_dict"]["weight"].tolist()


def write_experiment(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        from h2q.experiments import DataVersion, Record, cells_of, parse_plan
        from h2q.experiments.records import StoredPlan
        from h2q.experiments.store import ExperimentFolder

        plan = parse_plan('name = "a"\n[grid]\ndatasets = ["digits"]\nlosses = ["DPSH"]\nbits = [16]')
        cells, store = tuple(cells_of(plan)), ExperimentFolder(folder / "experiment")
        store.create(StoredPlan(plan, cells))
        for cell in cells:
            store.append(Record(cell, DataVersion("0" * 16, {"train": 500}, "1" * 16), {}, "2026", error="ValueError"))
        return store.path / name

    return write


def read_experiment(path: Path) -> Any:
    from h2q.experiments.store import ExperimentFolder

    store = ExperimentFolder(path.parent)
    cells = {cell.key: cell for cell in store.plan().cells}
    # A torn last line counts as not written: its cell is run again.
    return all(record.cell == cells[key] and record.error == "ValueError" for key, record in store.records().items())


def write_list(folder: Path) -> Path:
    (folder / "list.txt").write_text("".join(f"image{i}.png {i % 3}\n" for i in range(50)))
    return folder / "list.txt"


def read_list(path: Path) -> Any:
    from h2q.datasets.list_files import read_lists

    return repr(read_lists([path]))


KINDS = {
    "npy": Kind(write_foreign("x.npy"), read_array, False),
    "npz": Kind(write_foreign("x.npz"), read_array, False),
    "npz compressed": Kind(write_foreign("compressed.npz"), read_array, False),
    "safetensors": Kind(write_foreign("x.safetensors"), read_array, False),
    "parquet": Kind(write_foreign("x.parquet"), read_array, False),
    "parquet uncompressed": Kind(write_foreign("plain.parquet"), read_array, False),
    "image list": Kind(write_list, read_list, False),
    "plain json": Kind(write_plain, read_plain, False),
    "codes": Kind(write_codes, read_array, True),
    "neighbors": Kind(write_neighbors, read_array, True),
    "tensors": Kind(write_tensors, read_tensors, True),
    "record": Kind(write_record, read_record, True),
    "quantizer": Kind(write_quantizer, read_quantizer, True),
    "index manifest": Kind(write_index("manifest.json"), read_index, True),
    "index segment": Kind(write_index("segment-*"), read_index, True),
    "index removed": Kind(write_index("removed-*"), read_index, True),
    "named index manifest": Kind(write_named_index("manifest.json"), read_named_index, True),
    "named index segment": Kind(write_named_index("segment-*"), read_named_index, True),
    "encoded shard": Kind(write_shards("shard-000000.parquet"), read_encoded, True),
    "encoded shards": Kind(write_shards("shards.json"), read_encoded, True),
    "encoding plan": Kind(write_shards("plan.json"), go_on_encoding, True),
    "encoding journal": Kind(write_shards("journal.jsonl"), go_on_encoding, True),
    "hasher": Kind(write_hasher("hasher.json"), read_hasher, True),
    "hasher head": Kind(write_hasher("head-*"), read_hasher, True),
    "hasher backbone": Kind(write_hasher("backbone-*"), read_hasher, True),
    "hasher quantizer": Kind(write_hasher("quantizer-*"), read_hasher, True),
    "checkpoint": Kind(write_checkpoint, read_checkpoint, True),
    "experiment plan": Kind(write_experiment("plan.json"), read_experiment, True),
    "experiment records": Kind(write_experiment("results.jsonl"), read_experiment, True),
}


def mutate(content: bytes, draw: random.Random) -> bytes:
    """Return a copy with one to three faults; most of them near the beginning or the end, where the headers are."""
    mutant = bytearray(content)

    def place() -> int:
        size = max(1, len(mutant))
        near = min(size, 400)
        return draw.choice([draw.randrange(size), draw.randrange(near), size - 1 - draw.randrange(near)])

    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        at = place()
        fault = draw.randrange(9)
        if not mutant or fault == 0:
            mutant[at:at] = draw.randbytes(draw.choice([1, 8, 1000]))
        elif fault in (1, 2):
            mutant[at] ^= 1 << draw.randrange(8)
        elif fault == 3:
            mutant[at] = draw.choice([0, 255, draw.randrange(256)])
        elif fault == 4:
            del mutant[at:]
        elif fault == 5:
            del mutant[at : at + draw.choice([1, 8, 500])]
        elif fault == 6:
            word = draw.choice([b"\xff" * 8, b"\x00" * 8, b"\xff\xff\xff\x7f", b"[" * 3000, b'{"a":' * 1000, b"9" * 30])
            mutant[at : at + len(word)] = word
        elif fault == 7:
            source = place()
            mutant[at:at] = mutant[source : source + 200]
        else:
            digits = [i for i, byte in enumerate(mutant[:2000]) if 48 <= byte <= 57]
            if digits:
                at = draw.choice(digits)
                mutant[at : at + 1] = draw.choice([b"-1", b"99999999999", b"0", b"1e400", b"null"])
    return bytes(mutant)


def judge(kind: Kind, path: Path, expected: Any) -> str:
    """Read a mutant; return "read", "refused", or what is wrong with the outcome."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = kind.read(path)
    except (ValueError, OSError) as error:
        message = str(error)
        if "\n" in message.strip():
            return f"more than one line: {message!r}"
        if path.name not in message and str(path.parent) not in message:
            return f"the file is not named: {type(error).__name__}: {message}"
        return "refused"
    except Exception:
        return traceback.format_exc()
    return f"another answer: {str(answer)[:200]}" if kind.checked and answer != expected else "read"


def fuzz(kind: Kind, folder: Path, *, mutants: int, seconds: float, seed: int) -> dict[str, Any]:
    """Read mutants of a kind, in this process; return counts, faults and the memory."""
    path = kind.write(folder)
    original = path.read_bytes()
    expected = kind.read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    faults: list[tuple[int, str, bytes]] = []
    counts, done, end, grown = {"read": 0, "refused": 0}, 0, time.monotonic() + seconds, 0
    while done < mutants and time.monotonic() < end:
        mutant = mutate(original, random.Random(f"{seed} {done}"))
        path.write_bytes(mutant)
        outcome = judge(kind, path, expected)
        grown = max(grown, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
        if outcome in counts and grown > MEMORY_FACTOR * len(mutant) + MEMORY_BYTES:
            outcome, before, grown = f"{grown / 1e6:.0f} MB of memory for {len(mutant)} bytes", before + grown, 0
        if outcome in counts:
            counts[outcome] += 1
        else:
            faults.append((done, outcome, mutant))
        done += 1
    return {**counts, "faults": faults, "memory": grown}


def run_kind(name: str, *, mutants: int, seconds: float, seed: int) -> dict[str, Any]:
    """Fuzz a kind in a process of its own; a crash is a fault.

    The process is a new one: in a fork of a process with threads, PyTorch waits for them without end.
    """
    folder = Path(tempfile.mkdtemp(prefix="h2q-fuzz-"))
    options = ["--kinds", name, "--mutants", str(mutants), "--seconds", str(seconds), "--seed", str(seed)]
    try:
        child = subprocess.run([sys.executable, __file__, *options, "--into", str(folder)], check=False)
        if child.returncode == 0:
            result: dict[str, Any] = pickle.loads((folder / "result").read_bytes())
            return result
        crash = f"the process ended with {child.returncode}"
        newest = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_mtime)
        return {"read": 0, "refused": 0, "faults": [(-1, crash, newest.read_bytes())], "memory": 0}
    finally:
        shutil.rmtree(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each kind, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--keep", type=Path, help="folder for the mutants with faults")
    parser.add_argument("--into", type=Path, help="fuzz the one kind in this process, and leave the result there")
    options = parser.parse_args()
    if options.into:
        (name,) = options.kinds
        limits = {"mutants": options.mutants, "seconds": options.seconds, "seed": options.seed}
        (options.into / "result").write_bytes(pickle.dumps(fuzz(KINDS[name], options.into, **limits)))
        return 0
    bad = 0
    for name in options.kinds:
        result = run_kind(name, mutants=options.mutants, seconds=options.seconds, seed=options.seed)
        faults = result["faults"]
        bad += len(faults)
        counts = f"{result['refused']:6} refused, {result['read']:6} read, {len(faults):4} faults"
        print(f"{name:22} {counts}, {result['memory'] / 1e6:6.0f} MB", flush=True)
        for number, fault, mutant in faults[:5]:
            print(f"  mutant {number}: {fault}")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{name} {number}").write_bytes(mutant)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
