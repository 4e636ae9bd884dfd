"""The laws that a segmentation loss or a sampler of pixels should keep, for anybody's.

`pytest --seglit-conformance my_package:MyLoss` holds all of them against a loss, each as a test of its own.
"""

from seglit.testing.adapters import named, of_criterion, of_module, of_sampler
from seglit.testing.holding import Verdict, hold, laws_of, verdict
from seglit.testing.laws import LAWS
from seglit.testing.sampler_laws import SAMPLER_LAWS
from seglit.testing.under_test import (
    Batch,
    LawBrokenError,
    LossUnderTest,
    NotClaimedError,
    SamplerUnderTest,
    random_batch,
)

__all__ = [
    "LAWS",
    "SAMPLER_LAWS",
    "Batch",
    "LawBrokenError",
    "LossUnderTest",
    "NotClaimedError",
    "SamplerUnderTest",
    "Verdict",
    "hold",
    "laws_of",
    "named",
    "of_criterion",
    "of_module",
    "of_sampler",
    "random_batch",
    "verdict",
]
