"""The action triplets of CholecT50 as fields of `ZenConfig`.

`ZenForActionTriplet.from_pretrained(folder, **CHOLECT50)` puts their head on an encoder. 100 classes, each an
instrument, what it does and what it does it to; the last six are instruments that do nothing. Names and order are
those of the dataset (arXiv:2109.03223) and of its metrics (CAMMA-public/ivtmetrics), which can score the logits as they
are.
"""

from typing import Any

INSTRUMENTS = ["grasper", "bipolar", "hook", "scissors", "clipper", "irrigator"]

VERBS = ["grasp", "retract", "dissect", "coagulate", "clip", "cut", "aspirate", "irrigate", "pack", "null_verb"]

TARGETS = [
    "gallbladder",
    "cystic_plate",
    "cystic_duct",
    "cystic_artery",
    "cystic_pedicle",
    "blood_vessel",
    "fluid",
    "abdominal_wall_cavity",
    "liver",
    "adhesion",
    "omentum",
    "peritoneum",
    "gut",
    "specimen_bag",
    "null_target",
]

# One line per instrument and verb; its targets in the order of the classes, and the lines in that order too.
_CLASSES = """
grasper dissect: cystic_plate gallbladder omentum
grasper grasp: cystic_artery cystic_duct cystic_pedicle cystic_plate gallbladder gut liver omentum peritoneum specimen_bag
grasper pack: gallbladder
grasper retract: cystic_duct cystic_pedicle cystic_plate gallbladder gut liver omentum peritoneum
bipolar coagulate: abdominal_wall_cavity blood_vessel cystic_artery cystic_duct cystic_pedicle cystic_plate gallbladder liver omentum peritoneum
bipolar dissect: adhesion cystic_artery cystic_duct cystic_plate gallbladder omentum
bipolar grasp: cystic_plate liver specimen_bag
bipolar retract: cystic_duct cystic_pedicle gallbladder liver omentum
hook coagulate: blood_vessel cystic_artery cystic_duct cystic_pedicle cystic_plate gallbladder liver omentum
hook cut: blood_vessel peritoneum
hook dissect: blood_vessel cystic_artery cystic_duct cystic_plate gallbladder omentum peritoneum
hook retract: gallbladder liver
scissors coagulate: omentum
scissors cut: adhesion blood_vessel cystic_artery cystic_duct cystic_plate liver omentum peritoneum
scissors dissect: cystic_plate gallbladder omentum
clipper clip: blood_vessel cystic_artery cystic_duct cystic_pedicle cystic_plate
irrigator aspirate: fluid
irrigator dissect: cystic_duct cystic_pedicle cystic_plate gallbladder omentum
irrigator irrigate: abdominal_wall_cavity cystic_pedicle liver
irrigator retract: gallbladder liver omentum
grasper null_verb: null_target
bipolar null_verb: null_target
hook null_verb: null_target
scissors null_verb: null_target
clipper null_verb: null_target
irrigator null_verb: null_target
"""  # noqa: E501


def _triplets() -> list[list[int]]:
    """Per class the indices of its instrument, verb and target."""
    triplets = []
    for line in _CLASSES.strip().splitlines():
        action, targets = line.split(": ")
        instrument, verb = action.split()
        triplets += [
            [INSTRUMENTS.index(instrument), VERBS.index(verb), TARGETS.index(target)] for target in targets.split()
        ]
    return triplets


CHOLECT50: dict[str, Any] = {
    "instruments": INSTRUMENTS,
    "verbs": VERBS,
    "targets": TARGETS,
    "triplets": _triplets(),
}

__all__ = ["CHOLECT50"]
