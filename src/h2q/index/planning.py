"""What an index of very many codes takes: memory, disk, time and money, from figures measured at fewer codes.

Bytes are a constant and a part in proportion to the number of codes, ``a + items (b + c bytes)``. So are the processor
seconds of engines that compare all codes (`SCANS`). Those of the others follow a power law,
``log(seconds) = a + p log(items) + q log(bytes)``. Both are fitted by least squares, with coefficients b, c, p and q of
at least 0, to the runs of `benchmarks/plan.py`, which ``plan_figures.json`` holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

from h2q.checks import bytes_per_code, check_integer, check_number
from h2q.files import decode_json

__all__ = ["NOTES", "SCANS", "Demand", "Machine", "Run", "estimate", "measured_runs", "plan"]

_HOURS_PER_MONTH = 730.0
_BATCH = 100

SCANS = frozenset({"folder"})

NOTES = {
    "folder": "exact: a query compares all codes",
    "faiss": "IVF, recall@100 of 0.95; memory is assumed to be the size of its files; the time of building is a lower "
    "bound, since it grows as items^1.5 in the end",
    "postgresql": "HNSW of pgvector; memory is assumed to be the size of table and index, all cached",
}


@dataclass(frozen=True)
class Run:
    """A run that was measured.

    Attributes
    ----------
    engine : str
        Engine, as in `h2q.index.create_index`; "folder" is the exact index.
    bits, items : int
        Bits of a code; number of codes.
    memory, disk : float
        Bytes in memory while it is searched, and in files.
    build, search : float
        Processor seconds of adding and saving all codes, and of a query for the 10 nearest in batches of 100; those of
        the server included.

    Examples
    --------
    >>> run = Run("folder", bits=64, items=1_000_000, memory=16e6, disk=16e6, build=0.05, search=0.0002)
    >>> run.memory / run.items
    16.0
    """

    engine: str
    bits: int
    items: int
    memory: float
    disk: float
    build: float
    search: float


@dataclass(frozen=True)
class Machine:
    """A machine that is rented.

    The defaults are an assumption: the size and list price of an r6i.2xlarge of Amazon in us-east-1, on demand, and of
    gp3 disks, in 2024.

    Attributes
    ----------
    memory : float
        Bytes of memory. Default: 64 GiB.
    cores : int
        Processors that compute at once. Default: 8.
    price : float
        Dollars an hour. Default: 0.504.
    storage_price : float
        Dollars for 10^9 bytes of disk a month. Default: 0.08.
    usable : float
        Share of the memory that codes may fill. Default: 0.8.

    Examples
    --------
    >>> Machine(memory=128 * 2**30, cores=16, price=1.008).usable
    0.8
    """

    memory: float = 64 * 2.0**30
    cores: int = 8
    price: float = 0.504
    storage_price: float = 0.08
    usable: float = 0.8


@dataclass(frozen=True)
class Demand:
    """What an index takes.

    Attributes
    ----------
    engine : str
        The engine.
    memory, disk : float
        Bytes, all machines together.
    machines : int
        Number of machines whose memory holds it, each with an equal share of the codes.
    build_hours : float
        Hours until all codes are added, all machines at work.
    batch_seconds : float
        Seconds until a batch of 100 queries is answered, all machines at work for it alone.
    queries_per_second : float
        Queries that all machines answer together in a second, in such batches.
    dollars_per_month : float
        Rent of machines and disks.
    note : str
        What the engine does, and which of the numbers are assumed.

    Examples
    --------
    >>> folder = plan(1e9, 64)[0]
    >>> folder.engine, folder.machines
    ('folder', 1)
    """

    engine: str
    memory: float
    disk: float
    machines: int
    build_hours: float
    batch_seconds: float
    queries_per_second: float
    dollars_per_month: float
    note: str


def measured_runs() -> tuple[str, tuple[Run, ...]]:
    """Return the processor on which the package's figures were measured, with the date, and the runs.

    Examples
    --------
    >>> measured_on, runs = measured_runs()
    >>> sorted({run.engine for run in runs})
    ['faiss', 'folder', 'postgresql']
    """
    content = files("h2q.index").joinpath("plan_figures.json").read_bytes()
    document: dict[str, Any] = decode_json(content, "plan_figures.json", checked=False)
    return document["measured_on"], tuple(Run(**run) for run in document["runs"])


def estimate(runs: Sequence[Run], items: float, bits: int) -> Run:
    """Return what a run of one engine with so many codes is expected to measure.

    Parameters
    ----------
    runs : sequence of Run
        Runs of the engine: at least two numbers of items and two lengths of codes.
    items : float
        Number of codes.
    bits : int
        Bits of a code.

    Examples
    --------
    >>> sizes = [(b, n) for b in (64, 256) for n in (1000, 9000)]
    >>> runs = [Run("e", b, n, n * (b / 8 + 8), n * b / 8, n * 1e-6, n * b * 1e-12) for b, n in sizes]
    >>> expected = estimate(runs, 1e6, 128)
    >>> round(expected.memory), round(expected.build, 3), round(expected.search * 1e6, 3)
    (24000000, 1.0, 128.0)
    """
    n_bytes = np.array([bytes_per_code(run.bits) for run in runs], np.float64)
    n_items = np.array([run.items for run in runs], np.float64)
    wanted = float(bytes_per_code(bits))

    def proportional(values: Sequence[float]) -> float:
        design = np.column_stack([np.ones(len(runs)), n_items, n_items * n_bytes])
        # Relative errors, so that small runs say what is constant and large ones what is in proportion.
        design /= np.maximum(np.array(values), 1e-12)[:, None]
        scale = np.linalg.norm(design, axis=0)
        coefficients = lsq_linear(design / scale, np.ones(len(runs)), bounds=(0, np.inf)).x / scale
        return float(coefficients @ [1, items, items * wanted])

    def power_law(values: Sequence[float]) -> float:
        design = np.column_stack([np.ones(len(runs)), np.log(n_items), np.log(n_bytes)])
        lowest = [-np.inf, 0, 0]
        a, p, q = lsq_linear(design, np.log(np.maximum(values, 1e-12)), bounds=(lowest, np.inf)).x
        return float(np.exp(a + p * math.log(items) + q * math.log(wanted)))

    seconds = proportional if runs[0].engine in SCANS else power_law
    return Run(
        runs[0].engine,
        bits,
        int(items),
        proportional([run.memory for run in runs]),
        proportional([run.disk for run in runs]),
        seconds([run.build for run in runs]),
        seconds([run.search for run in runs]),
    )


def plan(
    items: float, bits: int, machine: Machine | None = None, runs: Sequence[Run] | None = None
) -> tuple[Demand, ...]:
    """Return what an index takes in each engine that was measured.

    The codes are divided among as many machines as hold them in memory; each answers every query from its share.

    Parameters
    ----------
    items : float
        Number of codes, at least 1,000.
    bits : int
        Bits of a code.
    machine : Machine, optional
        What is rented.
    runs : sequence of Run, optional
        Measured figures. Default: those of the package.

    Returns
    -------
    tuple of Demand
        One for each engine.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> folder = plan(1e9, 64)[0]
    >>> folder.engine, folder.machines
    ('folder', 1)
    """
    items = check_number(items, "items", low=1000)
    bits = check_integer(bits, "bits", low=1, high=65_536)
    machine = Machine() if machine is None else machine
    runs = measured_runs()[1] if runs is None else runs
    by_engine: dict[str, list[Run]] = {}
    for run in runs:
        by_engine.setdefault(run.engine, []).append(run)
    return tuple(_demand(engine_runs, items, bits, machine) for engine_runs in by_engine.values())


def _demand(runs: Sequence[Run], items: float, bits: int, machine: Machine) -> Demand:
    whole = estimate(runs, items, bits)
    machines = max(1, math.ceil(whole.memory / (machine.usable * machine.memory)))
    share = estimate(runs, items / machines, bits)
    return Demand(
        whole.engine,
        whole.memory,
        whole.disk,
        machines,
        share.build / machine.cores / 3600,
        _BATCH * share.search / machine.cores,
        machine.cores / share.search,
        machines * machine.price * _HOURS_PER_MONTH + whole.disk / 1e9 * machine.storage_price,
        NOTES.get(whole.engine, ""),
    )
