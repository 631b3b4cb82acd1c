"""The loss of labels per frame: by hand, what is ignored, where gradients go, refusals."""

import math

import pytest
import torch

from modeling_zen.temporal_loss_zen import frame_loss

LOGITS = torch.tensor([[[[0.0, 0.0], [0.0, math.log(3)]]]])  # one video, one stage, two frames: (1/2, 1/2), (1/4, 3/4)
SMOOTHING = (math.log(2) ** 2 + math.log(1.5) ** 2) / 2


def loss(logits: torch.Tensor, labels: list, *, multi_label: bool = False) -> float:
    dtype = torch.float32 if multi_label else torch.long
    return float(frame_loss(logits, torch.tensor(labels, dtype=dtype), multi_label=multi_label))


def test_one_label_per_frame_by_hand() -> None:
    assert loss(LOGITS, [[0, 1]]) == pytest.approx((math.log(2) - math.log(0.75)) / 2 + 0.15 * SMOOTHING)
    assert loss(LOGITS, [[0, 1]]) == pytest.approx(0.5388, abs=1e-4)


def test_several_labels_per_frame_by_hand() -> None:
    logits = torch.tensor([[[[0.0], [math.log(3)]]]])  # 1/2, 3/4
    expected = (math.log(2) - math.log(0.25)) / 2 + 0.15 * math.log(1.5) ** 2
    assert loss(logits, [[[1], [0]]], multi_label=True) == pytest.approx(expected)
    assert loss(logits, [[[1], [-100]]], multi_label=True) == pytest.approx(math.log(2))


def test_stages_are_averaged() -> None:
    other = LOGITS.flip(-1)
    both = loss(torch.cat([LOGITS, other], dim=1), [[0, 1]])
    assert both == pytest.approx((loss(LOGITS, [[0, 1]]) + loss(other, [[0, 1]])) / 2)


def test_changes_are_truncated() -> None:
    logits = torch.tensor([[[[0.0, 50.0], [50.0, 0.0]]]])
    assert loss(logits, [[1, 0]]) == pytest.approx(0.15 * 16)


def test_frames_without_labels_count_nowhere() -> None:
    more = torch.cat([LOGITS, torch.full((1, 1, 2, 2), 9.0)], dim=2)
    assert loss(more, [[0, 1, -100, -100]]) == pytest.approx(loss(LOGITS, [[0, 1]]))
    assert loss(LOGITS, [[0, -100]]) == pytest.approx(math.log(2))
    assert loss(LOGITS, [[-100, -100]]) == 0.0
    assert loss(LOGITS[:, :, :1], [[0]]) == pytest.approx(math.log(2))


def test_smoothing_sends_no_gradient_to_the_earlier_frame() -> None:
    """Of a frame that is right beyond doubt and followed by one that is not, the former is left alone."""
    logits = torch.tensor([[[[30.0, 0.0], [0.0, 0.0]]]], requires_grad=True)
    frame_loss(logits, torch.tensor([[0, 0]]), multi_label=False).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 0].abs().max() < 1e-6
    assert logits.grad[0, 0, 1].abs().max() > 0.1


def test_it_computes_in_float32() -> None:
    value = frame_loss(LOGITS.bfloat16(), torch.tensor([[0, 1]], dtype=torch.int32), multi_label=False)
    assert value.dtype == torch.float32


@pytest.mark.parametrize(
    ("labels", "multi_label", "message"),
    [
        (torch.zeros(1, 3, dtype=torch.long), False, r"^labels must be integers \(1, 2\), not torch.int64 \(1, 3\)$"),
        (torch.tensor([[0, 2]]), False, r"^labels holds class 2, which is not from 0 to 1 \(nor -100"),
        (torch.zeros(1, 2), True, r"^labels must be floating point \(1, 2, 2\), not torch.float32 \(1, 2\)$"),
        (torch.full((1, 2, 2), 2.0), True, r"^labels holds 2, which is not from 0 \(absent\) to 1 \(present\)$"),
    ],
)
def test_refusals(labels: torch.Tensor, multi_label: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frame_loss(LOGITS, labels, multi_label=multi_label)
