import torch
from torch import nn

from training.allocation import AllocationMeter

CPU = torch.device("cpu")


def test_counts_by_hand() -> None:
    given = torch.ones(100)
    with AllocationMeter(CPU, [given]) as meter:
        view = given[:50]  # no memory of its own
        a = view * 2  # 200 bytes
        b = a.view(5, 10) + 1  # 200
        assert (meter.live, meter.peak) == (400, 400)
        del a
        assert (meter.live, meter.peak) == (200, 400)
        c = b.double()  # 400
        c.add_(1)  # in place
        assert (meter.live, meter.peak) == (600, 600)
        del b, c
    assert (meter.live, meter.peak) == (0, 600)


def test_a_view_keeps_its_storage_alive() -> None:
    with AllocationMeter(CPU) as meter:
        whole = torch.zeros(10)
        part = whole[:1]
        del whole
        assert meter.live == 40
        del part
        assert meter.live == 0


def test_backward_passes_are_counted() -> None:
    linear = nn.Linear(10, 20, bias=False)  # 800 bytes of weights
    inputs = torch.ones(5, 10)
    with AllocationMeter(CPU, [inputs, *linear.parameters()]) as meter:
        loss = linear(inputs).square().sum()
        forward = meter.peak
        loss.backward()
        assert meter.peak >= forward + 800
        del loss
    assert linear.weight.grad is not None
    assert meter.live == 800  # the gradient


def test_memory_of_other_devices_does_not_count() -> None:
    with AllocationMeter(CPU) as meter:
        kept = torch.zeros(10, device="meta") + 1
    assert kept.numel() == 10
    assert meter.peak == 0
