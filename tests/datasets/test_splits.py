import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2q.datasets.splits import alternate, scale_sizes, split_at_random, split_per_class

NAMES = ["cat", "dog", "owl"]
SIZES = {"train": 5, "query": 2, "validation": 0.1}


@given(st.lists(st.integers(10, 40), min_size=3, max_size=3), st.integers(0, 5), st.randoms())
def test_folds_per_class_are_disjoint_whole_and_do_not_depend_on_the_order_of_rows(counts, seed, random):
    labels = np.repeat(np.arange(3), counts)
    keys = [f"{i:03d}" for i in range(len(labels))]
    folds = split_per_class(labels, keys, SIZES, random_state=seed, class_names=NAMES)
    assert sorted(np.concatenate(list(folds.values()))) == list(range(len(labels)))
    for class_id, count in enumerate(counts):
        of_class = {fold: int((labels[positions] == class_id).sum()) for fold, positions in folds.items()}
        assert of_class["train"] == 5
        assert of_class["query"] == 2
        assert of_class["validation"] == max(1, round(0.1 * count))

    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = split_per_class(labels[order], [keys[i] for i in order], SIZES, random_state=seed, class_names=NAMES)
    for fold, positions in folds.items():
        assert {keys[i] for i in positions} == {keys[order[i]] for i in shuffled[fold]}


def test_another_seed_gives_another_split_and_the_same_seed_the_same():
    keys = [str(i) for i in range(100)]
    sizes = {"train": 20, "query": 10, "validation": 10}
    first, again, other = (split_at_random(keys, sizes, random_state=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(first[fold], again[fold]) for fold in first)
    assert not np.array_equal(first["train"], other["train"])
    assert {fold: len(positions) for fold, positions in first.items()} == {**sizes, "database": 60}


def test_too_few_images_name_the_class_and_the_sizes():
    labels = np.array([0] * 20 + [1] * 4)
    with pytest.raises(ValueError, match=r"class 'dog': 4 images cannot be split into 3 train, 1 query, 1 validation"):
        split_per_class(
            labels,
            [str(i) for i in range(24)],
            {"train": 3, "query": 1, "validation": 1},
            random_state=0,
            class_names=NAMES[:2],
        )
    with pytest.raises(ValueError, match="3 images cannot be split"):
        split_at_random(list("abc"), {"train": 1, "query": 1, "validation": 1}, random_state=0)
    with pytest.raises(ValueError, match="random_state must be at least 0"):
        split_at_random(list("abc"), {"train": 1, "query": 0, "validation": 0}, random_state=-1)


def test_sizes_are_the_papers_where_nearly_all_is_there_and_scaled_elsewhere():
    paper = {"train": 500, "query": 100, "validation": 100}
    assert scale_sizes(paper, 59_990, 60_000) == paper
    assert scale_sizes(paper, 600, 60_000) == {"train": 5, "query": 1, "validation": 1}


def test_alternate_takes_turns():
    query, validation = alternate(np.arange(5))
    assert query.tolist() == [0, 2, 4]
    assert validation.tolist() == [1, 3]
