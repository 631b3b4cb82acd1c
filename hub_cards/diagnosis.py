"""What a diagnosis without labels (`training.diagnose`) found of the weights of a card."""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file

from hub_cards.run_records import WEIGHTS, Run, lookup, read_json
from training.diagnostics.diagnosis import main_figures
from training.diagnostics.record import MADE_BY
from training.errors import UserError
from training.teachers.checkpoint import hash_weights

MORE_IS_BETTER = ("pck", "temporal_retrieval", "explained_variance")  # whatever the features are; not so with ranks


@dataclass(frozen=True)
class Line:
    """One measure; `values` follow the models of the diagnosis, `None` where it has none."""

    name: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Diagnosis:
    """The main figures of a diagnosis, and where it was made."""

    models: tuple[str, ...]
    lines: tuple[Line, ...]
    frames: int
    videos: int
    own_corpus: bool  # whether on held-out videos of the corpus that the run was trained on
    student: str  # its name among the models
    floor: str  # that of the student with random weights

    def findings(self) -> list[str]:
        """Measures of which more is better in which the student is not above random weights, as one sentence."""
        student, floor = self.models.index(self.student), self.models.index(self.floor)
        behind = []
        for line in self.lines:
            own, random = line.values[student], line.values[floor]
            if line.name.startswith(MORE_IS_BETTER) and own is not None and random is not None and own <= random:
                behind.append(line.name.replace("_", " "))
        if not behind:
            return []
        return [f"In the diagnosis the student is not above random weights (no test) in: {'; '.join(behind)}."]


def read_diagnosis(path: Path, run: Run) -> Diagnosis:
    """Read diagnosis.json of the weights of `run`.

    Raises:
        UserError: it is missing or broken, was not made by `training.diagnose`, or is about other weights.
    """
    record = read_json(path)
    where = str(path)
    if lookup(record, ("made_by",), where) != MADE_BY:
        raise UserError(f"{where!r} was not made by {MADE_BY}")
    measured = lookup(record, ("checkpoint", "weights_sha256"), where)
    own = hash_weights(load_file(run.hub / WEIGHTS))
    if measured != own:
        raise UserError(
            f"diagnosis {where!r} is about weights {measured[:12]}, but this run's model has {own[:12]}; "
            f"diagnose {str(run.hub)!r}"
        )
    roles = {
        str(lookup(model, ("name",), where)): lookup(model, ("role",), where)
        for model in lookup(record, ("models",), where)
    }
    models = tuple(roles)
    lookup(record, ("measures",), where)
    return Diagnosis(
        models,
        tuple(Line(name, tuple(map(values.get, models))) for name, values in main_figures(record).items()),
        lookup(record, ("frames", "held_out"), where),
        lookup(record, ("frames", "videos"), where),
        lookup(record, ("corpus", "fingerprint"), where) == lookup(run.corpus, ("fingerprint",), "corpus.json"),
        *(next(name for name, role in roles.items() if role == wanted) for wanted in ("student", "random_init")),
    )
