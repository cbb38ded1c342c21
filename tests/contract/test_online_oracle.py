"""The online model against river's own: same lessons, same numbers."""

from collections import defaultdict

import numpy as np
import pytest

from streams.learning import Softmax

SIZE = 64


def test_softmax_has_the_numbers_of_rivers_own_softmax_regression():
    from river import linear_model, optim  # here, because importing it takes seconds: one reason that Softmax is there

    ours = Softmax(SIZE, rate=0.1)
    theirs = linear_model.SoftmaxRegression(optim.SGD(0.1))
    theirs.weights.update({digit: defaultdict(float) for digit in range(10)})
    rng = np.random.default_rng(20181103)

    for n in range(60):
        x = dict(enumerate(rng.normal(size=SIZE).tolist()))
        for digit, p in theirs.predict_proba_one({**x, SIZE: 1.0}).items():
            assert ours.predict_proba_one(x)[digit] == pytest.approx(p, abs=1e-12)
        ours.learn_one(x, n % 10)
        theirs.learn_one({**x, SIZE: 1.0}, n % 10)
