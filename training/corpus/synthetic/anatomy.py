"""Where the structures of each procedure lie: outlines on a canvas larger than the view, back to front."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from training.corpus.synthetic.noise import fractal, spline
from training.errors import UserError

Array = np.ndarray


@dataclass(frozen=True)
class Structure:
    """One structure: its class, its outline `mask` (canvas height, width) uint8 0/255, and how far it stands out."""

    name: str
    mask: Array
    lift: float = 1.0  # factor on the relief of its tissue


class Sketch:
    """Draws outlines in canvas units (x and y from 0 to 1) after one random mirror, turn and shift per case."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.rng, self.height, self.width = rng, height, width
        self.structures: list[Structure] = []
        turn = rng.uniform(-0.3, 0.3)
        mirror = rng.choice([-1.0, 1.0])
        scale = rng.uniform(0.92, 1.12)
        self._matrix = scale * np.array([[mirror * np.cos(turn), -np.sin(turn)], [mirror * np.sin(turn), np.cos(turn)]])
        self._shift = rng.uniform(-0.05, 0.05, 2) + 0.5
        # One wobble of all outlines makes the geometric shapes organic.
        amplitude = 0.012 * width
        self._wobble = [amplitude * fractal(rng, height, width, 9, 2) for _ in range(2)]
        grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
        self._map_x, self._map_y = grid_x + self._wobble[0], grid_y + self._wobble[1]

    def _pixels(self, points: Array) -> Array:
        placed = (points - 0.5) @ self._matrix.T + self._shift
        return placed * (self.width, self.height)

    def _add(self, name: str, mask: Array, lift: float) -> None:
        warped = cv2.remap(mask, self._map_x, self._map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self.structures.append(Structure(name, np.where(warped > 127, np.uint8(255), np.uint8(0)), lift))

    def _fill(self, name: str, outline: Array, lift: float = 1.0) -> None:
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [np.round(self._pixels(outline)).astype(np.int32)], 255)
        self._add(name, mask, lift)

    def near(self, *center: float, spread: float = 0.03) -> Array:
        """The point `center` moved at random."""
        return np.array(center) + self.rng.normal(0, spread, 2)

    def everywhere(self, name: str) -> None:
        """The ground that lies under all else."""
        self.structures.append(Structure(name, np.full((self.height, self.width), 255, np.uint8)))

    def side(self, name: str, edge: float, below: bool, lift: float = 1.0, slope: float = 0.0) -> None:
        """All that lies above or below a wavy line at height `edge`."""
        x = np.linspace(-0.5, 1.5, 80)
        waves = sum(self.rng.normal(0, 0.035 / k) * np.sin(2.6 * k * x + self.rng.uniform(0, 6.3)) for k in (1, 2, 3))
        y = edge + slope * (x - 0.5) + waves
        far = 2.0 if below else -1.0
        self._fill(name, np.stack([np.r_[x, 1.5, -0.5], np.r_[y, far, far]], axis=1), lift)

    def blob(
        self,
        name: str,
        center: Array,
        size: tuple[float, float],
        turn: float = 0.0,
        pear: float = 0.0,
        bean: float = 0.0,
    ) -> None:
        """A rounded organ with half axes `size`; `pear` narrows one end, `bean` dents one side."""
        angle = np.linspace(0, 2 * np.pi, 120, endpoint=False)
        radius = 1 + sum(self.rng.normal(0, 0.06 / k) * np.cos(k * angle + self.rng.uniform(0, 6.3)) for k in (2, 3, 4))
        radius = radius - bean * np.exp(-(((angle - np.pi) / 0.5) ** 2))
        x, y = radius * np.cos(angle), radius * np.sin(angle)
        y = y * (1 - pear * (0.5 - 0.5 * x))
        scale = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        aspect = np.array([1.0, self.width / self.height])
        self._fill(name, center + (np.stack([x * size[0], y * size[1]], axis=1) @ scale.T) * aspect)

    def tube(self, name: str, points: list[Array], radius: float, folds: float = 0.0) -> None:
        """A tube along a curve; `folds` is the strength of the constrictions (haustra)."""
        length = sum(float(np.linalg.norm(b - a)) for a, b in pairwise(points))
        curve = self._pixels(spline(np.array(points), 260))
        phase = np.linspace(0, length / (2.2 * radius), 260) * 2 * np.pi
        thickness = radius * self.width * (1 + folds * np.sin(phase + self.rng.uniform(0, 6.3)))
        mask = np.zeros((self.height, self.width), np.uint8)
        for (x, y), r in zip(curve, thickness, strict=True):
            cv2.circle(mask, (int(x * 16), int(y * 16)), int(max(r, 1.0) * 16), 255, -1, cv2.LINE_8, 4)
        self._add(name, mask, 1.0)


def _cholecystectomy(s: Sketch) -> None:
    rng = s.rng
    s.everywhere("abdominal_wall")
    s.side("liver", rng.uniform(0.46, 0.56), below=False, slope=rng.uniform(-0.1, 0.2))
    s.side("fat", rng.uniform(0.70, 0.78), below=True, slope=rng.uniform(-0.25, 0.1))
    y = rng.uniform(0.72, 0.85)
    s.tube("bowel", [s.near(-0.1, y), s.near(0.2, y - 0.08), s.near(0.42, y + 0.06), s.near(0.62, y + 0.2)], 0.075, 0.1)
    neck = s.near(0.42, 0.60, spread=0.02)
    s.tube("vessel", [neck + np.array([0.05, -0.06]), s.near(0.38, 0.58), s.near(0.28, 0.66), s.near(0.2, 0.74)], 0.013)
    s.tube("cystic_duct", [neck, s.near(0.36, 0.66), s.near(0.33, 0.74), s.near(0.26, 0.84)], 0.021)
    s.blob("gallbladder", s.near(0.54, 0.50), (rng.uniform(0.16, 0.21), 0.085), turn=rng.uniform(-0.9, -0.5), pear=0.45)
    if rng.random() < 0.5:
        s.blob("fat", s.near(0.70, 0.66), (0.09, 0.06), turn=rng.uniform(-1, 1))


def _hysterectomy(s: Sketch) -> None:
    rng = s.rng
    s.everywhere("abdominal_wall")
    s.side("fat", rng.uniform(0.14, 0.26), below=False, slope=rng.uniform(-0.2, 0.2))
    for x in (0.12, 0.5, 0.86) if rng.random() < 0.6 else (0.3, 0.75):
        start = s.near(x - 0.2, 0.9, spread=0.04)
        s.tube(
            "bowel",
            [start, s.near(x, 0.80, spread=0.04), s.near(x + 0.16, 0.93), start + np.array([0.2, 0.25])],
            0.07,
            0.06,
        )
    for side in (-1, 1):
        x = 0.5 + 0.2 * side
        if rng.random() < 0.85:
            hip = s.near(x + 0.06 * side, 0.62)
            s.tube(
                "vessel", [s.near(0.5 + 0.09 * side, 0.55), s.near(x, 0.66), hip, s.near(x + 0.2 * side, 0.5)], 0.014
            )
        if rng.random() < 0.8:
            s.blob("ovary", s.near(x + 0.05 * side, 0.47), (0.062, 0.042), turn=rng.uniform(-1, 1))
    s.blob(
        "uterus",
        s.near(0.5, 0.47),
        (rng.uniform(0.14, 0.19), rng.uniform(0.12, 0.15)),
        turn=rng.uniform(1.2, 1.9),
        pear=0.3,
    )


def _nephrectomy(s: Sketch) -> None:
    rng = s.rng
    s.everywhere("abdominal_wall")
    s.side("fat", rng.uniform(0.28, 0.38), below=True, slope=rng.uniform(-0.15, 0.15))
    if rng.random() < 0.6:
        s.side("liver", rng.uniform(0.18, 0.28), below=False, slope=rng.uniform(0.1, 0.3))
    y = rng.uniform(0.82, 0.9)
    s.tube("bowel", [s.near(-0.1, y - 0.2), s.near(0.22, y - 0.05), s.near(0.5, y + 0.05), s.near(1.1, y)], 0.085, 0.14)
    hilum = s.near(0.47, 0.52, spread=0.02)
    for offset in (0.0, 0.09) if rng.random() < 0.7 else (0.03,):
        width = rng.uniform(0.013, 0.024)
        s.tube(
            "vessel",
            [
                hilum + np.array([0.1, offset]),
                hilum + np.array([0, offset]),
                s.near(0.3, 0.5 + 1.3 * offset),
                s.near(0.1, 0.5),
            ],
            width,
        )
    s.blob("kidney", s.near(0.63, 0.53), (0.12, rng.uniform(0.17, 0.2)), turn=rng.uniform(-0.3, 0.3), bean=0.3)
    s.blob("fat", s.near(0.80, 0.62, spread=0.04), (0.10, 0.08), turn=rng.uniform(-1, 1))


def _colectomy(s: Sketch) -> None:
    rng = s.rng
    s.everywhere("abdominal_wall")
    s.side("fat", rng.uniform(0.22, 0.42), below=True, slope=rng.uniform(-0.3, 0.3))
    if rng.random() < 0.35:
        s.side("liver", rng.uniform(0.12, 0.2), below=False, slope=rng.uniform(-0.3, 0.3))
    for _ in range(rng.integers(1, 4)):
        start = s.near(0.45, 0.6, spread=0.05)
        s.tube(
            "vessel", [start, start + rng.normal(0, 0.1, 2), s.near(0.5, 0.75, spread=0.15)], rng.uniform(0.008, 0.015)
        )
    y = rng.uniform(0.3, 0.42)
    s.tube(
        "bowel",
        [s.near(-0.1, y + 0.1), s.near(0.25, y), s.near(0.55, y + 0.1), s.near(0.8, y), s.near(1.1, y)],
        0.09,
        0.2,
    )
    if rng.random() < 0.7:
        s.tube("bowel", [s.near(0.7, 1.1), s.near(0.68, 0.85), s.near(0.85, 0.72), s.near(1.1, 0.8)], 0.07, 0.1)
    s.blob("fat", s.near(0.35, 0.62, spread=0.06), (0.12, 0.07), turn=rng.uniform(-1, 1))


_LAYOUTS: dict[str, Callable[[Sketch], None]] = {
    "cholecystectomy": _cholecystectomy,
    "hysterectomy": _hysterectomy,
    "nephrectomy": _nephrectomy,
    "colectomy": _colectomy,
}


def lay_out(procedure: str, rng: np.random.Generator, height: int, width: int) -> list[Structure]:
    """The structures of one case on a canvas of `height` x `width` pixels, back to front."""
    if procedure not in _LAYOUTS:
        raise UserError(f"unknown procedure {procedure!r}; known: {', '.join(sorted(_LAYOUTS))}")
    sketch = Sketch(rng, height, width)
    _LAYOUTS[procedure](sketch)
    return sketch.structures
