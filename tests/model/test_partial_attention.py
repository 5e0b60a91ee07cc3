import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from cotlens.model import partial_attention
from cotlens.model.partial_attention import attend, merge, sight


@pytest.fixture(params=["fused", "in pieces"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in pieces":
        monkeypatch.setattr(partial_attention, "_fused", None)
        monkeypatch.setattr(partial_attention, "_ROWS_AT_ONCE", 4)
    return request.param


def tensors(heads: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries of six heads, keys and values of three."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, heads, 5, 16), (2, 3, 40, 16), (2, 3, 40, 16)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)  # type: ignore[return-value]


def exact(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return scaled_dot_product_attention(query, key, value, mask, scale=1.0, enable_gqa=True)


@pytest.mark.parametrize("heads", [3, 6])
def test_all_columns_are_plain_attention(way: str, heads: int) -> None:
    query, key, value = tensors(heads)
    part = attend(query, key, value, None, None)
    torch.testing.assert_close(part.out, exact(query, key, value, None), rtol=1e-4, atol=1e-5)
    scores = torch.einsum("bhgsd,bhcd->bhgsc", query.unflatten(1, (3, -1)), key).flatten(1, 2)
    torch.testing.assert_close(part.lse, scores.logsumexp(-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2], ids=["one for all rows", "one per row"])
@pytest.mark.parametrize("tokens", [1, 5], ids=["one for all tokens", "one per token"])
def test_only_columns_in_sight_count(way: str, rows: int, tokens: int) -> None:
    query, key, value = tensors()
    seen = torch.rand(rows, tokens, 40, generator=torch.Generator().manual_seed(1)) < 0.3
    part = attend(query, key, value, sight(seen, torch.float32, maybe_blind=False), None)
    mask = seen[:, None].expand(2, 1, 5, 40)
    torch.testing.assert_close(part.out, exact(query, key, value, mask), rtol=1e-4, atol=1e-5)


def test_two_parts_merge_into_the_whole(way: str) -> None:
    query, key, value = tensors()
    parts = [attend(query, key[:, :, some], value[:, :, some], None, None) for some in (slice(0, 7), slice(7, None))]
    torch.testing.assert_close(merge(*parts), exact(query, key, value, None), rtol=1e-4, atol=1e-5)


def test_a_token_that_sees_nothing_of_one_part_has_the_other(way: str) -> None:
    query, key, value = tensors()
    seen = torch.ones(1, 5, 40, dtype=torch.bool)
    seen[:, 2] = False
    blind = attend(query, key, value, sight(seen, torch.float32, maybe_blind=True), None)
    assert blind.lse[:, :, 2].isneginf().all()
    assert blind.out.isfinite().all()
    other = attend(query, key[:, :, :9], value[:, :, :9], None, None)
    for merged in (merge(blind, other), merge(other, blind)):
        assert merged[:, :, 2].equal(other.out[:, :, 2])


def test_scores_are_capped() -> None:
    query, key, value = tensors(3)
    scores = 2.0 * torch.tanh(query @ key.transpose(2, 3) / 2.0)
    part = attend(query, key, value, None, softcap=2.0)
    torch.testing.assert_close(part.out, scores.softmax(-1) @ value, rtol=1e-4, atol=1e-5)


def test_half_precision_is_near(way: str) -> None:
    query, key, value = (tensor.bfloat16() for tensor in tensors())
    part = attend(query, key, value, None, None)
    assert part.out.dtype == torch.bfloat16
    assert part.lse.dtype == torch.float32
    expected = exact(query.float(), key.float(), value.float(), None)
    torch.testing.assert_close(part.out.float(), expected, rtol=0.05, atol=0.05)
