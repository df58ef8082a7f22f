"""Run a plan: any number of processes on one folder, until no cell is left."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.comparison import EmbeddedFolds, Score, score_embeddings, score_quantizer
from h2q.experiments.cells import Cell, cells_of, group_by_network
from h2q.experiments.plan import Plan, resolve_quantizer
from h2q.experiments.records import CellScores, CellSeconds, DataVersion, NetworkSummary, Record, StoredPlan
from h2q.experiments.store import ExperimentFolder
from h2q.progress import progress_bar
from h2q.quantization import make_quantizer

__all__ = ["RunSummary", "run_plan"]

_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class RunSummary:
    """The state of an experiment after a run.

    Attributes
    ----------
    n_cells, n_done : int
        Cells of the plan, and those that are done.
    n_new : int
        Cells done since the run began.
    failed : tuple of (str, str)
        Cells that failed, each with the error.
    seconds : float
        Wall-clock time of the run.

    Examples
    --------
    >>> summary = RunSummary(n_cells=400, n_done=399, n_new=10, failed=(("DCH / 16 bits", "killed"),), seconds=60.0)
    >>> summary.n_cells - summary.n_done
    1
    """

    n_cells: int
    n_done: int
    n_new: int
    failed: tuple[tuple[str, str], ...]
    seconds: float


def run_plan(plan: Plan, folder: str | os.PathLike[str], *, processes: int = 1, progress: bool = True) -> RunSummary:
    """Run the cells of a plan that the folder does not hold yet.

    A run may be killed at any time; the next run continues with the next cell. Several runs may share a folder, each
    with several processes. The next run tries failed cells again.

    Parameters
    ----------
    plan : Plan
        The grid.
    folder : path
        Folder of the results; see `h2q.experiments.store`.
    processes : int
        Number of processes; they share the cores. Two processes of one thread each do more than one of two threads.
        A script that asks for more than one needs ``if __name__ == "__main__":``.
    progress : bool
        Whether to show a progress bar with the time left on a terminal.

    Returns
    -------
    RunSummary

    Raises
    ------
    FileNotFoundError, MissingDependencyError
        If data or packages are missing.
    FileExistsError
        If the folder holds something else.

    Examples
    --------
    Two cells on handwritten digits, their results and their report:

    >>> import tempfile
    >>> from h2q.experiments import compare_results, load_results, parse_plan, status_of, write_report
    >>> plan = parse_plan('''
    ... name = "digits"
    ... [grid]
    ... datasets = ["digits"]
    ... losses = ["DPSH"]
    ... bits = [16]
    ... quantizers = ["real", "sign"]
    ... [training]
    ... image_size = 32
    ... epochs = 1
    ... ''')
    >>> folder = Path(tempfile.mkdtemp()) / "digits"
    >>> summary = run_plan(plan, folder)
    >>> summary.n_done, status_of(folder).by_quantizer
    (2, (('real', 1, 1), ('sign', 1, 1)))
    >>> results = load_results(folder)
    >>> [row.quantizer for row in results.rows]
    ['real', 'sign']
    >>> compare_results(results, results)[0].comparison.mean
    0.0
    >>> [path.name for path in write_report(folder)]
    ['report.md', 'report.tex', 'report.html']
    """
    check_integer(processes, "processes", low=1)
    cells = list(cells_of(plan))
    store = ExperimentFolder(folder)
    store.create(StoredPlan(plan, tuple(cells)))
    keys = {cell.key for cell in cells}
    before = len(keys & store.finished())
    began = time.perf_counter()
    started = _now()
    with progress_bar(plan.name, len(cells), enabled=progress, done=before) as advance:
        if processes == 1:
            for _ in _work(cells, store, os.cpu_count() or 1, started):
                advance(1)
        else:
            _work_together(cells, store, processes, started, advance, before)
    records = store.records()
    reached = [(cell, records[cell.key]) for cell in cells if cell.key in records]
    done = sum(record.is_done for _, record in reached)
    failed = tuple((cell.describe(), record.error) for cell, record in reached if record.error is not None)
    return RunSummary(len(cells), done, done - before, failed, time.perf_counter() - began)


def _work_together(
    cells: Sequence[Cell], store: ExperimentFolder, processes: int, started: str, advance: Any, before: int
) -> None:
    """Start processes, show their progress and wait for them; if one dies, the others take over its work."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // processes)
    arguments = (cells, store.path, threads, started)
    workers = [context.Process(target=_worker, args=arguments, daemon=True) for _ in range(processes)]
    keys, shown = {cell.key for cell in cells}, before
    try:
        _start(workers)
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
            f"all {processes} processes ended early (exit codes {', '.join(map(str, broken))}); see their errors "
            "above. Finished cells are kept: run again to continue"
        )


def _start(workers: Sequence[BaseProcess]) -> None:
    """Start processes that leave Ctrl-C, which a terminal sends to all processes, to this one."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the workers inherit it
    try:
        for worker in workers:
            worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _worker(cells: Sequence[Cell], path: Path, threads: int, started: str) -> None:
    """Work in a separate process until nothing is left, or the process that started it is gone."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    for _ in _work(cells, ExperimentFolder(path), threads, started):
        pass


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(cells: Sequence[Cell], store: ExperimentFolder, threads: int, started: str) -> Iterator[Cell]:
    """Run the remaining cells, network by network, and yield each when it is written.

    A network that another process works on is skipped, and tried again at the end: the process may have died.
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
                with store.claim(key) as claimed:
                    if not claimed:
                        continue
                    settled = _settled(store, started)
                    remaining = [cell for cell in groups[key] if cell.key not in settled]
                    for cell in _run_group(remaining, store, threads):
                        worked = True
                        yield cell
            if not worked:
                time.sleep(_POLL_SECONDS)


def _settled(store: ExperimentFolder, started: str) -> set[str]:
    """Return the keys of cells that are done, or failed since this run began."""
    return {key for key, record in store.records().items() if record.is_done or record.finished >= started}


def _run_group(cells: list[Cell], store: ExperimentFolder, threads: int) -> Iterator[Cell]:
    """Run cells of one network; a cell that fails is recorded as failed, and the others still run."""
    from h2q.experiments.networks import describe_data, load_data, obtain_network

    if not cells:
        return
    spec = cells[0].network
    data = describe_data(load_data(spec.dataset, spec.seed))
    _check_same_images(store, spec.dataset, data)
    obtained: tuple[EmbeddedFolds, NetworkSummary, Score] | None = None
    for cell in cells:
        began = time.process_time()
        try:
            if obtained is None:
                folds, network = obtain_network(spec, store, threads)
                obtained = folds, network, _score_real(cell, folds)
            folds, network, real = obtained
            score = real if cell.quantizer == "real" else _score_codes(cell, folds)
            processor = time.process_time() - began
            store.write_query_scores(cell.key, _query_scores(score))
            record = Record(
                cell, data, _versions(), _now(), network, _cell_scores(score, real), _cell_seconds(score, processor)
            )
        except ImportError:
            raise
        except Exception as error:
            record = Record(cell, data, _versions(), _now(), error=f"{type(error).__name__}: {error}")
        store.append(record)
        yield cell


def _score_real(cell: Cell, folds: EmbeddedFolds) -> Score:
    return score_embeddings(folds, k=cell.k, divisor=cell.divisor, empty=cell.empty)


def _score_codes(cell: Cell, folds: EmbeddedFolds) -> Score:
    name, _ = resolve_quantizer(cell.quantizer)
    quantizer = make_quantizer(name, random_state=cell.network.seed, **cell.options)
    return score_quantizer(
        quantizer, folds, name=cell.quantizer, k=cell.k, divisor=cell.divisor, empty=cell.empty, error_fold="database"
    )


def _query_scores(score: Score) -> dict[str, NDArray[np.float32]]:
    """Return the average precision of each query by tie policy; NaN where a query is skipped."""
    by_ties = {"map_embeddings": score.map_embeddings, "map_expected": score.map_expected}
    return {name: value.per_query.astype(np.float32) for name, value in by_ties.items() if value is not None}


def _cell_scores(score: Score, real: Score) -> CellScores:
    if real.map_expected is None or score.map_expected is None or score.map_embeddings is None:
        raise ValueError("the data set has no labels to score by")
    if score is real:
        return CellScores(real.map_expected.value)
    low, high = score.map_embeddings.confidence_interval()
    return CellScores(
        real.map_expected.value, score.map_embeddings.value, (low, high),
        score.map_expected.value, score.quantization_error_l1, score.quantization_error_l2, score.distinct_codes,
    )  # fmt: skip


def _cell_seconds(score: Score, processor: float) -> CellSeconds:
    return CellSeconds(score.score_seconds or 0.0, processor, score.fit_seconds, score.encode_seconds)


def _check_same_images(store: ExperimentFolder, dataset: str, data: DataVersion) -> None:
    for record in store.records().values():
        if record.cell.network.dataset == dataset and record.data.fingerprint != data.fingerprint:
            raise ValueError(
                f"{store.path} holds results of other images of {dataset} than the data set has now; use a new folder"
            )


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Limit the threads of this process: of BLAS, of numba's kernels, and of torch, if it is installed."""
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
    return datetime.now(UTC).isoformat(timespec="microseconds")  # fixed length, so that text sorts as time


def _versions() -> dict[str, str]:
    versions = {}
    for package in ("h2q", "numpy", "scipy", "torch", "lightning"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
