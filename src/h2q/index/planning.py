"""What an index of very many codes takes: memory, disk, time and money, from figures measured at fewer codes.

Bytes an item are linear in the bytes of a code. Processor seconds follow a power law,
``log(seconds) = a + p log(items) + q log(bytes)``. Both are fitted by least squares to the runs of
`benchmarks/plan.py`, which ``plan_figures.json`` holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from h2q.checks import bytes_per_code, check_integer, check_number
from h2q.files import decode_json

__all__ = ["Demand", "Machine", "Run", "estimate", "measured_runs", "plan"]

_HOURS_PER_MONTH = 730.0


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
    """A machine that is rented; the defaults are list prices of 2024 in the United States, on demand.

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
        Share of the memory that codes may fill.
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
    query_seconds : float
        Seconds until a query is answered, all machines at work for it alone.
    queries_per_second : float
        Queries that all machines answer together in a second.
    dollars_per_month : float
        Rent of machines and disks.
    """

    engine: str
    memory: float
    disk: float
    machines: int
    build_hours: float
    query_seconds: float
    queries_per_second: float
    dollars_per_month: float


def measured_runs() -> tuple[str, tuple[Run, ...]]:
    """Return the processor on which the package's figures were measured, with the date, and the runs."""
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

    def per_item(values: Sequence[float]) -> float:
        design = np.column_stack([np.ones(len(runs)), n_bytes])
        # Runs with more items count more: fixed costs matter less in them.
        weights = np.sqrt(n_items)
        base, slope = np.linalg.lstsq(design * weights[:, None], np.array(values) / n_items * weights, rcond=None)[0]
        return float(items * (base + slope * wanted))

    def power_law(values: Sequence[float]) -> float:
        design = np.column_stack([np.ones(len(runs)), np.log(n_items), np.log(n_bytes)])
        a, p, q = np.linalg.lstsq(design, np.log(np.maximum(values, 1e-12)), rcond=None)[0]
        return float(np.exp(a + p * math.log(items) + q * math.log(wanted)))

    return Run(
        runs[0].engine,
        bits,
        int(items),
        per_item([run.memory for run in runs]),
        per_item([run.disk for run in runs]),
        power_law([run.build for run in runs]),
        power_law([run.search for run in runs]),
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
        share.search / machine.cores,
        machine.cores / share.search,
        machines * machine.price * _HOURS_PER_MONTH + whole.disk / 1e9 * machine.storage_price,
    )
