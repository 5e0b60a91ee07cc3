import pytest
import torch

from cotlens.model.slots import Grid, SlotCache

CPU = torch.device("cpu")


@pytest.mark.parametrize("lengths", [[3], [2, 4, 1]])
def test_tokens_go_to_rows_and_come_back(lengths: list[int]) -> None:
    packed = torch.arange(1.0, 1 + sum(lengths) * 6).view(-1, 2, 3)
    grid = Grid.of(lengths, CPU)
    laid = grid.spread(packed)
    assert laid.shape == (len(lengths), 2, max(lengths), 3)
    assert grid.collect(laid).equal(packed)
    start = 0
    for row, length in enumerate(lengths):
        assert laid[row, :, :length].equal(packed[start : start + length].transpose(0, 1))
        assert not laid[row, :, length:].any()
        start += length


def test_tokens_of_one_group_share_a_row() -> None:
    packed = torch.arange(5.0).view(5, 1, 1)
    grid = Grid.by_group([7, 2, 7, 7, 2], CPU)
    assert grid.spread(packed)[:, 0, :, 0].tolist() == [[1, 4, 0], [0, 2, 3]], "groups by number"
    assert grid.collect(grid.spread(packed)).equal(packed)


def test_rows_grow_move_and_read_as_they_were_written() -> None:
    cache = SlotCache(1, slots=3, columns=4)
    first = torch.randn(2, 1, 2, 5)
    cache.write(0, slice(0, 2), first, -first)
    token = torch.randn(2, 1, 5)
    cache.append(0, torch.tensor([2, 1]), token, -token)
    keys, values = cache.read(0, rows=2, width=3)
    assert values.equal(-keys)
    assert keys[0].equal(torch.cat([first[0], token[:1].transpose(0, 1)], dim=1))
    assert keys[1, :, :2].equal(torch.cat([first[1, :, :1], token[1:].transpose(0, 1)], dim=1))
    assert not keys[1, :, 2].any(), "what nobody wrote is zero"
    cache.move(1, 0)
    assert cache.read(0, rows=1, width=2)[0][0].equal(keys[1, :, :2])


@pytest.mark.parametrize("left", [torch.nan, torch.inf])
def test_nothing_of_a_slots_last_row_stays_in_it(left: float) -> None:
    cache = SlotCache(1, slots=2, columns=6)
    long = torch.full((2, 1, 5, 3), left)
    cache.write(0, slice(0, 2), long, long)
    cache.move(1, 0)
    short = torch.randn(1, 1, 2, 3)
    cache.write(0, slice(1, 2), short, -short)
    for states in cache.read(0, rows=2, width=6):
        assert not states[1, :, 2:].any()
        assert states[1].isfinite().all()
