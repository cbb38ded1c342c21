"""The model that is a sum, held to river's own checks of estimators and to plain ridge regression."""

import pytest
from river import checks

from streams.additive import AdditiveClassifier

CHECKS = [
    check
    for check in checks.yield_checks(AdditiveClassifier())
    if check.__name__ not in AdditiveClassifier()._unit_test_skips()
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_river_takes_it_for_one_of_its_own(check):
    check(AdditiveClassifier(size=16, projections=16))
