"""The estimate of energy, and where there is none."""

import pytest

from hub_cards.energy import energy_kwh, energy_statement


def test_the_formula():
    assert energy_kwh(700, 8, 7200) == pytest.approx(17.696)  # 8 x 700 W x 2 h x 1.58 / 1000


def test_every_assumption_is_printed():
    assert energy_statement("NVIDIA H100 80GB HBM3", 8, 7200) == (
        "about 17.7 kWh = 8 x 700 W (most that the maker states for NVIDIA H100 80GB HBM3) x 2 h 0 min x 1.58 (assumed "
        "power usage effectiveness, arXiv:1906.02243); an estimate, not a measurement: hosts are not counted, and "
        "devices are taken to be fully used"
    )


@pytest.mark.parametrize(
    ("device", "watts"),
    [
        ("NVIDIA A100-SXM4-80GB", 400),
        ("NVIDIA A100 80GB PCIe", 300),
        ("NVIDIA H100 NVL", 400),
        ("NVIDIA L4", 72),
        ("NVIDIA L40S", 350),
    ],
)
def test_devices_are_told_apart(device, watts):
    assert f"= 1 x {watts} W" in energy_statement(device, 1, 3600)


@pytest.mark.parametrize("device", ["CPU (x86_64)", "NVIDIA L40", "NVIDIA H100 80GB", "NVIDIA GeForce RTX 4090x"])
def test_an_unknown_device_has_no_estimate(device):
    assert energy_statement(device, 1, 3600) == f"not estimated: the power of {device} is not recorded"
