"""Plans for very many codes, from measured runs."""

import json

import numpy as np
import pytest

from h2q.index.planning import NOTES, Machine, Run, estimate, measured_runs, plan

RUNS = [
    Run("e", bits, n, n * (2 * bits / 8 + 9), n * bits / 8, 1e-6 * n**1.1 * bits, 1e-9 * n**0.5 * bits)
    for bits in (64, 256)
    for n in (1000, 100_000)
]


def test_an_estimate_follows_the_law_that_the_runs_follow() -> None:
    run = estimate(RUNS, 10**9, 128)
    np.testing.assert_allclose(
        [run.memory, run.disk, run.build, run.search],
        [1e9 * 41, 1e9 * 16, 1e-6 * 1e9**1.1 * 128, 1e-9 * 1e9**0.5 * 128],
        rtol=1e-5,
    )


def test_scans_take_a_constant_and_a_part_in_proportion() -> None:
    runs = [
        Run("folder", bits, n, 5e6 + n * (bits / 8 + 8), n * bits / 8, 1e-3 + 1e-9 * n, 1e-5 + n * bits * 2e-12)
        for bits in (64, 256)
        for n in (10_000, 1_000_000)
    ]
    run = estimate(runs, 10**9, 128)
    np.testing.assert_allclose([run.memory, run.build, run.search], [24e9 + 5e6, 1.001, 0.25601], rtol=1e-4)


def test_noise_never_makes_more_codes_cheaper() -> None:
    runs = [
        Run(engine, bits, n, 1e7 - n, 1e6, 1 / n, 1 / n / bits)
        for engine in ("folder", "e")
        for bits in (64, 256)
        for n in (1000, 9000)
    ]
    for engine in ("folder", "e"):
        few, many = (estimate([r for r in runs if r.engine == engine], n, 64) for n in (10**6, 10**10))
        for name in ("memory", "disk", "build", "search"):
            assert getattr(many, name) >= getattr(few, name) * (1 - 1e-9) > 0


def test_codes_are_divided_among_machines() -> None:
    (demand,) = plan(1e9, 128, Machine(memory=10e9, cores=4, price=1.0, storage_price=0.1, usable=0.5), RUNS)
    assert demand.machines == 9  # 41 GB in parts of at most 5 GB
    share = estimate(RUNS, 1e9 / 9, 128)
    np.testing.assert_allclose(demand.batch_seconds, 100 * share.search / 4)
    np.testing.assert_allclose(demand.queries_per_second, 4 / share.search)
    np.testing.assert_allclose(demand.build_hours, share.build / 4 / 3600)
    np.testing.assert_allclose(demand.dollars_per_month, 9 * 730 + 16 * 0.1, rtol=1e-6)


def test_the_figures_of_the_package_name_their_processor() -> None:
    measured_on, runs = measured_runs()
    assert "cores" in measured_on
    assert {run.engine for run in runs} == set(NOTES)
    for engine in NOTES:
        several = [run for run in runs if run.engine == engine]
        assert len({run.items for run in several}) > 1
        assert len({run.bits for run in several}) > 1
        # At least the codes themselves, and not absurdly more.
        demand = next(demand for demand in plan(1e9, 64) if demand.engine == engine)
        assert 8e9 <= demand.disk < 400e9
        assert demand.machines >= 1


@pytest.mark.parametrize(("items", "bits"), [(10, 64), (1e9, 0), (float("nan"), 64)])
def test_numbers_out_of_range_are_refused(items: float, bits: int) -> None:
    with pytest.raises(ValueError, match=r"items|bits"):
        plan(items, bits)


def test_the_command_says_what_it_assumes(capsys: pytest.CaptureFixture[str]) -> None:
    from h2q.cli.plan import plan as command

    command(1e9, 64, 64, 8, 0.504, 0.08, as_json=False)
    printed = capsys.readouterr().out
    assert "1,000,000,000 codes of 64 bits" in printed
    assert "0.504 $/h" in printed
    assert "Not measured: Milvus" in " ".join(printed.split())
    assert "2024" in printed
    command(1e9, 64, 64, 8, 0.504, 0.08, as_json=True)
    assert {engine["engine"] for engine in json.loads(capsys.readouterr().out)["engines"]} == set(NOTES)
