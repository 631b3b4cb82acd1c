"""The words of the synthetic world: structures, instruments, verbs, phases, and what each procedure does with them."""

from dataclasses import dataclass

PHASES = ("preparation", "dissection", "clipping", "cutting", "extraction", "cleaning")
TISSUES = (
    "abdominal_wall",
    "liver",
    "gallbladder",
    "cystic_duct",
    "fat",
    "bowel",
    "uterus",
    "ovary",
    "kidney",
    "vessel",
    "blood",
)
INSTRUMENTS = ("grasper", "hook", "scissors", "clipper", "irrigator", "bipolar")
NULL_VERB, NULL_TARGET = "null_verb", "null_target"
VERBS = ("grasp", "retract", "dissect", "coagulate", "clip", "cut", "irrigate", "aspirate", NULL_VERB)
TARGETS = (*TISSUES, NULL_TARGET)
# Index = value in the semantic masks; background is everything outside the field of view.
CLASSES = ("background", *TISSUES, *INSTRUMENTS)
ENERGY_INSTRUMENTS = ("hook", "bipolar")  # their contacts make smoke
BLEEDING_VERBS = ("dissect", "cut")


@dataclass(frozen=True)
class Action:
    """Something an instrument may do in a phase: one of `verbs` on one of `targets`, drawn with `weight`."""

    instrument: str
    verbs: tuple[str, ...]
    targets: tuple[str, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Procedure:
    """An operation: what the leading and the assisting hand do in each phase."""

    name: str
    leading: dict[str, tuple[Action, ...]]
    assisting: dict[str, tuple[Action, ...]]

    def actions(self) -> list[Action]:
        """All actions of both hands."""
        return [action for table in (self.leading, self.assisting) for row in table.values() for action in row]


def _procedure(
    name: str,
    organs: tuple[str, ...],
    cut_targets: tuple[str, ...],
    clip_targets: tuple[str, ...],
    dissecting: dict[str, float],
) -> Procedure:
    """A procedure from its organs, the structures that are cut and clipped, and how often each tool dissects."""
    soft = (*organs, "fat")
    energy = {"hook": ("dissect", "coagulate"), "bipolar": ("coagulate",), "scissors": ("dissect", "cut")}
    grasp = ("grasp", "retract")
    sealing = Action("clipper", ("clip",), clip_targets, 4.0)
    leading = {
        "preparation": (
            Action("grasper", grasp, soft, 2.0),
            Action("bipolar", ("grasp",), soft, 0.8),
            Action("hook", ("dissect",), soft, 0.7),
            Action("irrigator", ("irrigate",), soft, 0.7),
        ),
        "dissection": tuple(Action(tool, energy[tool], soft, weight) for tool, weight in dissecting.items()),
        "clipping": (sealing, Action("bipolar", ("coagulate",), clip_targets, 0.6)),
        "cutting": (
            Action("scissors", ("cut",), cut_targets, 3.0),
            Action("hook", ("dissect",), cut_targets, 1.5),
        ),
        "extraction": (Action("grasper", grasp, organs, 3.0), Action("bipolar", ("grasp",), organs, 0.8)),
        "cleaning": (
            Action("irrigator", ("irrigate", "aspirate"), (*soft, "blood"), 4.0),
            Action("bipolar", ("coagulate",), soft, 0.8),
        ),
    }
    hold = Action("grasper", grasp, soft, 3.0)
    assisting = {
        "preparation": (hold,),
        "dissection": (hold, Action("irrigator", ("aspirate", "irrigate"), (*soft, "blood"), 1.2)),
        "clipping": (hold,),
        "cutting": (hold, Action("bipolar", ("grasp",), soft, 0.6)),
        "extraction": (hold, Action("irrigator", ("aspirate",), ("blood",), 0.8)),
        "cleaning": (hold, Action("bipolar", ("grasp", "coagulate"), soft, 1.0)),
    }
    return Procedure(name, leading, assisting)


PROCEDURES: dict[str, Procedure] = {
    procedure.name: procedure
    for procedure in (
        _procedure(
            "cholecystectomy",
            ("gallbladder", "liver"),
            ("cystic_duct", "vessel"),
            ("cystic_duct", "vessel"),
            {"hook": 3.0, "scissors": 1.0, "bipolar": 1.5},
        ),
        _procedure(
            "hysterectomy",
            ("uterus", "ovary"),
            ("uterus", "vessel"),
            ("vessel",),
            {"bipolar": 2.5, "scissors": 1.5, "hook": 2.0},
        ),
        _procedure(
            "nephrectomy",
            ("kidney", "bowel"),
            ("vessel", "fat"),
            ("vessel",),
            {"hook": 2.5, "scissors": 1.5, "bipolar": 2.0},
        ),
        _procedure(
            "colectomy",
            ("bowel",),
            ("bowel", "vessel"),
            ("vessel", "bowel"),
            {"hook": 2.5, "bipolar": 2.5, "scissors": 1.0},
        ),
    )
}


def _triplets() -> tuple[tuple[str, str, str], ...]:
    """Every (instrument, verb, target) that some procedure can show, and the idle triplet of each instrument."""
    found = {
        (action.instrument, verb, target)
        for procedure in PROCEDURES.values()
        for action in procedure.actions()
        for verb in action.verbs
        for target in action.targets
        if (verb == "aspirate") == (target == "blood")
    }
    found |= {(instrument, NULL_VERB, NULL_TARGET) for instrument in INSTRUMENTS}
    return tuple(sorted(found, key=lambda t: (INSTRUMENTS.index(t[0]), VERBS.index(t[1]), TARGETS.index(t[2]))))


TRIPLETS = _triplets()
