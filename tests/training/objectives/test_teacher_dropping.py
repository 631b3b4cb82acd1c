import pytest
import torch

from training.objectives.teacher_dropping import keep_hardest


def kept(losses: dict[str, list[float]], probability: float, seed: int = 0) -> dict[str, list[bool]]:
    values = {name: torch.tensor(each) for name, each in losses.items()}
    found = keep_hardest(values, probability, torch.Generator().manual_seed(seed))
    return {name: each.tolist() for name, each in found.items()}


def test_the_hardest_of_every_image_is_heard() -> None:
    losses = {"a": [1.0, 3.0, 0.0], "b": [2.0, 1.0, 0.0]}
    assert kept(losses, 1.0) == {"a": [False, True, True], "b": [True, False, True]}  # a draw keeps both
    assert kept(losses, 0.0) == {"a": [True] * 3, "b": [True] * 3}


@pytest.mark.parametrize(("count", "share"), [(2, 0.667), (3, 0.5), (4, 0.4)])
def test_share_of_the_hardest_among_two_three_and_four_teachers(count: int, share: float) -> None:
    # It is always heard, each of the others with 1/2: 1 / (1 + (count - 1) / 2).
    losses = {str(number): [float(number)] * 20_000 for number in range(count)}
    heard = [sum(each) for each in kept(losses, 0.5).values()]
    assert heard[-1] == 20_000
    assert heard[-1] / sum(heard) == pytest.approx(share, abs=0.01)


def test_the_draw_is_that_of_the_generator() -> None:
    losses = {"a": [1.0] * 50, "b": [2.0] * 50}
    assert kept(losses, 0.5, seed=1) == kept(losses, 0.5, seed=1) != kept(losses, 0.5, seed=2)
