"""What holds for every test and doctest: a seed, one thread, and no global state changed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# tests are many small tensors, on which a second thread only costs, in processes of their own too
os.environ["OMP_NUM_THREADS"] = "1"
# a shell starts what it runs in the background with the stop button off, and tests press it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def unchanged_globals() -> Iterator[None]:
    """Seed the test; afterwards restore the generator and the store, and insist on the rest."""
    import pyro  # not above: what hands out the tests needs seconds less without
    import torch

    before = torch.get_rng_state()
    pyro.clear_param_store()
    torch.default_generator.manual_seed(0)  # torch.manual_seed takes a millisecond in a test
    state = _settings()
    yield
    assert _settings() == state, "the test changed global state"
    pyro.clear_param_store()
    torch.set_rng_state(before)


def _settings() -> tuple[object, ...]:
    import pyro
    import torch

    return (
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        pyro.distributions.is_validation_enabled(),
        pyro.poutine.runtime.am_i_wrapped(),
        torch.get_num_threads(),
    )
