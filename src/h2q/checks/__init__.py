"""Validation of arguments: one function per kind, whose errors name the argument, what came and the way out."""

from h2q.checks.columns import as_codes, as_ids, as_labels
from h2q.checks.embeddings import AllowZeroRows, as_embeddings
from h2q.checks.numbers import MAX_BITS, bytes_per_code, check_integer, check_metric, check_n_bits, check_number

__all__ = [
    "MAX_BITS",
    "AllowZeroRows",
    "as_codes",
    "as_embeddings",
    "as_ids",
    "as_labels",
    "bytes_per_code",
    "check_integer",
    "check_metric",
    "check_n_bits",
    "check_number",
]
