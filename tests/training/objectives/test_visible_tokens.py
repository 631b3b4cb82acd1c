import pytest
import torch

from modeling_zen import ZenConfig, ZenModel
from training.objectives.visible_tokens import context_tokens, encode_visible, take_tokens


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_all_patches_in_any_order_are_what_the_student_gives(positions: str) -> None:
    torch.manual_seed(0)
    student = ZenModel(
        ZenConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, position_embedding=positions)
    ).eval()
    pixels = torch.randn(2, 3, 32, 48)
    order = torch.stack([torch.tensor([5, 0, 3, 1, 4, 2]), torch.arange(6)])
    expected = student(pixels).last_hidden_state
    found = encode_visible(student, pixels, order)
    torch.testing.assert_close(found[:, :5], expected[:, :5])
    torch.testing.assert_close(found[:, 5:], take_tokens(expected[:, 5:], order))


def test_hidden_patches_do_not_count() -> None:
    torch.manual_seed(0)
    student = ZenModel(ZenConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2)).eval()
    pixels = torch.randn(1, 3, 32, 32)
    visible = torch.tensor([[0, 3]])  # top left and bottom right
    changed = pixels.clone()
    changed[:, :, :16, 16:] = 1.0
    torch.testing.assert_close(encode_visible(student, pixels, visible), encode_visible(student, changed, visible))
    changed[:, :, :16, :16] = 1.0
    assert not torch.allclose(encode_visible(student, pixels, visible), encode_visible(student, changed, visible))


def test_registers_are_left_out_of_the_context() -> None:
    student = ZenModel(ZenConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_summary_tokens=2))
    encoded = torch.arange(2 + 4 + 3).float().view(1, 9, 1)
    assert context_tokens(student, encoded).flatten().tolist() == [0, 1, 6, 7, 8]
