"""Gradients that are added to rows of a table, bit by bit the same in every run of two threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from compiling import compiled, step
from torch import Tensor, nn
from zoo import X_SHAPE, images, labels, member, semi_supervised_batch

from vaezoo import Bound, SemiSupervised, models
from vaezoo.compiler.rows import SUMS

aten = torch.ops.aten
N = 2_000  # with 64 units, so many that two threads add them


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def behind(t: Tensor) -> set[str]:
    """The names of all operations that autograd goes back through."""
    names, left, seen = set(), [t.grad_fn], {None}
    while left:
        node = left.pop()
        if node not in seen:
            seen.add(node)
            names.add(node.name())
            left += [before for before, _ in node.next_functions]
    return names


@pytest.mark.parametrize("name", ["FSVAE", "SSVAE", "M1M2", "ADGM"])
def test_members_add_up_gradients_of_labels_in_order(name: str) -> None:
    """That of ``table[y]`` is, on a CPU, one of the few that torch adds up in no order."""
    semi = SemiSupervised() if name != "FSVAE" else None
    batch = (images(), labels()) if semi is None else semi_supervised_batch()
    names = behind(Bound(member(name), semi)(*batch)["loss"])
    assert "EmbeddingBackward0" in names
    assert not names & {"IndexBackward0", "TakeBackward0"}


def test_compiled_gradients_of_labels_repeat(two_threads: None) -> None:
    """Added as Inductor does by itself, 20 of them are not one."""
    batch = images(N), labels(N)
    bound = Bound(models.FSVAE(X_SHAPE, 2, hidden=(64,)))
    compiled(bound, *batch, backend="inductor")
    first, *others = [step(bound, *batch)[1] for _ in range(20)]
    for other in others:
        assert all(map(torch.equal, first, other))


def case(seed: int) -> tuple[Tensor, list[Tensor | None], Tensor]:
    """A table of 1 to 4 dimensions, numbers of some that lie side by side, and what is put there."""
    at = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=at))

    sizes = [number(1, 4) for _ in range(number(1, 4))]
    several = number(1, len(sizes))
    first = number(0, len(sizes) - several)
    shape = [(3,), (2, 3), (), (1, 3)][seed % 4]
    indices: list[Tensor | None] = [None] * first
    for i in range(several):
        size, of = sizes[first + i], shape if i % 2 == 0 else shape[-1:]
        indices.append(torch.randint(-size, size, of, generator=at))
    table = torch.randn(sizes, dtype=torch.float64, generator=at)
    into = table[tuple(slice(None) if i is None else i for i in indices)]
    values = torch.randn(into.shape, dtype=torch.float64, generator=at)
    return table, indices, values[:1] if values.dim() and seed % 3 == 0 else values


@pytest.mark.parametrize("seed", range(40))
def test_it_is_index_put(seed: int) -> None:
    """To 1e-12, with indices that count from the end, and values that are broadcast."""
    table, indices, values = case(seed)
    expected = aten.index_put(table, indices, values, True)
    put = SUMS[aten.index_put.default](table, indices, values, True)
    assert put.shape == expected.shape
    assert put.allclose(expected, rtol=0.0, atol=1e-12)
    if not values.dim():
        return
    mask = values > 0
    where = SUMS[aten._unsafe_masked_index_put_accumulate.default](table, mask, indices, values)
    expected = aten.index_put(table, indices, torch.where(mask, values, 0), True)
    assert where.allclose(expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("wrong", [(0, 5), (-3, 0), (2, 0), (0, -6)])
def test_nothing_is_added_out_of_range(wrong: tuple[int, int]) -> None:
    """Nor in the row of another index, where two of them become one."""
    put, at = SUMS[aten.index_put.default], [torch.tensor([0, i]) for i in wrong]
    with pytest.raises(RuntimeError, match="index -1 is out of bounds"):
        put(torch.zeros(2, 5), at, torch.ones(2), True)


def test_other_puts_are_left_to_inductor() -> None:
    table, i, mask = torch.zeros(3, 4, 5), torch.tensor([0, 1]), torch.ones(3, dtype=torch.bool)
    put = SUMS[aten.index_put.default]
    for given in ((table, [i], torch.ones(2, 4, 5)), (table, [mask], torch.ones(3, 4, 5), True)):
        assert put(*given) is NotImplemented
    assert put(table, [i, None, i], torch.ones(2, 4), True) is NotImplemented


@pytest.mark.parametrize("options", [{}, {"padding_idx": 1}, {"scale_grad_by_freq": True}])
def test_embeddings(options: dict[str, int | bool]) -> None:
    table = nn.Embedding(4, 3, dtype=torch.float64, **options)  # type: ignore[arg-type]
    at = torch.tensor([[0, 1, 1], [3, 3, 3]])
    grad = torch.arange(18, dtype=torch.float64).reshape(2, 3, 3)
    table(at).backward(grad)
    padding, frequency = options.get("padding_idx", -1), options.get("scale_grad_by_freq", False)
    ours = SUMS[aten.embedding_dense_backward.default](grad, at, 4, padding, frequency)
    assert ours.allclose(table.weight.grad, rtol=1e-14, atol=0.0)  # type: ignore[arg-type]
