"""The rotation in front of an engine that takes plain signs: recall of pgvector's binary_quantize, rotated and not.

    python benchmarks/wide_door.py [EMBEDDINGS.npy]

32,000 WordNet glosses through MiniLM (384-d), 500 of them are queries. The rotation is fitted on 10,000 of the others.
Everything is computed by PostgreSQL: the truth by its inner product `<#>`, the codes by `binary_quantize`, distances by
`<~>`, without an index. Recall@10 of the codes alone, and after re-ranking 50 candidates by inner products.
"""

import sys
from pathlib import Path

import numpy as np
import psycopg
from pgvector.psycopg import register_vector

from real_embeddings import text_embeddings

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from h2q import HouseholderQuantizer
from servers import Postgres

QUERIES, K, CANDIDATES = 500, 10, 50


def nearest(connection: psycopg.Connection, column: str, codes: np.ndarray, floats: np.ndarray) -> tuple[list, list]:
    """Return the ids by codes alone, and after re-ranking by inner products."""
    d = floats.shape[1]
    bits = f"binary_quantize({column})::bit({d}) <~> binary_quantize(%s::vector({d}))"
    plain = f"select id from items order by {bits}, id limit {K}"
    first = f"select id, {column} from items order by {bits}, id limit {CANDIDATES}"
    second = f"select id from ({first}) candidate order by {column} <#> %s::vector({d}) limit {K}"
    alone = [[row[0] for row in connection.execute(plain, [code])] for code in codes]
    pairs = zip(codes, floats, strict=True)
    return alone, [[row[0] for row in connection.execute(second, pair)] for pair in pairs]


def main() -> None:
    X = np.load(Path(sys.argv[1])) if len(sys.argv) > 1 else text_embeddings()
    queries, items = X[:QUERIES], X[QUERIES:]
    quantizer = HouseholderQuantizer(X.shape[1], random_state=0, max_samples=10_000).fit(items)
    rotated, centered = quantizer.transform(items), items - quantizer.mean_
    server = Postgres()
    try:
        with psycopg.connect(server.address, autocommit=True) as connection:
            connection.execute("create extension vector")
            register_vector(connection)
            d = X.shape[1]
            connection.execute(
                f"create table items (id int, raw vector({d}), centered vector({d}), rotated vector({d}))"
            )
            with connection.cursor().copy("copy items from stdin (format binary)") as copy:
                copy.set_types(["int4", "vector", "vector", "vector"])
                for row in zip(range(len(items)), items, centered, rotated, strict=True):
                    copy.write_row(row)
            truth = [
                {row[0] for row in connection.execute(f"select id from items order by raw <#> %s limit {K}", [query])}
                for query in queries
            ]
            turned = queries @ quantizer.projection_
            contestants = {
                "raw": ("raw", queries, queries),
                "centered, not rotated": ("centered", queries - quantizer.mean_, queries),
                "rotated": ("rotated", quantizer.transform(queries), turned),
            }
            print(f"{len(items):,} items, {QUERIES} queries, {d} bits: recall@{K} alone, and {CANDIDATES} re-ranked")
            for name, (column, codes, floats) in contestants.items():
                results = nearest(connection, column, codes, floats)
                recalls = [
                    np.mean([len(true.intersection(row)) / K for true, row in zip(truth, rows, strict=True)])
                    for rows in results
                ]
                print(f"{name:<22} {recalls[0]:.3f} {recalls[1]:.3f}")
    finally:
        server.close()


if __name__ == "__main__":
    main()
