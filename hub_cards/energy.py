"""Estimate of the energy that a run took, from the hours and the device it recorded; every assumption is printed."""

from training.report.formats import duration, figure

# Power of one device at most, in watts, as its maker states it; longest name first where one begins another.
DEVICE_WATTS = {
    "NVIDIA H200": 700,  # SXM, TDP of the data sheet
    "NVIDIA H100 NVL": 400,
    "NVIDIA H100 PCIe": 350,
    "NVIDIA H100 80GB HBM3": 700,  # SXM
    "NVIDIA A100-SXM4": 400,
    "NVIDIA A100 80GB PCIe": 300,
    "NVIDIA A100-PCIE-40GB": 250,
    "Tesla V100-SXM2": 300,
    "Tesla V100-PCIE": 250,
    "NVIDIA L40S": 350,
    "NVIDIA L4": 72,
    "Tesla T4": 70,
    "NVIDIA RTX A6000": 300,
    "NVIDIA GeForce RTX 4090": 450,
    "NVIDIA GeForce RTX 3090": 350,
}
PUE = 1.58  # energy of a data center per energy of its machines: the average that arXiv:1906.02243, section 2, takes


def energy_kwh(watts: float, devices: int, seconds: float) -> float:
    """Kilowatt-hours: devices x watts x hours x PUE / 1000 (arXiv:1906.02243, equation 1, for the devices alone).

    8 devices of 700 W for 2 h: 8 x 700 x 2 x 1.58 / 1000 = 17.696 kWh.
    """
    return devices * watts * seconds / 3600 * PUE / 1000


def energy_statement(device: str, devices: int, seconds: float) -> str:
    """The estimate with its formula, or why there is none.

    Args:
        device: as the run recorded it, "NVIDIA H100 80GB HBM3".
        devices: processes of the run, one device each.
        seconds: of the run.
    """
    watts = _watts(device)
    if watts is None:
        return f"not estimated: the power of {device} is not recorded"
    return (
        f"about {figure(energy_kwh(watts, devices, seconds))} kWh = {devices} x {watts} W (most that the maker states "
        f"for {device}) x {duration(seconds)} x {PUE} (assumed power usage effectiveness, arXiv:1906.02243); an "
        "estimate, not a measurement: hosts are not counted, and devices are taken to be fully used"
    )


def _watts(device: str) -> int | None:
    """Power of the device whose name is a prefix of `device`, as whole words or followed by a memory size."""
    found = [name for name in DEVICE_WATTS if device == name or device.startswith((f"{name} ", f"{name}-"))]
    return DEVICE_WATTS[max(found, key=len)] if found else None
