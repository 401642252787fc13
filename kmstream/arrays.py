"""Names for the types of arrays that many rooms share."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = NDArray[np.float32]  # (n_rows, n_features), scaled units
Counts: TypeAlias = NDArray[Any]  # int64, or float64 where rows have weights
