"""How each tissue looks: palettes, mottling, lobules, vessels, relief; painted into the mask of a structure."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.synthetic.noise import fractal, lobules, vessel_trees

Array = np.ndarray
Color = tuple[int, int, int]  # RGB under full light
VIEW_MILLIMETERS = 90.0  # scene width seen at zoom 1; fixes the pixel size of everything


@dataclass(frozen=True)
class TissueLook:
    """The appearance of a tissue; two of `colors` are drawn and mixed in every case."""

    colors: tuple[Color, ...]
    relief: float  # mm between rim and middle of the structure
    rim: float  # mm over which the surface rises from the rim
    mottle: float = 0.10  # strength of the colour noise
    mottle_cells: float = 14.0  # coarsest blobs of that noise per canvas width
    stone: float = 0.0  # mm size of lobules, 0 = none
    vessels: int = 0  # trunks per canvas area
    vessel_width: float = 0.9  # mm
    vessel_color: Color = (135, 25, 30)
    vessel_strength: float = 0.6
    bump: float = 0.35  # mm of fine unevenness
    gloss: float = 0.8  # 0 dull .. 1 wet


LOOKS: dict[str, TissueLook] = {
    "abdominal_wall": TissueLook(
        ((176, 84, 76), (150, 62, 62), (190, 110, 92), (160, 90, 96)), 0, 8, 0.13, 9, vessels=26, bump=0.5
    ),
    "liver": TissueLook(
        ((128, 52, 46), (104, 44, 52), (140, 70, 52), (112, 60, 66)), 13, 26, 0.08, 40, bump=0.16, gloss=0.9
    ),
    "gallbladder": TissueLook(
        ((150, 158, 128), (172, 160, 172), (196, 140, 124), (176, 172, 110), (140, 150, 160)),
        *(17, 20, 0.10, 12),
        vessels=34,
        vessel_width=0.75,
        vessel_color=(150, 40, 44),
        bump=0.2,
        gloss=1.0,
    ),
    "cystic_duct": TissueLook(
        ((196, 168, 104), (176, 150, 118), (206, 160, 128)), 5, 5, 0.14, 30, vessels=30, vessel_width=0.5, bump=0.3
    ),
    "fat": TissueLook(
        ((226, 170, 66), (232, 190, 104), (212, 150, 62), (236, 204, 140)),
        *(9, 12, 0.10, 10),
        stone=9.5,
        vessels=22,
        vessel_width=0.6,
        vessel_strength=0.5,
        bump=0.3,
        gloss=0.85,
    ),
    "bowel": TissueLook(
        ((212, 136, 124), (198, 116, 112), (222, 160, 138), (190, 124, 128)),
        *(13, 13, 0.09, 18),
        vessels=44,
        vessel_width=0.6,
        vessel_strength=0.5,
        bump=0.3,
        gloss=0.95,
    ),
    "uterus": TissueLook(
        ((224, 146, 134), (206, 122, 116), (226, 164, 150), (192, 106, 108)),
        *(20, 28, 0.12, 10),
        vessels=10,
        vessel_width=0.5,
        vessel_strength=0.35,
        bump=0.35,
        gloss=0.9,
    ),
    "ovary": TissueLook(
        ((232, 214, 196), (224, 196, 176), (214, 190, 190)), 8, 8, 0.10, 24, stone=4.0, bump=0.4, gloss=0.9
    ),
    "kidney": TissueLook(
        ((134, 60, 56), (118, 62, 72), (150, 78, 62)), 18, 20, 0.10, 26, vessels=14, vessel_width=0.5, bump=0.15
    ),
    "vessel": TissueLook(
        ((186, 70, 66), (120, 84, 112), (204, 110, 96), (140, 74, 88), (214, 140, 116)),
        5,
        4,
        0.07,
        20,
        bump=0.1,
        gloss=1.0,
    ),
}


def draw_color(rng: np.random.Generator, colors: tuple[Color, ...]) -> Array:
    """A colour of this case, (3,) float32 RGB 0..255: a random mix of two palette entries plus a small Lab shift."""
    first, second = (np.array(colors[rng.integers(len(colors))], np.float32) for _ in range(2))
    mixed = first + (second - first) * np.float32(rng.uniform(0, 0.7))
    lab = cv2.cvtColor((mixed / 255).reshape(1, 1, 3), cv2.COLOR_RGB2LAB)
    lab += rng.normal(0, (5.0, 4.0, 5.0)).astype(np.float32)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).reshape(3) * 255, 8, 250)


def paint(rng: np.random.Generator, name: str, height: int, width: int, pixels_per_mm: float) -> tuple[Array, Array]:
    """Texture of tissue `name` -> albedo (height, width, 3) float32 0..255 and bumps (height, width) in mm."""
    look = LOOKS[name]
    reference = 2.2 * VIEW_MILLIMETERS * pixels_per_mm  # the width that `mottle_cells` counts in
    cells = max(look.mottle_cells * width / reference, 1.0)
    color, other = draw_color(rng, look.colors), draw_color(rng, look.colors)
    blend = np.clip(0.35 + 0.22 * fractal(rng, height, width, max(cells / 3, 1.0), 3), 0, 1)
    noise = fractal(rng, height, width, cells, 5, 0.6)
    albedo = color + (other - color) * blend[..., None]
    albedo *= (1 + look.mottle * noise)[..., None]
    bumps = 0.35 * look.bump * fractal(rng, height, width, max(70 * width / reference, 1.0), 2)
    bumps += 2.0 * look.bump * fractal(rng, height, width, max(14 * width / reference, 1.0), 2)
    if look.stone:
        dome, value = lobules(rng, height, width, look.stone * pixels_per_mm * rng.uniform(0.75, 1.3))
        albedo *= (0.74 + 0.26 * np.sqrt(dome) + 0.07 * value)[..., None]
        albedo[..., 1] *= 0.90 + 0.10 * dome  # furrows are redder
        bumps += 0.22 * look.stone * np.sqrt(dome)
    if look.vessels:
        count = max(2, round(look.vessels * (height * width) / (0.8 * reference**2) * rng.uniform(0.5, 1.4)))
        opacity = vessel_trees(rng, height, width, count, look.vessel_width * pixels_per_mm)
        opacity = (opacity * look.vessel_strength * rng.uniform(0.7, 1.2))[..., None]
        albedo += (draw_color(rng, (look.vessel_color,)) - albedo) * np.clip(opacity, 0, 1)
        bumps += 0.35 * opacity[..., 0]
    return albedo, bumps
