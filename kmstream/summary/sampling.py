"""Which rows stand for all of them."""

import numpy as np

from kmstream.arrays import IntArray

PARTITION = "kmstream.partition"  # column of a row sample: the place of a row's partition in the dataset


def sample_positions(n_rows: int, size: int, seed: int) -> IntArray:
    """Choose the rows of the sample: uniform, without replacement, sorted.

    They depend on the number of rows and the seed alone, so chunking, row groups and workers can't change them, and
    every partition is represented by its rows.

    Examples
    --------
    >>> sample_positions(5, 10, seed=0).tolist()
    [0, 1, 2, 3, 4]
    >>> len(sample_positions(1_000_000_000, 100, seed=0))
    100
    """
    if size >= n_rows:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, size, replace=False, shuffle=False))


def thin_positions(n_rows: int, at_most: int) -> IntArray:
    """Choose evenly spread rows, the same ones every time.

    Examples
    --------
    >>> thin_positions(5, 10).tolist(), thin_positions(7, 3).tolist()
    ([0, 1, 2, 3, 4], [0, 3, 6])
    """
    return np.arange(0, n_rows, max(1, -(-n_rows // at_most)))
