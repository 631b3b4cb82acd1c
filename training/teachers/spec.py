"""What the trainer must know about a teacher before it may use one: `TeacherSpec` and its input-size arithmetic."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from training.errors import UserError

Size = tuple[int, int]

KINDS = ("tokens", "map", "video")
SUMMARIES = ("pooler", "first_token", "mean", "none")
ROLES = ("summary", "dense")


@dataclass(frozen=True)
class TeacherSpec:
    """Where a teacher's features are, which inputs it takes and under which terms it may be used.

    Sizes are pixels, always (height, width). `ValueError` when the fields contradict each other.
    """

    name: str  # how recipes, logs and cards call it
    repo: str  # Hub id, or the name of a local folder (never its path: specs are published)
    # "tokens": (batch, prefix + h*w, width), as ViTs give; "map": (batch, width, h, w), as CNNs give; "video":
    # (clips, frames*h*w, width), a grid for every frame that fills a tubelet
    kind: str
    summary: str  # "pooler": pooler_output, "first_token", "mean" of the dense cells, or "none"
    dense: bool  # whether its patch tokens (or map) may be distilled
    patch_size: int  # input pixels per dense cell, along each axis
    min_size: int  # smallest legal height and width
    max_size: int  # largest legal height and width
    size_multiple: int  # legal heights and widths are multiples of this
    roles: tuple[str, ...]  # subset of ("summary", "dense"): what it is good for
    licence: str  # terms of the weights; they may restrict the student
    source: str  # URL or package the weights come from
    num_prefix_tokens: int = 0  # tokens before the patches (class and register tokens); 0 for maps
    tubelet_size: int = 0  # frames that one token of a video teacher spans; 0 for image teachers
    dense_layer: int | None = None  # which hidden state of a CNN is its dense map; None = last_hidden_state
    fixed_size: Size | None = None  # the only legal input of a teacher without resizable positions
    revision: str | None = None  # Hub commit; None = the newest, which is then resolved and recorded
    gated: bool = False  # whether the Hub asks for its terms to be accepted first
    not_loadable: str = ""  # empty, or the sentence that says why AutoModel cannot load it and what to convert

    def __post_init__(self) -> None:
        for field, value, allowed in (("kind", self.kind, KINDS), ("summary", self.summary, SUMMARIES)):
            if value not in allowed:
                raise ValueError(f"teacher {self.name!r}: {field}={value!r} is none of {', '.join(allowed)}")
        expected = tuple(r for r, has in zip(ROLES, (self.summary != "none", self.dense), strict=True) if has)
        if not self.roles or not set(self.roles) <= set(expected):
            raise ValueError(f"teacher {self.name!r}: roles={self.roles} but its outputs allow only {expected}")
        if self.kind == "map" and (self.num_prefix_tokens or self.summary == "first_token"):
            raise ValueError(f"teacher {self.name!r}: a feature map has no prefix tokens")
        if (self.kind == "video") != (self.tubelet_size > 0):
            raise ValueError(
                f"teacher {self.name!r}: kind={self.kind!r} and tubelet_size={self.tubelet_size} contradict each "
                "other: video teachers have tubelets of one frame or more, image teachers none"
            )
        if self.kind == "video" and (self.num_prefix_tokens or self.summary not in ("mean", "none")):
            raise ValueError(
                f"teacher {self.name!r}: the tokens of a video are its frames' grids, so it has no prefix tokens and "
                "its summary is 'mean' or 'none'"
            )
        if self.kind != "map" and self.dense_layer is not None:
            raise ValueError(f"teacher {self.name!r}: only a feature map can come from another layer than the last")
        if self.summary == "first_token" and self.num_prefix_tokens == 0:
            raise ValueError(f"teacher {self.name!r}: summary='first_token' needs num_prefix_tokens >= 1")
        if min(self.patch_size, self.size_multiple, self.min_size) < 1 or self.size_multiple % self.patch_size:
            raise ValueError(
                f"teacher {self.name!r}: sizes must be positive and size_multiple={self.size_multiple} a multiple of "
                f"patch_size={self.patch_size}"
            )
        if self.smallest > self.largest:
            raise ValueError(
                f"teacher {self.name!r}: no multiple of {self.size_multiple} lies between min_size={self.min_size} "
                f"and max_size={self.max_size}"
            )
        if self.fixed_size is not None and any(edge % self.patch_size for edge in self.fixed_size):
            raise ValueError(f"teacher {self.name!r}: fixed_size={self.fixed_size} is no multiple of the patch")

    @property
    def loadable(self) -> bool:
        """Whether `load_teacher` can load it (an entry may only document a model that needs conversion)."""
        return not self.not_loadable

    def grid(self, size: Size) -> Size:
        """Dense cells (rows, columns) of an input of `size`; `UserError` if the size is not legal."""
        self.check_size(size)
        return size[0] // self.patch_size, size[1] // self.patch_size

    def check_size(self, size: Size) -> None:
        """Raise `UserError`, naming the nearest legal sizes, unless (height, width) is a legal input."""
        if self.fixed_size is not None:
            if tuple(size) != self.fixed_size:
                raise UserError(
                    f"teacher {self.name!r} takes only inputs of {_times(self.fixed_size)} (height x width), "
                    f"a {_times(self._fixed_grid())} grid, not {_times(size)}"
                )
            return
        for axis, edge in zip(("height", "width"), size, strict=True):
            if edge % self.size_multiple or not self.smallest <= edge <= self.largest:
                lower, upper = self.nearest_sizes(edge)
                raise UserError(
                    f"{axis} {edge} is not a legal input of teacher {self.name!r} (multiples of {self.size_multiple} "
                    f"from {self.smallest} to {self.largest}); the two nearest legal sizes are {lower} and "
                    f"{upper}"
                )

    def nearest_sizes(self, edge: int) -> Size:
        """The two legal sizes nearest to `edge`, smaller first (of a teacher without a fixed size)."""
        step, smallest, largest = self.size_multiple, self.smallest, self.largest
        lower = min(max(edge // step * step, smallest), max(largest - step, smallest))
        return lower, min(lower + step, largest)

    def input_size_for_grid(self, height: int, width: int) -> Size:
        """Input (height, width) in pixels with a dense grid of `height` x `width` cells; `UserError` if none is."""
        if self.fixed_size is not None:
            if (height, width) != self._fixed_grid():
                raise UserError(
                    f"teacher {self.name!r} cannot give a {height}x{width} grid: it takes only inputs of "
                    f"{_times(self.fixed_size)}, a {_times(self._fixed_grid())} grid"
                )
            return self.fixed_size
        size = height * self.patch_size, width * self.patch_size
        for axis, cells, edge in zip(("rows", "columns"), (height, width), size, strict=True):
            if edge % self.size_multiple or not self.smallest <= edge <= self.largest:
                lower, upper = self.nearest_sizes(edge)
                raise UserError(
                    f"teacher {self.name!r} cannot give a grid of {cells} {axis} (an input edge of {edge}); the two "
                    f"nearest are {lower // self.patch_size} and {upper // self.patch_size} {axis}, at "
                    f"{lower} and {upper} pixels"
                )
        return size

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON-able values."""
        plain = asdict(self)
        plain["roles"] = list(self.roles)
        plain["fixed_size"] = list(self.fixed_size) if self.fixed_size else None
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any], origin: str) -> "TeacherSpec":
        """Build a spec from JSON values; `UserError` naming `origin` for unknown, missing or contradicting fields."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UserError(f"{origin}: unknown spec fields {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        plain = dict(values)
        try:
            if "roles" in plain:
                plain["roles"] = tuple(plain["roles"])
            if plain.get("fixed_size") is not None:
                height, width = plain["fixed_size"]
                plain["fixed_size"] = (int(height), int(width))
            return cls(**plain)
        except (TypeError, ValueError) as error:
            raise UserError(f"{origin}: the teacher spec is not usable: {error}") from error

    @property
    def smallest(self) -> int:
        """Smallest legal edge in pixels, for a teacher without a fixed size."""
        return -(-self.min_size // self.size_multiple) * self.size_multiple

    @property
    def largest(self) -> int:
        """Largest legal edge in pixels, for a teacher without a fixed size."""
        return self.max_size // self.size_multiple * self.size_multiple

    def _fixed_grid(self) -> Size:
        size = self.fixed_size or (0, 0)
        return size[0] // self.patch_size, size[1] // self.patch_size


def _times(size: Size) -> str:
    """`(224, 256)` as a person writes it."""
    return f"{size[0]}x{size[1]}"
