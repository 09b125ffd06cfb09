"""Options and fixtures of the benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import driver

HERE = Path(__file__).parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="benchmarks: one short round of the small shapes only, to see that they run",
    )
    parser.addoption(
        "--million",
        action="store_true",
        help="benchmarks: also the gradient of a million parameters by a million and one passes, a quarter of an hour",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give benchmarks all the time that they take; the tests have a limit."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def workers(request: pytest.FixtureRequest) -> Iterator[driver.Workers]:
    """The processes that measure."""
    group = driver.Workers(*(request.config.getoption(option) for option in ("--quick", "--million")))
    try:
        yield group
    finally:
        group.close()


@pytest.fixture(scope="session")
def require() -> object:
    """Skip a benchmark, with the reason, if its library cannot be measured."""
    reasons: dict[str, str | None] = {}

    def check(library: str) -> None:
        if library not in reasons:
            reasons[library] = driver.why_not(library)
        if reasons[library]:
            pytest.skip(str(reasons[library]))

    return check
