"""Fixtures for all tests: small models and images, and a check that no test leaves global state changed."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator

import pyro
import pyro.distributions as dist
import pytest
import torch

# tests are many small tensors, on which a second thread only costs, in processes of their own too
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a shell starts what it runs in the background with the stop button off, and tests press it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def unchanged_globals() -> Iterator[None]:
    """Seed the test; afterwards restore the generator and the store, and insist on the rest."""
    before = torch.get_rng_state()
    pyro.clear_param_store()
    torch.manual_seed(0)
    state = _settings()
    yield
    assert _settings() == state, "the test changed global state"
    pyro.clear_param_store()
    torch.set_rng_state(before)


def _settings() -> tuple[object, ...]:
    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        dist.is_validation_enabled(),
        pyro.poutine.runtime.am_i_wrapped(),
        torch.get_num_threads(),
    )


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


def pytest_configure(config: pytest.Config) -> None:
    """Have pytest-xdist keep the order below, not that of how many tests a file has."""
    config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the garbage collector leave the million objects of imported modules and tests alone."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


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
