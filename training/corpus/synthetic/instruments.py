"""Instruments as painted parts: a shaft and one or two tip parts, told apart by the outline of the tip."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.synthetic.noise import fractal

Array = np.ndarray
RESOLUTION = 26  # sprite pixels per unit; one unit = the diameter of a 5 mm shaft
SHAFT_UNITS = 24.0  # longer than the view's diagonal
TAPER = 0.018  # growth of the shaft's half width per unit towards the trocar (perspective)


@dataclass(frozen=True)
class Part:
    """A painted piece; `origin` is the sprite position (x, y) of the joint, x points to the tip. Premultiplied RGBA."""

    sprite: Array
    origin: tuple[float, float]
    swing: float = 0.0  # share of the opening angle this part turns by (+1 and -1 for two jaws)
    spread: float = 0.0  # units by which the part moves sideways at full opening


@dataclass(frozen=True)
class Model:
    """An instrument of one case.

    Attributes:
        parts: shaft first, then tip parts in drawing order.
        reach: (x, y) of the working point in units, from the joint.
        opening: widest opening of a jaw in radians.
        tip_area: opaque area of the tip in square units, with the jaws half open.
    """

    name: str
    parts: tuple[Part, ...]
    reach: tuple[float, float]
    opening: float
    tip_area: float


@dataclass(frozen=True)
class Finish:
    """Colours of one physical instrument, drawn without regard to its kind, so that colour does not tell the kind."""

    shaft: Array
    metal: Array
    insulation: Array
    gloss: float
    stain: float


_SHAFTS = ((30, 30, 33), (48, 50, 54), (150, 154, 160), (112, 116, 122), (206, 206, 204), (44, 54, 76), (74, 64, 60))
_METALS = ((176, 180, 186), (138, 142, 150), (206, 208, 210), (158, 146, 120), (104, 106, 112))
_INSULATIONS = ((236, 234, 226), (36, 36, 40), (70, 110, 190), (216, 190, 90), (188, 188, 190), (96, 140, 110))


def draw_finish(rng: np.random.Generator) -> Finish:
    """Colours of one instrument."""

    def pick(palette: tuple[tuple[int, int, int], ...]) -> Array:
        return np.clip(np.array(palette[rng.integers(len(palette))], np.float32) * rng.normal(1, 0.06, 3), 14, 250)

    return Finish(pick(_SHAFTS), pick(_METALS), pick(_INSULATIONS), rng.uniform(0.3, 1.0), rng.uniform(0, 0.5))


class _Sheet:
    """A blank sprite in units, x from `left` to `right`, y from -`half` to `half`."""

    def __init__(self, left: float, right: float, half: float) -> None:
        self.left, self.half = left, half
        self.height, self.width = round(2 * half * RESOLUTION), round((right - left) * RESOLUTION)
        self.color = np.zeros((self.height, self.width, 3), np.float32)
        self.alpha = np.zeros((self.height, self.width), np.float32)
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        self.x, self.y = x / RESOLUTION + left, y / RESOLUTION - half

    def mask(self, points: Array) -> Array:
        """Coverage 0..1 of a polygon given in units."""
        pixels = (points - (self.left, -self.half)) * RESOLUTION - 0.5
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [np.round(pixels * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255

    def lay(self, mask: Array, color: Array) -> None:
        """Put a colour (3,) or (h, w, 3) over the sheet where `mask` is."""
        self.color += (color - self.color) * mask[..., None]
        self.alpha = np.maximum(self.alpha, mask)

    def plate(self, points: Array, color: Array, bevel: float = 0.14, shine: float = 0.6) -> Array:
        """A flat piece with bevelled edges; returns its mask."""
        mask = self.mask(points)
        depth = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / RESOLUTION
        rise = np.clip(depth / bevel, 0, 1)
        slope = cv2.Sobel(cv2.GaussianBlur(rise, (0, 0), 1.2), cv2.CV_32F, 0, 1, ksize=3)
        tone = 0.42 + 0.5 * rise + shine * np.clip(-slope, -0.4, 0.7) * -0.9
        self.lay(mask, color * tone[..., None])
        return mask

    def rod(
        self, start: float, stop: float, half: Callable[[Array], Array] | float, color: Array, gloss: float
    ) -> Array:
        """A round piece along x from `start` to `stop` with half width `half`; returns its mask."""
        width = half(self.x) if callable(half) else np.float32(half)
        v = self.y / width
        edge = np.clip((width - np.abs(self.y)) * RESOLUTION + 0.5, 0, 1)
        ends = np.clip((self.x - start) * RESOLUTION + 0.5, 0, 1) * np.clip((stop - self.x) * RESOLUTION + 0.5, 0, 1)
        tone = 0.22 + 0.78 * np.sqrt(np.clip(1 - v**2, 0, 1))
        glint = gloss * (np.exp(-(((v + 0.38) / 0.16) ** 2)) + 0.25 * np.exp(-(((v - 0.55) / 0.2) ** 2)))
        self.lay(edge * ends, color * tone[..., None] + (80 + 90 * (color / 255)) * glint[..., None])
        return edge * ends

    def cut(self, mask: Array) -> None:
        """Punch a hole."""
        self.alpha *= 1 - mask

    def disk(self, x: float, y: float, rx: float, ry: float) -> Array:
        """Coverage of an ellipse."""
        angle = np.linspace(0, 2 * np.pi, 40)
        return self.mask(np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1))

    def part(self, rng: np.random.Generator, stain: float, swing: float = 0.0, spread: float = 0.0) -> Part:
        """The finished sprite: blood stains, outline shadow, premultiplied alpha."""
        if stain > 0:
            spots = np.clip(fractal(rng, self.height, self.width, max(self.width / 16, 2), 3) - 1.5 + stain, 0, 1)
            self.color += (np.array([110, 22, 24], np.float32) - self.color) * (0.7 * spots)[..., None]
        rgba = np.dstack([self.color * self.alpha[..., None], 255 * self.alpha])
        origin = (-self.left * RESOLUTION - 0.5, self.half * RESOLUTION - 0.5)
        return Part(np.clip(rgba, 0, 255).astype(np.uint8), origin, swing, spread)


def _mirror(points: Array) -> Array:
    return points * (1, -1)


def _shaft(rng: np.random.Generator, finish: Finish, girth: float) -> Part:
    """The shaft with its metal end, bands and printed marks."""
    sheet = _Sheet(-SHAFT_UNITS, 0.05, 0.5 * girth * (1 + 2 * TAPER * SHAFT_UNITS) + 0.1)

    def half(x: Array) -> Array:
        return np.asarray(0.5 * girth * (1 - TAPER * np.minimum(x, 0)), np.float32)

    sheet.rod(-SHAFT_UNITS - 1, 0, half, finish.shaft, finish.gloss)
    if rng.random() < 0.5:  # printed letters, as on many reusable shafts
        ink = np.full(3, 225 if finish.shaft.mean() < 110 else 40, np.float32)
        x = -rng.uniform(1.6, 3.0)
        for _ in range(rng.integers(3, 8)):
            block = np.array([[x, -0.16], [x + 0.14, -0.16], [x + 0.14, 0.16], [x, 0.16]])
            sheet.lay(sheet.mask(block) * 0.85, ink)
            x -= rng.uniform(0.24, 0.4)
    for _ in range(rng.integers(0, 3)):
        x = -rng.uniform(0.7, 6)
        sheet.rod(x, x + rng.uniform(0.1, 0.35), half, finish.metal, finish.gloss)
    length = rng.uniform(0.2, 0.9)
    sheet.rod(-length, 0, half, finish.metal if rng.random() < 0.6 else finish.shaft, finish.gloss)
    return sheet.part(rng, 0.25 * finish.stain)


def _clevis(sheet: _Sheet, finish: Finish) -> None:
    sheet.plate(
        np.array([[-0.3, -0.46], [0.35, -0.40], [0.62, -0.2], [0.62, 0.2], [0.35, 0.40], [-0.3, 0.46]]), finish.metal
    )
    sheet.lay(sheet.disk(0.3, 0, 0.13, 0.13), finish.metal * 0.45)
    sheet.lay(sheet.disk(0.29, -0.02, 0.07, 0.07), np.minimum(finish.metal * 1.25, 255))


def _grasper(rng: np.random.Generator, finish: Finish) -> tuple[Part, ...]:
    """Two long blunt jaws with teeth and a window each."""
    length = rng.uniform(2.5, 2.9)
    teeth_x = np.arange(0.8, length - 0.1, 0.11)
    teeth = np.stack([np.repeat(teeth_x, 2)[: 2 * len(teeth_x)], np.tile([0.0, 0.10], len(teeth_x))], axis=1)
    outer = np.array([[length, 0.06], [length, 0.22], [length - 0.25, 0.38], [1.6, 0.44], [0.6, 0.50], [0.1, 0.3]])
    jaw = np.concatenate([[[0.1, 0.0], [0.7, 0.04]], teeth, outer])
    parts = []
    for side, points in ((1.0, jaw), (-1.0, _mirror(jaw))):
        sheet = _Sheet(-0.4, 3.1, 0.8)
        sheet.plate(points, finish.metal * (1.0 if side < 0 else 0.86))
        sheet.cut(sheet.disk(1.65, 0.25 * side, 0.52, 0.09))
        parts.append(sheet.part(rng, finish.stain, swing=side))
    head = _Sheet(-0.4, 0.8, 0.6)
    _clevis(head, finish)
    return (*parts, head.part(rng, finish.stain))


def _scissors(rng: np.random.Generator, finish: Finish) -> tuple[Part, ...]:
    """Two slender pointed blades that curve to one side and cross at a screw."""
    length, curve = rng.uniform(2.3, 2.7), rng.uniform(0.05, 0.09)
    x = np.linspace(0.05, length, 14)
    inner = np.stack([x, np.full_like(x, -0.03)], axis=1)
    outer = np.stack([x[::-1], 0.30 * np.sqrt(np.clip(1 - (x[::-1] / length) ** 2.2, 0, 1)) + 0.02], axis=1)
    blade = np.concatenate([inner, outer])
    parts = []
    for side, points in ((1.0, blade), (-1.0, _mirror(blade))):
        bent = points + np.stack([np.zeros(len(points)), curve * points[:, 0] ** 2], axis=1)
        sheet = _Sheet(-0.4, 3.0, 1.1)
        sheet.plate(bent, np.minimum(finish.metal * (1.15 if side < 0 else 0.95), 255), bevel=0.09, shine=0.9)
        parts.append(sheet.part(rng, 0.5 * finish.stain, swing=side))
    head = _Sheet(-0.4, 0.8, 0.6)
    _clevis(head, finish)
    return (*parts, head.part(rng, finish.stain))


def _clipper(rng: np.random.Generator, finish: Finish) -> tuple[Part, ...]:
    """Two heavy square jaws that stay apart like a fork, with a bright clip between them."""
    length = rng.uniform(2.0, 2.4)
    jaw = np.array(
        [
            [0.0, 0.0],
            [0.35, 0.22],
            [0.75, 0.30],
            [length, 0.26],
            [length, 0.56],
            [length - 0.15, 0.66],
            [0.4, 0.66],
            [-0.1, 0.5],
        ]
    )
    parts = []
    for side, points in ((1.0, jaw), (-1.0, _mirror(jaw))):
        sheet = _Sheet(-0.4, 2.8, 1.0)
        sheet.plate(points, finish.metal * (1.0 if side < 0 else 0.88), bevel=0.18)
        lining = np.array([[0.9, 0.20], [length - 0.02, 0.18], [length - 0.02, 0.27], [0.9, 0.30]]) * (1, side)
        sheet.lay(sheet.mask(lining), np.array([228, 230, 232], np.float32))
        parts.append(sheet.part(rng, 0.6 * finish.stain, swing=side, spread=0.05 * side))
    head = _Sheet(-0.5, 0.6, 0.8)
    head.plate(np.array([[-0.4, -0.6], [0.2, -0.55], [0.3, 0], [0.2, 0.55], [-0.4, 0.6]]), finish.metal * 0.9)
    return (*parts, head.part(rng, finish.stain))


def _irrigator(rng: np.random.Generator, finish: Finish) -> tuple[Part, ...]:
    """A plain tube with side holes and an open end, no jaws."""
    length, half = rng.uniform(2.4, 3.0), rng.uniform(0.34, 0.40)
    sheet = _Sheet(-0.3, 3.3, 0.6)
    sheet.rod(-0.3, length, half, finish.metal, 0.9)
    sheet.lay(sheet.disk(length, 0, 0.15, half), finish.metal * 0.8)
    sheet.lay(sheet.disk(length + 0.02, 0, 0.10, half * 0.74), np.array([22, 16, 18], np.float32))
    for x in np.arange(length - 1.5, length - 0.3, 0.42):
        for y in (-0.14, 0.16):
            sheet.lay(sheet.disk(x + (0.2 if y > 0 else 0), y, 0.09, 0.075), np.array([26, 18, 20], np.float32))
    return (sheet.part(rng, 0.4 * finish.stain),)


def _bipolar(rng: np.random.Generator, finish: Finish) -> tuple[Part, ...]:
    """Two thin insulated arms bowed like tweezers, with bare rounded pads."""
    length, bow = rng.uniform(2.5, 2.9), rng.uniform(0.42, 0.56)
    x = np.linspace(0, length, 24)
    middle = 0.10 + bow * np.sin(np.pi * np.clip(x / (length - 0.15), 0, 1)) ** 0.9
    thick = np.where(x > length - 0.8, 0.20, 0.13)
    thick[-1] = 0.13
    arm = np.concatenate([np.stack([x, middle - thick], 1), np.stack([x, middle + thick], 1)[::-1]])
    parts = []
    for side, points in ((1.0, arm), (-1.0, _mirror(arm))):
        sheet = _Sheet(-0.4, 3.1, 1.0)
        mask = sheet.plate(points, finish.insulation, bevel=0.09)
        pad = mask * np.clip((sheet.x - (length - 0.8)) * RESOLUTION, 0, 1)
        sheet.lay(pad, finish.metal * (0.7 + 0.5 * np.clip(sheet.y * -side, -0.5, 0.5))[..., None])
        parts.append(sheet.part(rng, finish.stain, swing=side))
    head = _Sheet(-0.4, 0.5, 0.6)
    head.rod(-0.4, 0.3, 0.46, finish.insulation * 0.9, 0.4)
    return (*parts, head.part(rng, finish.stain))


def _hook(rng: np.random.Generator, finish: Finish) -> tuple[Part, ...]:
    """A thin insulated rod ending in a bare wire bent to an L."""
    length, drop = rng.uniform(1.9, 2.3), rng.uniform(1.0, 1.2)
    sheet = _Sheet(-0.3, 2.9, 1.3)

    def cone(x: Array) -> Array:
        return np.asarray(np.where(x < 0.5, 0.46 - 0.46 * np.clip(x, 0, 0.5), 0.2), np.float32)

    bend = np.linspace(0, np.pi / 2, 10)
    radius = 0.34
    path = np.concatenate(
        [
            [[length - 0.3, 0.0]],
            np.stack([length + radius * np.sin(bend), radius * (1 - np.cos(bend))], axis=1),
            [[length + radius, drop]],
        ]
    )
    wire = np.zeros((sheet.height, sheet.width), np.uint8)
    pixels = np.round(((path - (sheet.left, -sheet.half)) * RESOLUTION - 0.5) * 16).astype(np.int32)
    cv2.polylines(wire, [pixels], False, 255, round(0.3 * RESOLUTION), cv2.LINE_AA, 4)
    tone = cv2.GaussianBlur(wire, (0, 0), 1.6).astype(np.float32) / 255
    sheet.lay(wire.astype(np.float32) / 255, np.minimum(finish.metal * 1.15, 255) * (0.3 + 0.75 * tone)[..., None])
    sheet.rod(-0.2, length - 0.1, cone, finish.insulation, 0.5)
    return (sheet.part(rng, 0.5 * finish.stain),)


_TIPS: dict[
    str, tuple[Callable[[np.random.Generator, Finish], tuple[Part, ...]], tuple[float, float], float, float]
] = {
    # name: painter, working point in units, widest opening in radians, girth of the shaft
    "grasper": (_grasper, (2.4, 0.0), 0.34, 1.0),
    "hook": (_hook, (2.3, 0.8), 0.0, 1.0),
    "scissors": (_scissors, (2.0, 0.3), 0.42, 0.95),
    "clipper": (_clipper, (1.9, 0.0), 0.07, 1.35),
    "irrigator": (_irrigator, (2.7, 0.0), 0.0, 1.0),
    "bipolar": (_bipolar, (2.6, 0.0), 0.16, 0.95),
}


def build_instrument(name: str, rng: np.random.Generator) -> Model:
    """Paint the instrument `name` (one of `INSTRUMENTS`) with the colours of one case."""
    painter, reach, opening, girth = _TIPS[name]
    finish = draw_finish(rng)
    tips = painter(rng, finish)
    return Model(name, (_shaft(rng, finish, girth), *tips), reach, opening, _tip_area(tips, opening / 2))


def _tip_area(tips: tuple[Part, ...], opening: float) -> float:
    size = 8 * RESOLUTION
    covered = np.zeros((size, size), bool)
    for part in tips:
        cos, sin = np.cos(part.swing * opening), np.sin(part.swing * opening)
        linear = np.array([[cos, -sin], [sin, cos]])
        matrix = np.column_stack([linear, np.array([size / 4, size / 2]) - linear @ part.origin])
        covered |= cv2.warpAffine(part.sprite[..., 3], matrix, (size, size)) > 127
    return float(covered.sum()) / RESOLUTION**2
