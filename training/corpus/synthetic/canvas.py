"""The scene of one case as image layers larger than the view: colour, height, surface slope, structure ids."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.synthetic.anatomy import lay_out
from training.corpus.synthetic.noise import fractal
from training.corpus.synthetic.tissue import LOOKS, VIEW_MILLIMETERS, paint

Array = np.ndarray
CANVAS_FACTOR = 2.2  # canvas size over view size at zoom 1: room for the camera to wander


@dataclass
class Canvas:
    """Layers of one case; positions are canvas pixels, equal to view pixels at zoom 1.

    Attributes:
        color: (H, W, 4) uint8: RGB and the blood potential (a pixel is bloody when potential > 255 * (1 - level)).
        geometry: (H, W, 4) float32: height above the ground in mm, slope in x and in y (mm per mm), gloss 0..1.
        structure: (H, W) uint8: number of the front structure, 1-based.
        names: class of each structure, in the order of the numbers.
        pixels_per_mm: canvas pixels per millimetre.
    """

    color: Array
    geometry: Array
    structure: Array
    names: list[str]
    pixels_per_mm: float

    @property
    def size(self) -> Array:
        """Width and height in pixels."""
        return np.array([self.structure.shape[1], self.structure.shape[0]], np.float64)

    def class_at(self, x: float, y: float) -> str:
        """Class of the structure at a canvas position (nearest pixel, clamped to the canvas)."""
        height, width = self.structure.shape
        row, column = min(max(round(y), 0), height - 1), min(max(round(x), 0), width - 1)
        return self.names[int(self.structure[row, column]) - 1]

    def places(self, name: str, rng: np.random.Generator, count: int = 300) -> Array:
        """Up to `count` random positions (n, 2) well inside structures of class `name` and away from the canvas rim."""
        numbers = [number for number, known in enumerate(self.names, start=1) if known == name]
        mask = np.isin(self.structure, numbers).astype(np.uint8)
        distance = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        height, width = mask.shape
        rim_y, rim_x = int(0.2 * height), int(0.2 * width)
        distance[:rim_y] = distance[-rim_y:] = 0
        distance[:, :rim_x] = distance[:, -rim_x:] = 0
        for depth_mm in (4.0, 1.6):
            rows, columns = np.nonzero(distance > depth_mm * self.pixels_per_mm)
            if len(rows) >= 12:
                chosen = rng.choice(len(rows), min(count, len(rows)), replace=False)
                return np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float64)
        return np.zeros((0, 2))

    def add_blood(self, centers: list[tuple[float, float]], rng: np.random.Generator) -> None:
        """Lay pools around `centers`; earlier centers bleed at a lower level."""
        height, width = self.structure.shape
        ragged = 0.16 * fractal(rng, height, width, 24, 4)
        potential = np.zeros((height, width), np.float32)
        grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
        for index, (x, y) in enumerate(centers):
            radius = self.pixels_per_mm * rng.uniform(10, 18)
            stretch, turn = rng.uniform(1.0, 1.7), rng.uniform(0, np.pi)
            dx, dy = grid_x - x, grid_y - y
            along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
            distance = np.sqrt((along / stretch) ** 2 + across**2) / radius
            late = 0.25 * index / max(len(centers) - 1, 1)
            potential = np.maximum(potential, 1.1 - late - 0.8 * distance + ragged * np.minimum(distance, 1))
        self.color[..., 3] = np.clip(potential, 0, 1) * 255


def build_canvas(procedure: str, rng: np.random.Generator, view_height: int, view_width: int) -> Canvas:
    """Paint the scene of one case for views of the given size in pixels."""
    height, width = round(CANVAS_FACTOR * view_height), round(CANVAS_FACTOR * view_width)
    scale = view_width / VIEW_MILLIMETERS
    albedo = np.zeros((height, width, 3), np.float32)
    relief = np.zeros((height, width), np.float32)
    structure = np.zeros((height, width), np.uint8)
    gloss = np.zeros((height, width), np.float32)
    names = []
    for item in lay_out(procedure, rng, height, width):
        x, y, w, h = cv2.boundingRect(item.mask)
        if w == 0:
            continue
        names.append(item.name)
        look = LOOKS[item.name]
        patch = np.s_[y : y + h, x : x + w]
        inside = item.mask[patch] > 0
        padded = cv2.copyMakeBorder(item.mask, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        distance = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1][patch]
        profile = np.sin(np.minimum(distance / (look.rim * scale), 1) * np.float32(np.pi / 2))
        profile = _smooth(profile, 0.35 * look.rim * scale) if look.rim > 6 else profile
        texture, bumps = paint(rng, item.name, h, w, scale)
        soft = cv2.GaussianBlur(item.mask, (0, 0), 0.35 * scale)[patch].astype(np.float32) / 255
        support = cv2.GaussianBlur(relief, (0, 0), 3.0 * scale)[patch]
        raised = support + (0.5 if len(names) > 1 else 0.0) + item.lift * look.relief * profile
        relief[patch] += (raised + bumps - relief[patch]) * soft
        albedo[patch] += (texture - albedo[patch]) * soft[..., None]
        structure[patch] = np.where(inside, np.uint8(len(names)), structure[patch])
        gloss[patch] = np.where(inside, np.float32(look.gloss), gloss[patch])
    relief -= relief.min()
    _lay_film(rng, albedo, structure, scale)
    color = _occlude(albedo, relief, scale)
    smooth = cv2.GaussianBlur(relief, (0, 0), 0.35 * scale)
    slopes = [np.clip(cv2.Sobel(smooth, cv2.CV_32F, *d, ksize=3, scale=scale / 8), -2.5, 2.5) for d in ((1, 0), (0, 1))]
    return Canvas(
        color=np.dstack([color, np.zeros((height, width), np.uint8)]),
        geometry=np.dstack([relief, *slopes, gloss]),
        structure=structure,
        names=names,
        pixels_per_mm=scale,
    )


def _smooth(field: Array, radius: float) -> Array:
    """Two box filters of about `radius` pixels: rounds the ridge of a dome at constant cost."""
    size = (2 * round(radius / 2) + 1,) * 2
    return cv2.blur(cv2.blur(field, size), size)


def _lay_film(rng: np.random.Generator, albedo: Array, structure: Array, scale: float) -> None:
    """Pale connective tissue, streaky, along the borders of structures (in place)."""
    height, width = structure.shape
    border = cv2.morphologyEx(structure, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    near = np.clip(_smooth(border.astype(np.float32), 9 * scale) * 6, 0, 1)
    streaks = cv2.resize(fractal(rng, height, width // 6, 14, 4, 0.7), (width, height), interpolation=cv2.INTER_LINEAR)
    bend = [5 * scale * fractal(rng, height, width, 6, 2) for _ in range(2)]
    grid_y, grid_x = np.mgrid[0:height, 0:width].astype(np.float32)
    streaks = cv2.remap(streaks, grid_x + bend[0], grid_y + bend[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    opacity = np.clip(0.25 * streaks + 0.12, 0, 0.5) * near * rng.uniform(0.5, 1.2)
    tint = np.array([228, 184, 170], np.float32) * rng.uniform(0.85, 1.05)
    albedo += (tint - albedo) * opacity[..., None]


def _occlude(albedo: Array, relief: Array, scale: float) -> Array:
    """Darken furrows and contact lines (ambient occlusion from the height above the surroundings) -> uint8 RGB."""
    shade = np.ones_like(relief)
    for radius in (1.2, 5.0):
        lower = cv2.GaussianBlur(relief, (0, 0), radius * scale) - relief
        shade *= np.clip(1 - 0.045 * lower, 0.65, 1.08)
    return np.clip(albedo * shade[..., None], 0, 255).astype(np.uint8)
