"""numpy with one thread; the only module that imports it.

numpy's linear algebra library starts a thread for each processor when it is imported. The program doesn't use that library,
and containers limit the number of threads. The library reads the environment once, at import.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402 -- the number of threads must be set before
from numpy.typing import NDArray  # noqa: E402

Ints = NDArray[np.int64]  # positions, rows and lengths
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]

__all__ = ["Bytes", "Flags", "Ints", "NDArray", "np"]
