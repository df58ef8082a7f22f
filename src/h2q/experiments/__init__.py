"""The paper's grid, or one of your own: a plan, a resumable run, and a report."""

from h2q.experiments.cells import Cell, NetworkSpec, cells_of
from h2q.experiments.plan import PLANS, Plan, load_plan, parse_plan, quantizer_names, read_plan
from h2q.experiments.report import build_report, write_report
from h2q.experiments.results import Results, load_results, reference_rows, status_of
from h2q.experiments.run import RunSummary, run_plan
from h2q.experiments.toml_table import PlanError

__all__ = [
    "PLANS",
    "Cell",
    "NetworkSpec",
    "Plan",
    "PlanError",
    "Results",
    "RunSummary",
    "build_report",
    "cells_of",
    "load_plan",
    "load_results",
    "parse_plan",
    "quantizer_names",
    "read_plan",
    "reference_rows",
    "run_plan",
    "status_of",
    "write_report",
]
