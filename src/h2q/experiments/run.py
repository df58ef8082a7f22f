"""Running a plan: any number of processes, on one folder, until no cell is left."""

import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from h2q.checks import check_integer
from h2q.experiments.cells import Cell, cells_of, group_by_network
from h2q.experiments.plan import Plan
from h2q.experiments.store import ExperimentFolder
from h2q.progress import progress_bar

__all__ = ["RunSummary", "run_plan"]

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class RunSummary:
    """What a run left behind.

    Attributes
    ----------
    n_cells, n_done : int
        Cells of the plan, and those that are done.
    n_new : int
        Those among them that were done since the run began.
    failed : tuple of (str, str)
        What failed: the cell, and why.
    seconds : float
        Wall-clock time of the run.
    """

    n_cells: int
    n_done: int
    n_new: int
    failed: tuple[tuple[str, str], ...]
    seconds: float


def run_plan(plan: Plan, folder: str | os.PathLike[str], *, processes: int = 1, progress: bool = True) -> RunSummary:
    """Run the cells of a plan that the folder does not hold yet.

    However the run ends, by a kill, a power cut or the user, the next one goes on with the next cell. Several runs may
    work on one folder at once, each with several processes. A cell that failed is tried again by the next run.

    Parameters
    ----------
    plan : Plan
        What to run.
    folder : path
        Where the results go; see `h2q.experiments.store`.
    processes : int
        How many processes share the work. They divide the cores, and two of one thread each do more than one of two.
        A script that asks for more than one needs ``if __name__ == "__main__":``.
    progress : bool
        Whether to show a bar on a terminal.

    Returns
    -------
    RunSummary

    Raises
    ------
    FileNotFoundError, MissingDependencyError
        If data or packages are missing.
    FileExistsError
        If the folder holds something else.
    """
    check_integer(processes, "processes", low=1)
    cells = list(cells_of(plan))
    store = ExperimentFolder(folder)
    store.create({"name": plan.name, "plan": asdict(plan), "cells": [_entry(cell) for cell in cells]})
    keys = {cell.key for cell in cells}
    before = len(keys & store.finished())
    began = time.perf_counter()
    started = _now()
    with progress_bar(plan.name, len(cells), enabled=progress) as advance:
        advance(before)
        if processes == 1:
            for _ in _work(cells, store, os.cpu_count() or 1, started):
                advance(1)
        else:
            _work_together(cells, store, processes, started, advance, before)
    records = store.records()
    mine = [records.get(cell.key) for cell in cells]
    done = sum(record is not None and record["status"] == "done" for record in mine)
    failed = tuple(
        (cell.describe(), record["error"])
        for cell, record in zip(cells, mine, strict=True)
        if record is not None and record["status"] == "failed"
    )
    return RunSummary(len(cells), done, done - before, failed, time.perf_counter() - began)


def _entry(cell: Cell) -> dict[str, Any]:
    return {"key": cell.key, "cell": coordinates(cell)}


def coordinates(cell: Cell) -> dict[str, Any]:
    """Return where a cell stands in the grid."""
    network = cell.network
    names = ("dataset", "backbone", "loss", "n_bits", "seed")
    return {name: getattr(network, name) for name in names} | {"quantizer": cell.quantizer}


def _work_together(
    cells: Sequence[Cell], store: ExperimentFolder, processes: int, started: str, advance: Any, before: int
) -> None:
    """Start processes, show how far they are, and wait for them; whatever one leaves, the others take over."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // processes)
    arguments = (cells, store.path, threads, started)
    workers = [context.Process(target=_worker, args=arguments, daemon=True) for _ in range(processes)]
    keys, shown = {cell.key for cell in cells}, before
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            workers[0].join(_POLL_SECONDS)
            done = len(keys & store.finished())
            advance(done - shown)
            shown = done
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    broken = [worker.exitcode for worker in workers if worker.exitcode]
    if len(broken) == processes:
        raise RuntimeError(
            f"all {processes} processes ended early (exit codes {', '.join(map(str, broken))}); their errors stand "
            "above. What is done is kept: run again to go on"
        )


def _worker(cells: Sequence[Cell], path: Path, threads: int, started: str) -> None:
    """Work in a process of its own until nothing is left, or the process that started it is gone."""
    parent = os.getppid()
    for _ in _work(cells, ExperimentFolder(path), threads, started):
        if os.getppid() != parent:
            return


def _work(cells: Sequence[Cell], store: ExperimentFolder, threads: int, started: str) -> Iterator[Cell]:
    """Do whatever cells are left, network by network, and yield each when it is written.

    Networks that another process works on are left to it, and looked at again at the end: it may have died.
    """
    groups = group_by_network(list(cells))
    with _limited(threads):
        while True:
            settled = _settled(store, started)
            open_groups = [key for key, group in groups.items() if any(cell.key not in settled for cell in group)]
            if not open_groups:
                return
            worked = False
            for key in open_groups:
                with store.claim(key) as mine:
                    settled = _settled(store, started) if mine else settled
                    left = [cell for cell in groups[key] if cell.key not in settled] if mine else []
                    for cell in _run_group(left, store, threads):
                        worked = True
                        yield cell
            if not worked:
                time.sleep(_POLL_SECONDS)


def _settled(store: ExperimentFolder, started: str) -> set[str]:
    """Return the keys of cells that are done, or failed since this run began."""
    return {
        key for key, record in store.records().items() if record["status"] == "done" or record["finished"] >= started
    }


def _run_group(cells: list[Cell], store: ExperimentFolder, threads: int) -> Iterator[Cell]:
    """Run cells of one network; one that fails is written down as failed, and the others go on."""
    from h2q.experiments.networks import describe_data, load_data, obtain_network
    from h2q.experiments.scoring import make_quantizer, score_codes, score_embeddings

    if not cells:
        return
    spec = cells[0].network
    data = describe_data(load_data(spec.dataset, spec.seed))
    _check_same_images(store, spec.dataset, data["fingerprint"])
    network, real = None, None
    for cell in cells:
        began = time.process_time()
        record: dict[str, Any] = {"key": cell.key, "status": "done", "cell": coordinates(cell), "data": data}
        record["options"] = {"network": dict(spec.options), "quantizer": dict(cell.options)}
        try:
            network = network or obtain_network(spec, store, threads)
            real = real or score_embeddings(network.embedded, cell.options)
            if cell.quantizer == "real":
                found = real
            else:
                quantizer = make_quantizer(cell.quantizer, spec.seed, cell.options)
                found = score_codes(network.embedded, quantizer, cell.options)
            record["network"] = {"key": spec.key, **network.training, "seconds": dict(network.seconds)}
            record["scores"] = {**real["scores"], **found["scores"]}
            record["seconds"] = {**found["seconds"], "processor": time.process_time() - began}
        except ImportError:
            raise
        except Exception as error:
            record |= {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        record["versions"] = _versions()
        record["finished"] = _now()
        store.append(record)
        yield cell


def _check_same_images(store: ExperimentFolder, dataset: str, fingerprint: str) -> None:
    for record in store.records().values():
        if record["cell"]["dataset"] == dataset and record["data"]["fingerprint"] != fingerprint:
            raise ValueError(
                f"{store.path} holds results of other images of {dataset} than are found now; use a new folder"
            )


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Keep this process to so many threads: of BLAS, of numba's kernels, and of torch, where it is installed."""
    from numba import get_num_threads, set_num_threads
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(threads))
        stack.callback(set_num_threads, get_num_threads())
        set_num_threads(min(threads, get_num_threads()))
        try:
            import torch
        except ModuleNotFoundError:
            pass
        else:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(threads)
        yield


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")  # of one length, so that text sorts as time


def _versions() -> dict[str, str]:
    found = {}
    for package in ("h2q", "numpy", "scipy", "torch", "lightning"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
