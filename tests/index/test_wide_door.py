"""A learned rotation in front of PostgreSQL, which knows only signs: better codes, the same inner products."""

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector
from sklearn.datasets import load_digits

from h2q import HouseholderQuantizer

X = load_digits().data.astype(np.float32)
X = X[:, X.std(axis=0) > 0.3]
QUERIES, ITEMS = X[:100], X[100:]
D, K = X.shape[1], 10


def recall(connection: psycopg.Connection, column: str, queries: np.ndarray) -> float:
    """Return recall@10 of the signs that PostgreSQL takes, against its own inner products of the raw vectors."""
    total = 0.0
    for raw, query in zip(QUERIES, queries, strict=True):
        truth = connection.execute(f"select id from wide order by raw <#> %s limit {K}", [raw])
        bits = f"binary_quantize({column})::bit({D}) <~> binary_quantize(%s::vector({D}))"
        near = connection.execute(f"select id from wide order by {bits}, id limit {K}", [query])
        total += len({row[0] for row in truth} & {row[0] for row in near}) / K
    return total / len(QUERIES)


def test_rotated_signs_are_better_and_inner_products_the_same(postgresql: str) -> None:
    normed = ITEMS / np.linalg.norm(ITEMS, axis=1, keepdims=True)
    quantizer = HouseholderQuantizer(D, random_state=0).fit(normed)
    rotated, centered = quantizer.transform(normed), normed - quantizer.mean_
    with psycopg.connect(postgresql) as connection:
        connection.execute("create extension if not exists vector")
        register_vector(connection)
        columns = ", ".join(f"{name} vector({D})" for name in ("raw", "centered", "rotated"))
        connection.execute(f"create temporary table wide (id int, {columns})")
        with connection.cursor().copy("copy wide from stdin (format binary)") as copy:
            copy.set_types(["int4", "vector", "vector", "vector"])
            for row in zip(range(len(normed)), normed, centered, rotated, strict=True):
                copy.write_row(row)
        queries = QUERIES / np.linalg.norm(QUERIES, axis=1, keepdims=True)
        raw = recall(connection, "raw", queries)
        plain = recall(connection, "centered", queries - quantizer.mean_)
        learned = recall(connection, "rotated", quantizer.transform(queries))
        assert learned > plain > raw
        # The query is not centered: the order of inner products is that of the raw vectors.
        for query in queries[:20]:
            by_raw = connection.execute(f"select id, raw <#> %s from wide order by 2 limit {K}", [query]).fetchall()
            turned = query @ quantizer.projection_
            by_rotated = connection.execute(
                f"select id, rotated <#> %s from wide order by 2 limit {K}", [turned]
            ).fetchall()
            assert [row[0] for row in by_rotated] == [row[0] for row in by_raw]
            offset = query @ quantizer.mean_
            assert [row[1] - offset for row in by_rotated] == pytest.approx([row[1] for row in by_raw], abs=1e-4)
