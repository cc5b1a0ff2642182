"""Several processes that train or evaluate together.

with together() as here, here.noise():
    data = here.share(data, bound)               this process's rows of every batch
    step = here.step(bound, optimizer, …)        one gradient, that of the whole batch
    for batch in here.until(batches, stop):      all stop after the same step
        ...
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from vaezoo.bound import Bound
from vaezoo.data.passes import Data
from vaezoo.data.shares import Rows
from vaezoo.estimates import Values
from vaezoo.scopes import own_generator
from vaezoo.training.alone import Alone, T
from vaezoo.training.exchange import Exchange
from vaezoo.training.interrupts import StopButton
from vaezoo.training.loaders import LoaderShare, of_loaders
from vaezoo.training.means import Mean, joined
from vaezoo.training.processes import Group, forgotten, is_alone
from vaezoo.training.shared_step import SharedStep
from vaezoo.training.sharing import share_of
from vaezoo.training.step import Step

__all__ = ["Together", "together"]

PATIENCE = 2.0  # seconds in which a second Ctrl-C is the first one, handed on by torchrun


@contextlib.contextmanager
def together() -> Iterator[Alone]:
    """Within it the processes of torch's group work together; without a group, this one alone.

    A process that fails tells the others, which end with its reason.

    Example:
        >>> with together() as here:
        ...     here.world
        World(rank=0, size=1)
    """
    if is_alone():
        if n := forgotten():
            warnings.warn(
                f"{n} processes were started, and each works by itself: put the script into `with "
                "vaezoo.training.processes.launched():`, or make a process group",
                stacklevel=4,
            )
        yield Alone()
        return
    group = Group()
    here = Together(group)
    try:
        yield here
        group.sum()  # nobody leaves before all have done their work
    except BaseException as error:
        group.fail(error)
        raise
    finally:
        here.close()


class Together(Alone):
    """Several processes, each with its share of every batch.

    Data that are the same in all processes are shared out, each batch row by row. Where their first
    batches differ, as with torch's `DistributedSampler`, they are shares already.

    Args:
        group: the processes.
    """

    def __init__(self, group: Group) -> None:
        self.group, self.world = group, group.world
        self.exchange, self.start = Exchange(group), 0
        self.rows, self.of_part = list[Rows](), list[Rows]()
        self.orders, self.steps = list[torch.Generator](), list[SharedStep]()
        self.loader: LoaderShare | None = None

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return self.group.sum([here])[0] > 0

    def gather(self, value: T) -> list[T]:
        """The values of all processes, by rank."""
        return self.group.gather(value)

    def first(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, in all processes."""
        value: T = self.group.broadcast(make() if self.world.rank == 0 else None)
        return value

    @contextlib.contextmanager
    def noise(self) -> Iterator[None]:
        """Within it each process draws from a seed of its own, made from that of rank 0.

        Afterwards the generators are as they were: what was in step between processes still is.
        """
        drawn = int(torch.randint(2**62, (), device="cpu"))
        self.start = self.group.gather(drawn)[0]
        with own_generator(self.start + 1 + self.world.rank):
            yield

    def share(self, data: Data, bound: Bound) -> Data:
        """The process's share of data to train on."""
        share = share_of(data, bound, self.world, self.start, self._are_same)
        if share is None:
            return data
        self.loader = share if isinstance(share, LoaderShare) else None
        self.rows, self.orders = share.rows, share.orders
        return share

    def state_dict(self) -> dict[str, Any]:
        """What the batches of a share depend on, besides their place and the global generators."""
        state: dict[str, Any] = {"orders": [order.get_state() for order in self.orders]}
        return state if self.loader is None else state | {"loader": self.loader.draws()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for order, at in zip(self.orders, state["orders"], strict=True):
            order.set_state(at)
        if self.loader is not None:
            self.loader.load_draws(state["loader"])

    def step(self, bound: Bound, optimizer: Any, max_grad_norm: float | None) -> Step:
        """A step that all take together."""
        self.steps.append(SharedStep(bound, optimizer, self, max_grad_norm=max_grad_norm))
        return self.steps[-1]

    def until(self, batches: Iterable[Any], stop: StopButton) -> Iterator[Any]:
        """The batches until somebody presses the stop button, or has none left."""
        self.exchange.stop, left, stop.patience = stop, iter(batches), PATIENCE
        while not self.exchange.over:
            try:
                batch = next(left)
            except StopIteration:
                break
            except RuntimeError:  # of a loader's processes, which the signal reaches too
                if not stop.pressed:
                    raise
                stop.lost = True
                break
            yield batch
        if not self.exchange.over:
            self.exchange.sums(ended=True)

    def average(
        self, terms: dict[str, Tensor], rows: int, column: int
    ) -> tuple[dict[str, Tensor], float]:
        """The terms on the whole batch, and the weight of the process's loss in a mean of losses.

        Args:
            terms: on the process's rows.
            rows: how many these are, of data that are shares already.
            column: the one whose rows count.

        Raises:
            EndOfShares: another process has no more batches.
        """
        n = self.rows[column].own if self.rows else rows
        values = torch.stack([t.detach().double() for t in terms.values()]).tolist()
        means, every = self.exchange.means(dict(zip(terms, values, strict=True)), n)
        tensors = torch.tensor([*means.values()], dtype=torch.float64, device="cpu")
        return dict(zip(means, tensors, strict=True)), n * self.world.size / every

    def weight_of_unlabelled(self, batch: tuple[Tensor, ...]) -> float:
        """That of the unlabelled rows of a batch, relative to the weight of the labelled ones.

        Raises:
            EndOfShares: another process has no more batches.
            ValueError: the process has no labelled row.
        """
        if self.rows:
            own, every = [r.own for r in self.rows], [float(r.all) for r in self.rows]
        else:
            own = [len(t) for t in batch]
            every = self.exchange.sums(own)
        if not own[-1]:
            raise ValueError(
                f"a batch must hold a labelled image for each of {self.world.size} processes, got "
                f"{every[-1]:g}"
            )
        return (own[0] / every[0]) / (own[-1] / every[-1])

    def _are_same(self, value: Any) -> bool:
        first, *others = self.group.gather(value)
        return all(other == first for other in others)

    def parts(
        self,
        batches: Iterable[Any],
        take: Callable[[Any], list[Tensor]],
        seed: int,
        values: Values | None = None,
        *,
        apart: bool = False,
    ) -> Iterator[Any]:
        """The process's rows of the batches of an evaluation; a batch of few may have none."""
        given = batches, self.world, of_loaders(seed), take, self._are_same
        share = LoaderShare(*given, apart=apart)
        self.of_part = share.rows
        for batch in share:
            self.has_share = not share.rows
            own = [rows.own for rows in share.rows]
            if values is not None:
                values.cut()
                own = own[:1]  # they are of the first column
            if not own or any(own):
                yield batch

    def counted(self, rows: int, column: int) -> int:
        """How many rows of a part's column count: where it has none, another's is in place."""
        return self.of_part[column].own if self.of_part else rows

    def seed(self, seed: int) -> int:
        """A seed of the process's own noise."""
        return (seed + self.world.rank * 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63

    def means(self, mean: Mean) -> dict[str, float]:
        """The means over what all processes have added."""
        return joined(self.group.gather(mean.totals()))

    def values(self, values: Values) -> Values:
        """The values of all images, in the order of the batches."""
        whole = Values()
        pieces = itertools.zip_longest(*self.group.gather(values.pieces()), fillvalue={})
        for piece in itertools.chain.from_iterable(pieces):
            whole.extend(piece)
        return whole

    def close(self) -> None:
        """Leave the group, and what was trained as it was found."""
        for step in self.steps:
            step.close()
        self.group.close()
