"""The paper's grid, or one of your own: a plan, a resumable run, and a report."""

from h2q.experiments.cells import Cell, NetworkSpec, Setting, cells_of
from h2q.experiments.differences import QuantizerDifference, compare_results, difference_table
from h2q.experiments.plan import Plan, plan_quantizers
from h2q.experiments.plan_file import PLANS, load_plan, parse_plan, read_plan
from h2q.experiments.records import CellScores, CellSeconds, DataVersion, NetworkSummary, Record
from h2q.experiments.report import build_report, write_report
from h2q.experiments.results import Results, Row, Status, load_results, reference_rows, status_of
from h2q.experiments.run import RunSummary, run_plan
from h2q.experiments.toml_table import PlanError

__all__ = [
    "PLANS",
    "Cell",
    "CellScores",
    "CellSeconds",
    "DataVersion",
    "NetworkSpec",
    "NetworkSummary",
    "Plan",
    "PlanError",
    "QuantizerDifference",
    "Record",
    "Results",
    "Row",
    "RunSummary",
    "Setting",
    "Status",
    "build_report",
    "cells_of",
    "compare_results",
    "difference_table",
    "load_plan",
    "load_results",
    "parse_plan",
    "plan_quantizers",
    "read_plan",
    "reference_rows",
    "run_plan",
    "status_of",
    "write_report",
]
