"""What each teacher of a run is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.errors import UserError
from training.objectives.distillation_settings import TeacherConfig
from training.objectives.terms import TERMS
from training.teachers.spec import Size, TeacherSpec
from training.teachers.teacher import Teacher


@dataclass(frozen=True)
class Plan:
    """What one teacher is asked for: input size and grid in pixels and cells, which tokens count and how much."""

    input_size: tuple[int, int]
    grid: tuple[int, int]
    weights: Mapping[str, float] = field(default_factory=dict)  # of "summary" and "dense"
    terms: Mapping[str, float] = field(default_factory=dict)  # weights of `TERMS`


def plan_teacher(
    name: str, teacher: Teacher, config: TeacherConfig, base_size: int, image_size: int, patch: int
) -> Plan:
    """Decide a teacher's input size, grid and token kinds.

    Args:
        name: of the teacher in messages.
        teacher: what is planned.
        config: its settings.
        base_size: side in pixels of the student's input for which `config.input_size` is meant.
        image_size: side in pixels at which the student works.
        patch: of the student.

    Raises:
        UserError: no legal input size, no token kind left to learn, or a term between tokens that it does not give.
    """
    roles = teacher.spec.roles
    terms = {term: weight for term in TERMS if (weight := getattr(config, f"{term}_weight"))}
    for term in terms:
        if TERMS[term] not in roles:
            raise UserError(f"teachers.{name}.{term}_weight: this teacher gives no {TERMS[term]} tokens; set it to 0")
    # Tokens whose own loss has no weight are still learned for a term between them.
    needed = {TERMS[term] for term in terms}
    weights = {
        tokens: weight
        for tokens, weight in (("summary", config.summary_weight), ("dense", config.dense_weight))
        if tokens in roles and (weight or tokens in needed)
    }
    if not weights:
        raise UserError(f"teacher {name!r} teaches nothing: the weights of its roles ({', '.join(roles)}) are all 0")
    if config.input_size is None:
        size = _size_for(name, teacher.spec, image_size, patch)
    else:
        edge = config.input_size
        if image_size != base_size and teacher.spec.fixed_size is None:
            scaled = edge * image_size / base_size
            edge = min(teacher.spec.nearest_sizes(round(scaled)), key=lambda legal: abs(legal - scaled))
        size = (edge, edge)
    return Plan(input_size=size, grid=teacher.grid_of(size), weights=weights, terms=terms)


def _size_for(name: str, spec: TeacherSpec, image_size: int, patch: int) -> Size:
    """The input whose grid is the student's; `UserError` naming the sizes of the student that have one."""
    cells = image_size // patch
    try:
        return spec.input_size_for_grid(cells, cells)
    except UserError as error:
        edges = spec.fixed_size or spec.nearest_sizes(cells * spec.patch_size)
        legal = " and ".join(f"{edge // spec.patch_size * patch}" for edge in sorted(set(edges)))
        inputs = " and ".join(str(edge) for edge in sorted(set(edges)))
        raise UserError(
            f"teacher {name!r} has no input whose grid is that of the student at {image_size} px: the nearest are its "
            f"inputs of {inputs} px, for a student at {legal} px; change student.image_size or stages, or set "
            f"teachers.{name}.input_size, which resamples the student's grid"
        ) from error
