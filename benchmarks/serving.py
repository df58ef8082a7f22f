"""Requests that ``h2q serve`` answers: 64 clients, 60,000 CIFAR-10 images, searches by id, code and embedding.

    python benchmarks/serving.py [--embeddings FEATURES.npy] [--rate 200] [--seconds 30]

Builds an index as ``h2q images index`` does (128 bits, whitened, embeddings kept), starts ``h2q serve`` in a process of
its own on a free port of 127.0.0.1, and sends requests from this one. Each answer has 20 results; ids and embeddings
are re-ranked, the default. Two runs:

- paced: requests begin at fixed times, `--rate` a second in all; the time of an answer counts from when its request was
  due, so that a server that falls behind shows it;
- closed: each client sends the next request when it has its answer, for a third of the time: the largest rate.

Without ``--embeddings``, features of CIFAR-10's 60,000 images are computed, or read from the cache.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil

from machine import processor

CLIENTS, K, SEED = 64, 20, 0


def load_embeddings(path: Path | None) -> np.ndarray:
    if path is not None:
        return np.load(path, mmap_mode="r")
    from h2q.datasets import load_dataset
    from h2q.similarity import extract_features

    return extract_features(load_dataset("cifar10"))


def build_index(embeddings: np.ndarray, folder: Path) -> None:
    from h2q.index import BinaryIndex
    from h2q.quantization import HouseholderQuantizer

    sample = np.sort(np.random.default_rng(SEED).choice(len(embeddings), 4096, replace=False))
    quantizer = HouseholderQuantizer(128, whitening=1.0, random_state=SEED).fit(np.array(embeddings[sample]))
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    names = [f"train/{number:05}.png" for number in range(len(embeddings))]
    index.add(embeddings, names, {"size": np.arange(len(embeddings)) % 3000, "width": np.full(len(embeddings), 32)})
    index.save(folder)


def make_requests(embeddings: np.ndarray, folder: Path, n: int) -> list[bytes]:
    """Return whole requests: a third each by id, by code and by embedding."""
    from h2q.index import BinaryIndex

    generator = np.random.default_rng(SEED)
    rows = generator.integers(len(embeddings), size=n)
    index = BinaryIndex.open(folder)
    requests = []
    for number, row in enumerate(rows.tolist()):
        name = f"train/{row:05}.png"
        if number % 3 == 0:
            query: dict[str, Any] = {"id": name}
        elif number % 3 == 1:
            query = {"code": index.codes([name])[0].tobytes().hex()}
        else:
            query = {"embedding": [round(float(value), 5) for value in embeddings[row]]}
        body = json.dumps({**query, "k": K}).encode()
        head = "POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        requests.append(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return requests


@contextmanager
def server(folder: Path) -> Iterator[tuple[psutil.Process, str, int]]:
    program = "from h2q.cli import main; main()"
    arguments = [sys.executable, "-c", program, "serve", str(folder), "--port", "0", "--rate-limit", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = urlsplit(next(iter(process.stdout or ())).split()[0])
            yield psutil.Process(process.pid), address.hostname or "", address.port or 0
        finally:
            process.terminate()


class Client:
    """One connection, which is kept."""

    async def connect(self, host: str, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection(host, port)

    async def send(self, request: bytes) -> bool:
        """Send a request; return whether the answer holds K results."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        body = await self._reader.readexactly(length)
        return head.startswith(b"HTTP/1.1 200") and len(json.loads(body)["results"]) == K

    def close(self) -> None:
        self._writer.close()


async def run(host: str, port: int, requests: list[bytes], rate: float | None, seconds: float) -> dict[str, float]:
    """Send requests, at a rate or as fast as answers come; return what was measured."""
    clients = [Client() for _ in range(CLIENTS)]
    for client in clients:
        await client.connect(host, port)
    times: list[float] = []
    errors = 0
    began = time.perf_counter()

    async def work(number: int, client: Client) -> None:
        nonlocal errors
        for turn in range(10**9):
            position = turn * CLIENTS + number
            due = time.perf_counter() if rate is None else began + position / rate
            if due >= began + seconds:
                return
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            try:
                errors += not await client.send(requests[position % len(requests)])
            except (OSError, EOFError, ValueError):
                errors += 1
                return
            times.append(time.perf_counter() - due)

    await asyncio.gather(*(work(number, client) for number, client in enumerate(clients)))
    elapsed = time.perf_counter() - began
    for client in clients:
        client.close()
    p50, p99 = np.percentile(times, [50, 99])
    return {
        "requests": len(times),
        "rate": len(times) / elapsed,
        "errors": errors,
        "p50": p50,
        "p99": p99,
        "max": max(times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    embeddings = load_embeddings(arguments.embeddings)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "index"
        build_index(embeddings, folder)
        requests = make_requests(embeddings, folder, 3_000)
        print(f"{len(embeddings):,} images, 128 bits, {CLIENTS} clients, k={K}; {processor()}")
        print(f"load average before: {os.getloadavg()[0]:.1f}\n")
        print(
            "| run | requests | answers/s | errors | median ms | p99 ms | slowest ms | server's processor ms/answer |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        with server(folder) as (process, host, port):
            asyncio.run(run(host, port, requests, None, 2.0))  # pages of the index come into memory
            for name, rate, seconds in (
                (f"paced, {arguments.rate:g}/s", arguments.rate, arguments.seconds),
                ("closed", None, arguments.seconds / 3),
            ):
                before = sum(process.cpu_times()[:2])
                result = asyncio.run(run(host, port, requests, rate, seconds))
                own = 1000 * (sum(process.cpu_times()[:2]) - before) / result["requests"]
                times = " | ".join(f"{1000 * result[part]:.0f}" for part in ("p50", "p99", "max"))
                counts = f"{result['requests']:,} | {result['rate']:.0f} | {result['errors']}"
                print(f"| {name} | {counts} | {times} | {own:.1f} |", flush=True)
        print(f"\nload average after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
