import numpy as np
import pytest
import torch

from h2q.quantization.sampling import is_batches, iterate_batches, reservoir_sample, sample_rows


def test_reservoir_holds_every_row_with_the_same_probability():
    counts = np.zeros(60)
    for seed in range(1500):
        rows = np.arange(60, dtype=np.float32)[:, None]
        batches = iter([rows[:7], rows[7:8], rows[8:40], rows[40:]])
        sample = reservoir_sample(batches, 10, np.random.default_rng(seed))
        assert len(set(sample.ravel())) == 10
        counts[sample.ravel().astype(int)] += 1
    # Expected 250 each, standard deviation 14.4.
    assert np.abs(counts - 250).max() < 5 * 14.4


def test_fewer_rows_than_the_sample_are_all_kept():
    batches = [np.full((2, 3), i, dtype=np.float32) for i in range(4)]
    np.testing.assert_array_equal(
        reservoir_sample(iter(batches), 100, np.random.default_rng(0)), np.concatenate(batches)
    )


def test_of_a_large_array_rows_are_drawn_without_putting_back():
    X = np.arange(1, 1001, dtype=np.float64)[:, None]
    rows = sample_rows(X, 300, np.random.default_rng(0)).ravel()
    assert len(set(rows)) == 300
    assert set(rows) <= set(X.ravel())


def test_only_the_rows_drawn_of_a_memory_map_are_read(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1000, 4))
    X[:] = 1
    drawn = np.sort(np.random.default_rng(3).choice(1000, 50, replace=False))
    X[np.setdiff1d(np.arange(1000), drawn)] = np.nan  # an error, were they read
    assert sample_rows(X, 50, np.random.default_rng(3)).shape == (50, 4)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.ones((2, 2)), False),
        (torch.ones(2, 2), False),
        ([[1.0, 2.0], [3.0, 4.0]], False),
        ([np.ones(2), np.ones(2)], False),
        ([np.ones((2, 2)), np.ones((3, 2))], True),
        ((np.ones((2, 2)),), True),
        ((batch for batch in [np.ones((2, 2))]), True),
        (torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2), True),
        ([], False),
        ("text", False),
        ({}, False),
    ],
)
def test_what_counts_as_batches(X, expected):
    assert is_batches(X) is expected


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "X yielded no rows.*make a new one"),
        ([np.empty((0, 3))], ValueError, "X yielded no rows"),
        ([np.ones((2, 3)), np.ones((2, 4))], ValueError, "batch 1 of X has 4 features, but 3 were expected"),
        ([np.ones(3)], ValueError, "batch 0 of X must be 2-D"),
        ([np.ones((2, 3)), np.full((2, 3), np.nan)], ValueError, "batch 1 of X contains NaN"),
        (
            [(np.ones((2, 3)), np.ones((2, 1)))],
            TypeError,
            r"batch 0 of X is a tuple of arrays.*batch\[0\] for batch in X",
        ),
        ([[torch.ones(2, 3), torch.ones(2)]], TypeError, "list of arrays"),
    ],
)
def test_batches_that_are_none(batches, error, message):
    with pytest.raises(error, match=message):
        list(iterate_batches(iter(batches), "X"))
