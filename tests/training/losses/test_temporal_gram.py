import pytest
import torch

from training.losses.temporal_gram import has_partner, temporal_gram

STILL = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]])
MOVING = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 1.0]]])


def test_by_hand() -> None:
    value = temporal_gram(MOVING[:2], STILL[:2], clips=torch.tensor([3, 3]))
    assert value.tolist() == pytest.approx([1.0, 1.0])
    assert has_partner(torch.tensor([3, 3])).tolist() == [True, True]


def test_three_frames_by_hand() -> None:
    # d = cos(x) - cos(y): frames 0 and 1 -1, frames 0 and 2 0, frames 1 and 2 1; each frame averages over its two.
    value = temporal_gram(MOVING, STILL, clips=torch.tensor([7, 7, 7]))
    assert value.tolist() == pytest.approx([0.5, 1.0, 0.5])


def test_frames_of_other_clips_are_no_partners() -> None:
    assert temporal_gram(MOVING, STILL, clips=torch.tensor([0, 1, 2])).tolist() == [0.0, 0.0, 0.0]
    assert not has_partner(torch.tensor([0, 1, 2])).any()
    value = temporal_gram(MOVING, STILL, clips=torch.tensor([0, 1, 1]))
    assert has_partner(torch.tensor([0, 1, 1])).tolist() == [False, True, True]
    # cos(x) = 1 between frames 1 and 2, cos(y) = 0
    assert value.tolist() == pytest.approx([0.0, 1.0, 1.0])


def test_a_position_counts_where_it_is_valid_in_both() -> None:
    x, y = torch.cat([MOVING, MOVING], dim=1)[:2], torch.cat([STILL, STILL], dim=1)[:2]
    y[0, 1] = float("nan")
    mask = torch.tensor([[True, False], [True, True]])
    clips = torch.tensor([0, 0])
    assert temporal_gram(x, y, mask, clips=clips).tolist() == pytest.approx([1.0, 1.0])
    assert has_partner(clips, mask).tolist() == [True, True]
    # nothing is valid in both
    apart = torch.tensor([[True, False], [False, True]])
    assert temporal_gram(x, y, apart, clips=clips).tolist() == [0.0, 0.0]
    assert has_partner(clips, apart).tolist() == [False, False]


def test_clips_must_fit() -> None:
    with pytest.raises(ValueError, match=r"clips must be \(3,\), got \(2,\)"):
        temporal_gram(MOVING, STILL, clips=torch.tensor([0, 1]))
