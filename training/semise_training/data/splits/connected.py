"""Connected sets: which things belong together when some pairs of them do."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Indices = NDArray[np.intp] | Sequence[int]


def connected(count: int, left: Indices, right: Indices) -> NDArray[np.int32]:
    """Returns the number of the set that each of ``count`` things is in, ``[count]``.

    Example:
        >>> connected(4, [0], [2]).tolist()
        [0, 1, 0, 2]
    """
    pairs = coo_array((np.ones(len(left), dtype=np.bool_), (left, right)), shape=(count, count))
    _, sets = connected_components(pairs, directed=False)
    return np.asarray(sets, dtype=np.int32)
