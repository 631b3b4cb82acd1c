"""The view outside the patient: an operating room without people."""

import cv2
import numpy as np

from training.corpus.synthetic.noise import fractal

Array = np.ndarray
Color = tuple[int, int, int]

_DRAPES: tuple[Color, ...] = ((70, 126, 138), (62, 104, 156), (92, 142, 112), (120, 150, 182))
_THINGS: tuple[Color, ...] = ((196, 200, 204), (150, 154, 160), (228, 228, 224), (112, 116, 122), (204, 186, 150))


def paint_room(rng: np.random.Generator, height: int, width: int) -> Array:
    """Walls with tiles, drapes, steel, screens and lamps, out of focus -> (height, width, 3) uint8 RGB."""
    wall = rng.integers(170, 225) + rng.integers(-14, 15, 3)
    room = np.zeros((height, width, 3), np.uint8)
    room[:] = wall
    floor = int(rng.uniform(0.55, 0.8) * height)
    room[floor:] = wall * rng.uniform(0.5, 0.8)
    for offset in range(int(rng.integers(0, 40)), width, round(rng.uniform(0.08, 0.14) * width)):
        cv2.line(room, (offset, 0), (offset, floor), _shade(wall, 0.9), 2)
    for _ in range(rng.integers(5, 10)):
        _cloth(room, rng)
    for _ in range(rng.integers(8, 14)):
        _box(room, rng, _pick(rng, _THINGS))
    for _ in range(rng.integers(1, 4)):
        _screen(room, rng)
    for _ in range(rng.integers(1, 4)):
        _lamp(room, rng)
    blurred = cv2.GaussianBlur(room, (0, 0), 0.005 * width)
    light = 1 + 0.12 * fractal(rng, height, width, 3, 3)
    return np.clip(blurred * light[..., None], 0, 255).astype(np.uint8)


def _pick(rng: np.random.Generator, palette: tuple[Color, ...]) -> Color:
    return _shade(np.array(palette[rng.integers(len(palette))]), float(rng.uniform(0.8, 1.1)))


def _shade(color: Array, factor: float) -> Color:
    red, green, blue = (int(v) for v in np.clip(color * factor, 0, 255))
    return red, green, blue


def _corner(rng: np.random.Generator, room: Array) -> tuple[int, int]:
    x, y = rng.uniform(0, 0.9, 2) * (room.shape[1], room.shape[0])
    return int(x), int(y)


def _cloth(room: Array, rng: np.random.Generator) -> None:
    """A hanging drape with folds."""
    x, y = _corner(rng, room)
    color = np.array(_pick(rng, _DRAPES))
    fold, count = int(rng.uniform(0.015, 0.03) * room.shape[1]), int(rng.integers(5, 14))
    drop = int(rng.uniform(0.2, 0.5) * room.shape[0])
    for number in range(count):
        left = x + number * fold
        slant = int(rng.normal(0, 0.2) * fold)
        outline = np.array([[left, y], [left + fold, y], [left + fold + slant, y + drop], [left + slant, y + drop]])
        cv2.fillPoly(room, [outline.astype(np.int32)], _shade(color, float(rng.uniform(0.75, 1.1))))


def _box(room: Array, rng: np.random.Generator, color: Color) -> None:
    """A cabinet, a tray or a pole."""
    x, y = _corner(rng, room)
    w, h = (int(v) for v in rng.uniform(0.01, 0.2, 2) * (room.shape[1], room.shape[0]))
    cv2.rectangle(room, (x, y), (x + w, y + h), color, -1)
    cv2.rectangle(room, (x, y), (x + w, y + h), _shade(np.array(color), 0.7), 2)
    cv2.line(room, (x, y), (x + w, y), _shade(np.array(color), 1.25), 2)


def _screen(room: Array, rng: np.random.Generator) -> None:
    """A monitor: dark frame, lit panel with lines."""
    x, y = _corner(rng, room)
    w, h = int(0.16 * room.shape[1]), int(0.13 * room.shape[0])
    cv2.rectangle(room, (x, y), (x + w, y + h), (24, 24, 28), -1)
    cv2.rectangle(
        room, (x + 6, y + 6), (x + w - 6, y + h - 6), _shade(np.array([90, 120, 170]), rng.uniform(0.4, 1.3)), -1
    )
    for row in range(y + 14, y + h - 10, 9):
        cv2.line(room, (x + 12, row), (x + 12 + int(rng.uniform(0.2, 0.8) * w), row), (210, 225, 230), 2)


def _lamp(room: Array, rng: np.random.Generator) -> None:
    """A ceiling lamp: a disk with a ring of bright bulbs."""
    x, y = _corner(rng, room)
    radius = rng.uniform(0.05, 0.1) * room.shape[1]
    cv2.circle(room, (x, y), int(radius), (205, 208, 210), -1, cv2.LINE_AA)
    for angle in np.arange(0, 2 * np.pi, np.pi / 3):
        bulb = (int(x + 0.6 * radius * np.cos(angle)), int(y + 0.6 * radius * np.sin(angle)))
        cv2.circle(room, bulb, int(0.22 * radius), (255, 255, 250), -1, cv2.LINE_AA)
