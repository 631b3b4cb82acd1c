import pytest
import torch

from training.errors import UserError
from training.objectives.token_predictor import TokenPredictor


def test_it_knows_where_tokens_are_and_which_are_wanted() -> None:
    torch.manual_seed(0)
    predictor = TokenPredictor(16, 5, 32, 1).eval()
    context = torch.randn(1, 3, 16)  # one summary token and two patches
    visible, hidden = torch.tensor([[0, 1]]), torch.tensor([[2, 3]])
    predicted = predictor(context, visible, hidden, (2, 2))
    assert predicted.shape == (1, 2, 5)
    torch.testing.assert_close(predictor(context, visible, hidden.flip(1), (2, 2)), predicted.flip(1))
    assert not torch.allclose(predicted[:, 0], predicted[:, 1])
    assert not torch.allclose(predictor(context, visible.flip(1), hidden, (2, 2)), predicted)


def test_places_are_relative_so_that_resolutions_can_change() -> None:
    predictor = TokenPredictor(16, 5, 32, 1)
    small = predictor._positions((3, 3), torch.device("cpu"))[0, 4]
    large = predictor._positions((5, 5), torch.device("cpu"))[0, 12]
    torch.testing.assert_close(small, large)  # the middle of both


def test_width_follows_the_student() -> None:
    assert TokenPredictor(768, 5, None, 1).width == 384
    assert TokenPredictor(192, 5, None, 1).width == 96
    assert TokenPredictor(32, 5, None, 1).width == 64
    with pytest.raises(UserError, match=r"the width of a predictor must be a multiple of 32, got 48"):
        TokenPredictor(32, 5, 48, 1)
