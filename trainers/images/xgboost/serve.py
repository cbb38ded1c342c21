"""Answers which digit a drawing is, from a grown model (way 1, ANSWER)."""

import ctypes
import os
from typing import Final

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import container
import features
import numpy as np
import own_code
import serving
import xgboost
from forest import Forest
from numpy.typing import NDArray

_AS_PROBABILITIES: Final = (
    b'{"type":0,"training":false,"iteration_begin":0,"iteration_end":0,"missing":NaN,"strict_shape":true,"cache_id":0}'
)

FEW: Final = 4
"""The most drawings that the forest is walked for one by one."""


class Model:
    """A grown model, ready to answer."""

    def __init__(self) -> None:
        """Load the model.

        Raises:
            ValueError: If it was grown on other features than this image computes.
        """
        container.about("xgboost", features.NAME)
        self._booster = xgboost.Booster({"nthread": 1})
        self._booster.load_model(container.model_dir() / "model.ubj")
        self._booster.set_param({"nthread": 1})
        self._forest = Forest.of(self._booster)

    def __call__(self, images: serving.Raster) -> NDArray[np.float32]:
        """Return what `inplace_predict` would, by its C function: for one row, its Python costs as much as the trees."""
        table = features.features(images)
        if self._forest and len(table) <= FEW:
            return np.stack([self._forest.answer(row) for row in table])
        described = b'{"data":[%d,true],"shape":[%d,%d],"typestr":"<f4","version":3}' % (table.ctypes.data, *table.shape)
        shape, dimensions, found = ctypes.POINTER(ctypes.c_uint64)(), ctypes.c_uint64(), ctypes.POINTER(ctypes.c_float)()
        if xgboost.core._LIB.XGBoosterPredictFromDense(
            self._booster.handle,
            described,
            _AS_PROBABILITIES,
            None,
            ctypes.byref(shape),
            ctypes.byref(dimensions),
            ctypes.byref(found),
        ):
            raise RuntimeError(xgboost.core._LIB.XGBGetLastError().decode())
        return np.ctypeslib.as_array(found, (len(images), 10)).copy()  # the booster owns the memory that `found` points to


def load() -> serving.Model:
    """Load the model from its folder."""
    return Model()


if __name__ == "__main__":
    own_code.serve(load)
