"""The order of tests: slowest files first; what tests counted is shown; and a shared fixture."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator

import pytest
import torch

# the files that take longest, begun first: no process is left with one of them at the end
SLOWEST = (
    "test_product",
    "test_by_inductor",
    "test_notebooks",
    "test_compiled",
    "test_own_pairs_compiled",
    "test_step",
    "test_pyro_adapter",
    "test_objectives",
    "test_benchmarks",
    "test_resume",
    "test_examples",
    "test_readme",
    "test_guards",
    "test_kills",
    "test_torchrun",
    "test_parts",
    "test_optimised",
    "test_part_gradients",
    "test_flat_memory",
    "test_interrupts",
    "test_crosschecks",
)


@pytest.fixture(params=[True, False], ids=["with torch's checks", "without"])
def torchs_checks(request: pytest.FixtureRequest) -> Iterator[None]:
    """As `torch.compile` leaves them for good, Pyro's being on."""
    torch.distributions.Distribution.set_default_validate_args(request.param)
    yield
    torch.distributions.Distribution.set_default_validate_args(True)


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist keep the order below, not that of how many tests a file has."""
    config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector leave a million imported objects alone, and come seldom."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the slowest files first."""
    order = {name: i for i, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests counted (`record_property("counted", …)`), which pytest would hide."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(str(text))
