import pytest
import torch

from training.losses.temporal_gram import temporal_gram

STILL = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
MOVING = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])


def test_by_hand() -> None:
    value, counted = temporal_gram(MOVING[:2], STILL[:2], clips=torch.tensor([3, 3]))
    assert value.tolist() == pytest.approx([1.0, 1.0])
    assert counted.tolist() == [True, True]


def test_frames_of_other_clips_are_no_partners() -> None:
    value, counted = temporal_gram(MOVING, STILL, clips=torch.tensor([0, 1, 2]))
    assert value.tolist() == [0.0, 0.0, 0.0]
    assert not counted.any()
    value, counted = temporal_gram(MOVING, STILL, clips=torch.tensor([0, 1, 1]))
    assert counted.tolist() == [False, True, True]
    # cos(x) = 1 between frames 1 and 2, cos(y) = 0
    assert value.tolist() == pytest.approx([0.0, 1.0, 1.0])


def test_a_position_counts_where_it_is_valid_in_both() -> None:
    x, y = torch.cat([MOVING, MOVING], dim=1)[:2], torch.cat([STILL, STILL], dim=1)[:2]
    y[0, 1] = float("nan")
    mask = torch.tensor([[True, False], [True, True]])
    value, _ = temporal_gram(x, y, mask, clips=torch.tensor([0, 0]))
    assert value.tolist() == pytest.approx([1.0, 1.0])


def test_clips_must_fit() -> None:
    with pytest.raises(ValueError, match=r"clips must be \(3,\), got \(2,\)"):
        temporal_gram(MOVING, STILL, clips=torch.tensor([0, 1]))
