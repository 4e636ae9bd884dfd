"""Holding laws against a loss or a sampler: over many batches, found by Hypothesis."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from seglit.testing.laws import LAWS
from seglit.testing.sampler_laws import SAMPLER_LAWS
from seglit.testing.under_test import (
    LawBrokenError,
    LossUnderTest,
    NotClaimedError,
    SamplerUnderTest,
    random_batch,
)

EXAMPLES = 20


@dataclass(frozen=True)
class Verdict:
    """What became of a law.

    Attributes:
        state: `raises` where the loss raised an error; `no claim` where the law does not apply.
        words: what was expected and what came, or what is not claimed.
    """

    state: Literal["keeps", "breaks", "raises", "no claim"]
    words: str = ""


def laws_of(subject: LossUnderTest | SamplerUnderTest) -> dict[str, partial[None]]:
    """The laws of a loss or of a sampler, by name; each still takes a batch."""
    if isinstance(subject, SamplerUnderTest):
        return {law.__name__: partial(law, subject) for law in SAMPLER_LAWS}
    return {law.__name__: partial(law, subject) for law in LAWS}


def hold(subject: LossUnderTest | SamplerUnderTest, law: str, examples: int = EXAMPLES) -> None:
    """Hold the law of this name against the loss or sampler.

    The batches are the same in each run. More than one needs Hypothesis, which looks for the smallest that fails.

    Args:
        subject: loss or sampler.
        law: its name.
        examples: how many batches to try; 1 tries one, of the first ignored label.

    Raises:
        NotClaimedError: where the law does not apply.
        LawBrokenError: where it does not hold.
    """
    check = laws_of(subject)[law]
    if examples == 1:
        check(random_batch(subject))
        return
    first: Exception | None = None
    try:
        check(random_batch(subject))
    except NotClaimedError:
        raise
    except Exception as error:
        first = error
    # A smaller batch on which it fails tells more.
    _search(subject, check, examples)
    if first is not None:
        raise first


def verdict(subject: LossUnderTest | SamplerUnderTest, law: str, examples: int = EXAMPLES) -> Verdict:
    """What becomes of the law, in words."""
    try:
        hold(subject, law, examples)
    except NotClaimedError as reason:
        return Verdict("no claim", str(reason))
    except LawBrokenError as reason:
        return Verdict("breaks", str(reason))
    except Exception as error:
        return Verdict("raises", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    return Verdict("keeps")


def _search(subject: LossUnderTest | SamplerUnderTest, check: partial[None], examples: int) -> None:
    import hypothesis
    from hypothesis import strategies

    drawn: dict[str, Any] = {
        "seed": strategies.integers(0, 2**16),
        "images": strategies.integers(1, 3),
        "height": strategies.integers(2, 6),
        "width": strategies.integers(2, 5),
        "void": strategies.sampled_from([0.3, 0.0, 0.1, 0.6]),
        "scale": strategies.sampled_from([2.0, 0.5, 8.0]),
        "ignore_index": strategies.sampled_from(subject.ignored) if subject.ignored else strategies.none(),
    }

    @hypothesis.settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.fixed_dictionaries(drawn))
    def every(numbers: dict[str, Any]) -> None:
        try:
            check(random_batch(subject, **numbers))
        except LawBrokenError as reason:
            told = ", ".join(f"{name}={number}" for name, number in numbers.items())
            raise LawBrokenError(f"{reason}\n  on random_batch({told})") from None

    every()
