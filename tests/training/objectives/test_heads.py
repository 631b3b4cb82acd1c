import pytest
import torch
from torch import nn

from training.objectives.heads import ProjectorHead
from training.teachers.normalizer import FeatureNormalizer


def test_a_plain_head_has_the_layers_of_an_adaptor() -> None:
    head = ProjectorHead(8, 4, 16)
    assert {name: tuple(weight.shape) for name, weight in head.state_dict().items()} == {
        "fc1.weight": (16, 8),
        "fc1.bias": (16,),
        "norm.weight": (16,),
        "norm.bias": (16,),
        "fc2.weight": (4, 16),
        "fc2.bias": (4,),
    }
    tokens = torch.randn(2, 3, 8)
    expected = head.fc2(nn.functional.gelu(head.norm(head.fc1(tokens))))
    assert torch.equal(head(tokens), expected)


def test_the_block_lets_tokens_of_an_image_see_each_other() -> None:
    torch.manual_seed(0)
    plain, mixing = ProjectorHead(8, 4, 16), ProjectorHead(8, 4, 16, block_heads=2)
    tokens = torch.randn(2, 5, 8)
    moved = tokens.clone()
    moved[0, 4] *= -1  # adding one number to all would be undone by the norm
    assert torch.equal(plain(moved)[0, :4], plain(tokens)[0, :4])
    assert not torch.allclose(mixing(moved)[0, :4], mixing(tokens)[0, :4], atol=1e-4)
    torch.testing.assert_close(mixing(moved)[1], mixing(tokens)[1])  # but not those of another image
    mixing(tokens).sum().backward()
    assert [name for name, parameter in mixing.named_parameters() if parameter.grad is None] == []
    trained = mixing(tokens)
    mixing.eval()
    with torch.no_grad():
        torch.testing.assert_close(mixing(tokens), trained)


@pytest.mark.parametrize("block_heads", [0, 2])
def test_heads_compute_in_float32_under_autocast(block_heads: int) -> None:
    torch.manual_seed(0)
    head, tokens = ProjectorHead(8, 4, 16, block_heads), torch.randn(2, 3, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = head(tokens)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, head(tokens))


@pytest.mark.parametrize("block_heads", [0, 2])
@pytest.mark.parametrize("mode", ["none", "center", "standardize", "phi_s"])
def test_a_folded_head_speaks_the_teachers_own_space(mode: str, block_heads: int) -> None:
    """Head then inverse of the normaliser against the folded head, both in float64."""
    torch.manual_seed(0)
    normalizer = FeatureNormalizer(4, mode)
    normalizer.update(torch.randn(200, 4, dtype=torch.float64) @ torch.randn(4, 4).double() + 5)
    normalizer.freeze()
    head = ProjectorHead(8, 4, 16, block_heads).double()
    tokens = torch.randn(2, 3, 8, dtype=torch.float64)
    with torch.no_grad():
        hidden = nn.functional.gelu(head.norm(head.fc1(head.block(tokens))))
        normalized = head.fc2(hidden)
        # z = T (y - μ), solved for y
        transform = normalizer.transform if mode == "phi_s" else torch.diag(normalizer.transform)
        offset = torch.zeros(4).double() if mode == "none" else normalizer.mean
        expected = torch.linalg.solve(transform, normalized.flatten(0, 1).T).T.unflatten(0, (2, 3)) + offset
        folded = normalizer.fold_into(head.fc2)(hidden)
    torch.testing.assert_close(folded, expected, rtol=0, atol=1e-10)
