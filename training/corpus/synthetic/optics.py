"""What lies between scene and picture: lamp, haze, colour rendering, noise and the endoscope's circle."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.synthetic.noise import fractal
from training.corpus.synthetic.records import FieldOfView
from training.corpus.synthetic.room import paint_room

Array = np.ndarray


@dataclass(frozen=True)
class Light:
    """Directions from each pixel, in view axes, for a lamp beside the lens.

    Attributes:
        direction: (3, H, W) float32 unit vectors to the lamp.
        halfway: (3, H, W) float32 unit vectors between lamp and lens (Blinn-Phong).
        falloff: (H, W) float32 brightness of the cone with vignette.
    """

    direction: Array
    halfway: Array
    falloff: Array


class Optics:
    """Lens, lamp and camera electronics of one case."""

    def __init__(self, height: int, width: int, seed: list[int]) -> None:
        rng = np.random.default_rng(seed)
        self.height, self.width = height, width
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        if rng.random() < 0.3:
            self.fov = FieldOfView((width - 1) / 2, (height - 1) / 2, float(np.hypot(width, height)) / 2)
        else:
            shift = rng.uniform(-0.03, 0.03, 2) * width
            radius = float(rng.uniform(0.43, 0.54) * width)
            self.fov = FieldOfView((width - 1) / 2 + shift[0], (height - 1) / 2 + shift[1], radius)
        outside = np.hypot(x - self.fov.cx, y - self.fov.cy) - self.fov.radius
        self.inside = outside <= 0
        self._edge = cv2.merge([np.clip(0.5 - outside / 1.5, 0, 1).astype(np.float32)] * 3)
        self._rim = np.float32(rng.uniform(0, 14)) * (1 - self._edge)
        self._sway = round(0.05 * width)
        self._light = _lamp(height, width, self._sway, rng)
        self.shadow = rng.uniform(-0.03, 0.03, 2) * width
        self._blur = float(rng.uniform(0.25, 0.75) * width / 320)
        self._noise = rng.normal(0, rng.uniform(1.5, 4.0), (2 * height, 2 * width, 1)).astype(np.float32)
        self._noise = self._noise + rng.normal(0, 1.2, (2 * height, 2 * width, 3)).astype(np.float32)
        self._matrix = _color_matrix(rng)
        levels = np.arange(256) / 255
        self._curve = np.clip(255 * levels ** rng.uniform(0.75, 1.05), 0, 255).astype(np.uint8)
        self._haze = np.clip(0.62 + 0.25 * fractal(rng, 2 * height, 2 * width, 5, 5), 0.1, 1)
        self._haze_color = np.array([200, 194, 190], np.float32) * rng.uniform(0.8, 1.05, 3).astype(np.float32)
        self._room = paint_room(rng, 2 * height, 2 * width)
        self._drift = rng.uniform(0, 6.3, 4)

    def light(self, second: float) -> Light:
        """The lamp at a time; it sways a little with the lens."""
        shift = self._sway * (1 + np.sin(np.array([0.9, 0.7]) * second + self._drift[:2]))
        x, y = (round(float(v)) for v in shift)
        window = np.s_[..., y : y + self.height, x : x + self.width]
        full = self._light
        return Light(full.direction[window], full.halfway[window], full.falloff[window])

    def add_haze(self, color: Array, level: float, second: float) -> Array:
        """Mix drifting smoke into a (3, H, W) float32 picture."""
        if level <= 0:
            return color
        shift = np.array([0.25, 0.18]) * (self.width, self.height) * np.sin(0.35 * second + self._drift[2:]) * 1.6
        x0, y0 = (
            int(v) for v in np.clip(np.array([self.width, self.height]) * 0.5 + shift, 0, [self.width, self.height])
        )
        opacity = (0.85 * level * self._haze[y0 : y0 + self.height, x0 : x0 + self.width]).astype(np.float32)
        return color * (1 - opacity) + self._haze_color[:, None, None] * opacity

    def develop(self, color: Array, frame: int, blur: float = 0.0) -> Array:
        """Turn light (3, H, W) float32 into the recorded (H, W, 3) uint8 picture: colour, blur, noise, circle."""
        color = cv2.transform(cv2.merge(list(color)), self._matrix)
        sigma = self._blur + blur
        if sigma > 0.2:
            color = cv2.GaussianBlur(color, (0, 0), sigma)
        color = self._frame(color)
        return cv2.LUT(self._grain(color, frame), self._curve)

    def room(self, second: float, frame: int) -> Array:
        """The view outside the patient: bright, blurred, no circle darkness inside, moving."""
        angle, size = 0.25 * np.sin(0.5 * second + self._drift[0]), 1.5 + 0.15 * np.sin(0.8 * second + self._drift[1])
        cos, sin = np.cos(angle) / size, np.sin(angle) / size  # the picture shows `size` views of the room
        middle = np.array([self.width, self.height]) / 2
        center = middle * 2 + 0.35 * middle * np.sin(np.array([0.9, 1.3]) * second + self._drift[2:])
        matrix = np.array([[cos, -sin, 0], [sin, cos, 0]])
        matrix[:, 2] = middle - matrix[:, :2] @ center
        view = cv2.warpAffine(self._room, matrix, (self.width, self.height), borderMode=cv2.BORDER_REFLECT)
        return self._grain(self._frame(view.astype(np.float32)), frame)

    def darkness(self, frame: int) -> Array:
        """A picture without light: sensor noise only."""
        return self._grain(np.full((self.height, self.width, 3), 2.0, np.float32), frame, 0.3)

    def _frame(self, color: Array) -> Array:
        """Darken what lies outside the endoscope's circle, (H, W, 3) float32."""
        return color * self._edge + self._rim

    def _grain(self, color: Array, frame: int, strength: float = 1.0) -> Array:
        y, x = (frame * 37) % self.height, (frame * 61) % self.width
        noise = self._noise[y : y + self.height, x : x + self.width]
        noisy = color + (noise if strength == 1 else strength * noise)
        return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


def _lamp(height: int, width: int, margin: int, rng: np.random.Generator) -> Light:
    """The light of a lamp beside the lens on a grid with `margin` extra pixels on each side."""
    y, x = np.mgrid[-margin : height + margin, -margin : width + margin].astype(np.float32)
    x, y = (x - (width - 1) / 2) / width, (y - (height - 1) / 2) / width
    lx, ly, lz = (np.float32(v) for v in (*rng.uniform(-0.12, 0.12, 2), rng.uniform(0.75, 1.0)))
    to_lamp = _unit(lx - x, ly - y, np.full_like(x, lz))
    to_lens = _unit(-x, -y, np.full_like(x, 0.9))
    radius = (x - 0.5 * lx) ** 2 + (y - 0.5 * ly) ** 2
    falloff = np.exp(-np.float32(rng.uniform(1.5, 3.2)) * radius)
    return Light(to_lamp, _unit(*(to_lamp + to_lens)), falloff)


def _unit(x: Array, y: Array, z: Array) -> Array:
    length = np.sqrt(x * x + y * y + z * z)
    return np.stack([x / length, y / length, z / length]).astype(np.float32)


def _color_matrix(rng: np.random.Generator) -> Array:
    """White balance, exposure and saturation of one tower as a 3 x 3 matrix."""
    gains = rng.uniform(0.95, 1.35) * np.array(
        [rng.uniform(0.9, 1.08), rng.uniform(0.9, 1.08), rng.uniform(0.85, 1.25)]
    )
    saturation = rng.uniform(0.75, 1.15)
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation * np.eye(3) + (1 - saturation) * np.tile(luma, (3, 1))
    return (np.diag(gains) @ mix).astype(np.float32)
