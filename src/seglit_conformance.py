"""pytest's door to seglit.testing: `pytest --seglit-conformance my_package:MyLoss`, and nothing without that option.

It is no part of the package, as pytest imports it at every start, and that must neither take the time of importing
torch nor import seglit ahead of what would watch it.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

OPTION = "seglit_conformance"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("seglit").addoption(
        "--seglit-conformance",
        dest=OPTION,
        action="append",
        default=[],
        metavar="PACKAGE.MODULE:NAME",
        help="hold the laws of seglit.testing against this loss or sampler, a class or a factory without arguments; "
        "may be repeated. Runs no other test, unless paths are given",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make room for the laws alone, where the option is given without paths of tests."""
    if config.getoption(OPTION):
        sys.path.insert(0, str(config.invocation_params.dir))
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args = []


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each law and loss."""
    for path in config.getoption(OPTION):
        items += Subject.from_parent(session, name=path, nodeid=path).collect()


class Subject(pytest.Collector):
    """One loss or sampler."""

    def collect(self) -> Iterator["LawItem"]:
        """One test for each law."""
        from seglit.testing import hold, laws_of, named

        try:
            subject = named(self.name)
        except (ImportError, ValueError) as error:
            raise pytest.UsageError(f"--seglit-conformance: {error}") from error
        for law, check in laws_of(subject).items():
            yield LawItem.from_parent(self, name=law, hold=hold, subject=subject, meaning=check.func.__doc__)


class LawItem(pytest.Item):
    """One law, held against one loss or sampler; skipped where it does not apply."""

    def __init__(self, *, hold: Callable[..., None], subject: Any, meaning: str, **others: Any) -> None:
        super().__init__(**others)
        self.hold = hold
        self.subject = subject
        self.meaning = meaning.splitlines()[0]

    def runtest(self) -> None:
        """Hold the law."""
        from seglit.testing import NotClaimedError

        try:
            self.hold(self.subject, self.name)
        except NotClaimedError as reason:
            pytest.skip(str(reason))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What the law says and how it was broken; where the loss itself raised, where it did."""
        from seglit.testing import LawBrokenError

        if not isinstance(excinfo.value, LawBrokenError):
            return super().repr_failure(excinfo, style)
        return f"{self.meaning}\n{excinfo.value}"

    def reportinfo(self) -> tuple[str, None, str]:
        """Where it is, and what it is called in a report."""
        return self.subject.name, None, f"{self.subject.name} {self.name}"
