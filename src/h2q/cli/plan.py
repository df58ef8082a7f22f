"""``h2q plan``: what an index of very many codes takes."""

from typing import Annotated

import typer

from h2q.cli.common import JsonOption, format_bytes, format_seconds, print_json, print_paragraph, print_table

__all__ = ["plan"]


def plan(
    items: Annotated[float, typer.Option("--items", min=1000, help="Number of codes, such as 1e9.")],
    bits: Annotated[int, typer.Option("--bits", min=1, max=65_536, help="Bits of a code.")],
    memory: Annotated[float, typer.Option("--machine-memory", min=1, help="GiB of memory of a machine.")] = 64,
    cores: Annotated[int, typer.Option("--machine-cores", min=1, help="Cores of a machine.")] = 8,
    price: Annotated[
        float, typer.Option("--machine-price", min=0, help="Dollars an hour (assumed: list price of 2024).")
    ] = 0.504,
    storage_price: Annotated[
        float,
        typer.Option("--storage-price", min=0, help="Dollars for 1 GB of disk a month (assumed: list price of 2024)."),
    ] = 0.08,
    as_json: JsonOption = False,
) -> None:
    """Estimate memory, time and money of an index of very many codes, on each engine.

    From figures that were measured at fewer codes: docs/scale.md has them, and the error. Plans of experiments are
    another thing: h2q experiment.
    """
    from dataclasses import asdict

    from h2q.index import planning

    machine = planning.Machine(memory * 2.0**30, cores, price, storage_price)
    demands = planning.plan(items, bits, machine)
    measured_on, _ = planning.measured_runs()
    if as_json:
        engines = [asdict(demand) for demand in demands]
        print_json(
            {"items": items, "bits": bits, "machine": asdict(machine), "measured_on": measured_on, "engines": engines}
        )
        return
    rows = [
        (
            demand.engine,
            format_bytes(demand.memory),
            format_bytes(demand.disk),
            demand.machines,
            _hours(demand.build_hours),
            format_seconds(demand.batch_seconds),
            _rate(demand.queries_per_second),
            f"{demand.dollars_per_month:,.0f}",
        )
        for demand in demands
    ]
    columns = ["engine", "memory", "disk", "machines", "build", "100 queries", "queries/s", "$/month"]
    print_table(columns, rows)
    for demand in demands:
        print_paragraph(f"{demand.engine}: {demand.note}.")
    print_paragraph(
        f"{items:,.0f} codes of {bits} bits, extrapolated from runs on {measured_on}: bytes and processor seconds, "
        f"these divided by the cores. Assumed: machines of {memory:g} GiB and {cores} cores at {price:g} $/h, disk at "
        f"{storage_price:g} $ a GB and month (defaults: list prices of 2024, on demand, us-east-1), and "
        f"{100 * machine.usable:.0f} % of the memory used. Not measured: Milvus."
    )


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def _hours(hours: float) -> str:
    return f"{60 * hours:.1f} min" if hours < 1 else f"{hours:.1f} h" if hours < 100 else f"{hours / 24:.0f} days"
