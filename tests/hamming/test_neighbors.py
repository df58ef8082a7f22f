"""Search results as sequences: length, indexing, slicing, iteration, tables."""

import pickle

import numpy as np
import pytest

from h2q.hamming.neighbors import Neighbor, Neighbors, RadiusNeighbors

NEAREST = Neighbors(np.arange(12).reshape(4, 3), np.arange(12, dtype=np.float32).reshape(4, 3) / 8)
WITHIN = RadiusNeighbors(np.array([0, 2, 2, 5, 6]), np.arange(6), np.array([0, 1, 0, 0, 4, 2], np.int32))


@pytest.mark.parametrize(("result", "counts"), [(NEAREST, [3, 3, 3, 3]), (WITHIN, [2, 0, 3, 1])])
def test_a_result_is_a_sequence_over_queries(result, counts: list[int]) -> None:
    assert len(result) == 4
    assert [len(neighbors) for neighbors in result] == counts == result.counts.tolist()
    assert result[-1].ids.tolist() == result[3].ids.tolist()
    assert [n.ids.tolist() for n in result[1:3]] == [result[1].ids.tolist(), result[2].ids.tolist()]
    assert [n.ids.tolist() for n in result[::-2]] == [result[3].ids.tolist(), result[1].ids.tolist()]
    assert type(result[:0]) is type(result)
    assert len(result[:0]) == 0
    for query in (4, -5):
        with pytest.raises(IndexError, match=f"query {query} is out of range: the result has 4 queries"):
            result[query]
    assert pickle.loads(pickle.dumps(result))[0].ids.tolist() == result[0].ids.tolist()


def test_the_neighbors_of_a_query_are_pairs() -> None:
    neighbors = WITHIN[2]
    assert list(neighbors) == [(2, 0), (3, 0), (4, 4)]
    assert neighbors[-1] == Neighbor(id=4, distance=4)
    assert list(neighbors[1:]) == [(3, 0), (4, 4)]
    ids, distances = zip(*neighbors, strict=True)
    assert (ids, distances) == ((2, 3, 4), (0, 0, 4))
    with pytest.raises(IndexError):
        neighbors[3]


@pytest.mark.parametrize("result", [NEAREST, WITHIN])
def test_a_table_has_a_row_for_each_item_of_each_query(result) -> None:
    rows = [
        {"query": query, "rank": rank, "id": item.id, "distance": item.distance}
        for query, neighbors in enumerate(result)
        for rank, item in enumerate(neighbors)
    ]
    assert result.to_arrow().to_pylist() == rows
    assert result.to_pandas().to_dict("records") == rows
    assert result[:0].to_arrow().num_rows == 0


def test_a_long_result_is_shown_in_part() -> None:
    many = Neighbors(np.arange(480).reshape(12, 40), np.zeros((12, 40), np.int32))
    lines = repr(many).splitlines()
    assert len(lines) == 12
    assert lines[1] == "    0  0 (0)  1 (0)  2 (0)  3 (0)  4 (0)  5 (0)  ..."
    assert lines[-1] == "  ..."
    assert repr(NEAREST).splitlines()[1] == "    0  0 (0.000)  1 (0.125)  2 (0.250)"
    assert repr(WITHIN[1]) == "none"
    html = many._repr_html_()
    assert html.count("<tr>") == 10
    assert "<td>45 (0)</td><td>...</td>" in html
    assert "2 more" in html
    assert "<th>1</th></tr>" in WITHIN._repr_html_()
