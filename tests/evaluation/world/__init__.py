"""One folder with tiny copies of all datasets the benchmark reads, each in its real layout, with learnable pixels."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from evaluation.datasets import workflow
from evaluation.tasks import catalog
from tests.evaluation.world import cholecystectomy, image_collections, laparoscopy, microscopy, robotics
from tests.evaluation.world.cases import write_splits

# Place below the data root, and who writes there. CATARACTS lies a level deeper than Cholec80: its folders have the
# same names, and two of a kind on one level are refused.
WRITERS: tuple[tuple[str, Callable[[Path], None]], ...] = (
    ("AutoLaparo", laparoscopy.write_autolaparo),
    ("AutoLaparo", laparoscopy.write_autolaparo_motion),
    ("cataract-101", microscopy.write_cataract101),
    ("eyes/CATARACTS", microscopy.write_cataracts),
    ("cholec80", cholecystectomy.write_cholec80),
    ("CholecT50", cholecystectomy.write_cholect50),
    ("endoscapes", cholecystectomy.write_endoscapes_cvs),
    ("GraSP_30fps", robotics.write_grasp),
    ("HeiChole", cholecystectomy.write_heichole),
    ("hyper-kvasir", image_collections.write_hyperkvasir),
    ("JIGSAWS", robotics.write_jigsaws),
    ("LapGyn4_v1.2", laparoscopy.write_lapgyn4),
    ("LEMON", image_collections.write_lemon),
    ("m2cai16-tool", cholecystectomy.write_m2cai16_tool),
    ("m2cai16-workflow", cholecystectomy.write_m2cai16_workflow),
    ("MultiBypass140", laparoscopy.write_multibypass140),
    ("pitvis/26531686", microscopy.write_pitvis),
    ("robots/TAPIR", robotics.write_psi_ava),
    ("robots/SAR-RARP50", robotics.write_sar_rarp50),
)


@dataclass(frozen=True)
class World:
    """Where everything lies."""

    root: Path  # data root
    splits: Path  # split files of the cases that there are


def write_world(folder: Path, synthetic: Path, endoscapes: Path) -> World:
    """Write all datasets, and copy the two that other tests have too."""
    root = folder / "data"
    for place, write in WRITERS:
        write(root / place)
    shutil.copytree(synthetic, root / "synthetic")
    shutil.copytree(endoscapes, root / "rehosted" / "endoscapes-seg50")
    return World(root, write_splits(folder / "splits"))


def use_splits(world: World, patch: pytest.MonkeyPatch) -> None:
    """Let the readers take the reduced splits."""
    patch.setattr(workflow, "SPLITS", world.splits)
    patch.setattr(catalog, "SPLITS", world.splits)
