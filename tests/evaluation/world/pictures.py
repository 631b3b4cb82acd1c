"""Pictures in which what is labeled can be seen: a color for what holds, a patch for each thing, a bar for a value."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from training.corpus.synthetic.writer import write_video

SIZE = 48  # pixels: three patches of 16 in a row
PATCHES = 4  # in a row
BARS = 5  # one above the other
NOISE = 6  # most that a pixel is off by
_GOLDEN = 0.618034  # of the color circle from one number to the next, so that near numbers look different


@dataclass(frozen=True)
class Scene:
    """What a frame shows.

    Attributes:
        background: number of the class that holds (phase, step, gesture, finding ...).
        things: numbers of what is there (tools, criteria ...); numbers that are equal modulo 16 lie in the same place.
        values: lengths of bars from 0 to 1.
    """

    background: int = 0
    things: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


def draw(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """A scene with mild noise, uint8 (SIZE, SIZE, 3)."""
    picture = np.empty((SIZE, SIZE, 3), np.int64)
    picture[:] = _color(scene.background, saturation=0.6, value=0.5 + 0.2 * (scene.background % 2))
    height, side = SIZE // BARS, SIZE // PATCHES
    for row, value in enumerate(scene.values):
        length = round(value * SIZE)
        picture[row * height : (row + 1) * height - 1, :length] = _color(row + 3, saturation=0.9, value=1.0)
    for thing in scene.things:
        top, left = (place * side for place in divmod(thing % PATCHES**2, PATCHES))
        picture[top : top + side - 1, left : left + side - 1] = _color(thing + 7, saturation=1.0, value=1.0)
    picture += rng.integers(-NOISE, NOISE + 1, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _color(number: int, saturation: float, value: float) -> np.ndarray:
    return np.array([round(255 * part) for part in colorsys.hsv_to_rgb(number * _GOLDEN % 1, saturation, value)])


def generator(name: str) -> np.random.Generator:
    """Noise of a case by its name: the same on every run, whatever else is written before."""
    return np.random.default_rng(list(name.encode()))


def save_images(folder: Path, scenes: Sequence[tuple[str, Scene]]) -> None:
    """A picture for each file name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = generator(folder.name)
    for name, scene in scenes:
        Image.fromarray(draw(scene, rng)).save(folder / name)


def save_video(path: Path, scenes: Sequence[Scene], fps: float, frames_each: int = 1) -> Path:
    """A real video in which each scene stays for some frames; equal frames follow each other, as they cost no bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = generator(path.name)
    pictures = (picture for scene in scenes for picture in [draw(scene, rng)] * frames_each)
    mp4 = path.with_suffix(".mp4")
    write_video(pictures, mp4, Fraction(fps), SIZE, SIZE)
    return mp4.rename(path)


def timeline(classes: Sequence[int], length: int, case: int) -> list[int]:
    """The classes one after the other over some moments, with borders that move a little from case to case."""
    shift = case % 3 - 1
    places = [min(max(moment + shift, 0), length - 1) * len(classes) // length for moment in range(length)]
    return [classes[place] for place in places]


def there(count: int, moment: int, case: int) -> tuple[int, ...]:
    """Which of some things are there at a moment: each comes and goes at its own pace."""
    return tuple(thing for thing in range(count) if (moment + case) // (thing + 1) % 2 == 0)
