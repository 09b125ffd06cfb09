"""Options and fixtures of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench import driver, instruction_sets, turns

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
    parser.addoption(
        "--large",
        action="store_true",
        help="benchmarks: also 4 GB of rows in a file, on Dask workers of 1 GiB",
    )
    parser.addoption(
        "--isa",
        choices=instruction_sets.CHOICES,
        default=instruction_sets.NATIVE,
        help="benchmarks: the instruction set that every library is held to; native is what each of them takes",
    )


def pytest_configure(config: pytest.Config) -> None:
    reason = instruction_sets.why_not_here(config.getoption("--isa", instruction_sets.NATIVE))
    if reason:
        raise pytest.UsageError(f"--isa: {reason}")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Write down the processor and the instruction set."""
    machine_info["instruction_set"] = instruction_sets.description(config.getoption("--isa"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give benchmarks all the time that they take; the tests have a limit."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(scope="session")
def workers(request: pytest.FixtureRequest) -> Iterator[driver.Workers]:
    """The processes that measure."""
    group = driver.Workers(*(request.config.getoption(option) for option in ("--quick", "--million", "--isa")))
    try:
        yield group
    finally:
        group.close()


@pytest.fixture(scope="session")
def reasons(workers: driver.Workers) -> Callable[[str], str | None]:
    """Why a library cannot be measured, asked once."""
    found: dict[str, str | None] = {}

    def why_not(library: str) -> str | None:
        if library not in found:
            found[library] = driver.why_not(library, workers.wanted)
        return found[library]

    return why_not


@pytest.fixture(scope="session")
def contests(workers: driver.Workers) -> turns.Contests:
    """What was measured in turn."""
    return turns.Contests(1 if workers.quick else driver.ROUNDS_AT_ONCE)


def selected_rivals(node: Any, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The values of some parameters in all selected rows that differ from a row in nothing else."""
    own = {key: value for key, value in node.callspec.params.items() if key not in names}
    found = []
    for item in node.session.items:
        if (item.path, getattr(item, "originalname", None)) == (node.path, node.originalname):
            params = item.callspec.params
            if own == {key: value for key, value in params.items() if key not in names}:
                found.append(tuple(params[name] for name in names))
    return found


@pytest.fixture
def measure(
    request: pytest.FixtureRequest,
    benchmark: Any,
    workers: driver.Workers,
    contests: turns.Contests,
    reasons: Callable[[str], str | None],
) -> Callable[..., dict[Any, turns.Entry]]:
    """Time a row in turn with the selected rows of its group, and write down what it is.

    Parameters of the function: what prepares a contestant, called with its values of the parameters `by`; `also` are
    contestants that are needed beside the selected ones, and `but` says of one why it is not measured; then the row's
    group and name, and whatever else a report needs.  It returns the entries of all contestants.
    """

    def take(
        ready: Callable[..., Any],
        *,
        by: tuple[str, ...] = ("library",),
        also: Iterable[tuple[Any, ...]] = (),
        but: Callable[..., str | None] = lambda *contestant: None,
        turns_of_each: int | None = None,
        group: str,
        name: str | None = None,
        **facts: Any,
    ) -> dict[Any, turns.Entry]:
        params = request.node.callspec.params
        own = tuple(params[key] for key in by)

        def reason(contestant: tuple[Any, ...]) -> str | None:
            return but(*contestant) or (reasons(contestant[by.index("library")]) if "library" in by else None)

        if reason(own):
            pytest.skip(str(reason(own)))
        rivals = [rival for rival in dict.fromkeys([*selected_rivals(request.node, by), *also]) if not reason(rival)]
        the_rest = tuple(repr(params[key]) for key in params if key not in by)
        entries = contests.entries(
            (request.node.originalname, the_rest),
            {rival: partial(ready, *rival) for rival in rivals},
            1 if workers.quick else turns_of_each or workers.turns,
        )
        entry = entries[own]
        if entry.error is not None:
            raise entry.error
        benchmark.group, benchmark.name = group, name or str(own[0])
        benchmark.extra_info |= entry.ready.facts | facts
        turns.show(benchmark, entry)
        return entries

    return take
