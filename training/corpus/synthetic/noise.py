"""Random fields and strokes that tissue is painted with. All are float32 arrays made from a numpy Generator."""

import cv2
import numpy as np

Array = np.ndarray


def fractal(
    rng: np.random.Generator, height: int, width: int, cells: float, octaves: int = 4, gain: float = 0.5
) -> Array:
    """Smooth fractal noise (height, width) with zero mean and unit deviation; `cells` = coarsest blobs per width."""
    field = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        columns = cells * 2**octave
        if columns > width:
            break
        grid = rng.standard_normal((int(columns * height / width) + 3, int(columns) + 3)).astype(np.float32)
        field += gain**octave * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    field -= field.mean()
    return field / max(float(field.std()), 1e-6)


def lobules(rng: np.random.Generator, height: int, width: int, cell: float) -> tuple[Array, Array]:
    """Cobblestones: dome height 0..1 (0 in the furrows) and one random value -1..1 per stone, both (height, width).

    `cell` is the mean distance of two stones in pixels. Each is the Voronoi cell of a jittered grid point.
    """
    rows, columns = int(height / cell) + 2, int(width / cell) + 2
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    points_y = (y + rng.uniform(-0.5, 0.5, y.shape)) * cell
    points_x = (x + 0.5 * (y % 2) + rng.uniform(-0.5, 0.5, x.shape)) * cell
    seeds = np.full((height, width), 255, np.uint8)
    inside = (points_y >= 0) & (points_y < height) & (points_x >= 0) & (points_x < width)
    seeds[points_y[inside].astype(int), points_x[inside].astype(int)] = 0
    if seeds.all():
        seeds[height // 2, width // 2] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    values = rng.uniform(-1, 1, int(labels.max()) + 1).astype(np.float32)
    dome = 1 - np.minimum(distance / (0.85 * cell), 1) ** 2
    return dome, values[labels]


def vessel_trees(rng: np.random.Generator, height: int, width: int, count: int, thickness: float) -> Array:
    """Branching vessels as an opacity map 0..1 (height, width); `thickness` of the trunks in pixels."""
    canvas = np.zeros((height, width), np.uint8)
    step = 0.018 * max(height, width)
    stack = [
        (
            rng.uniform(0, width),
            rng.uniform(0, height),
            rng.uniform(0, 2 * np.pi),
            thickness * rng.uniform(0.6, 1.2),
            32,
        )
        for _ in range(count)
    ]
    while stack:
        x, y, angle, size, steps = stack.pop()
        angles = angle + np.cumsum(rng.normal(rng.normal(0, 0.08), 0.24, steps))
        path = np.cumsum([[x, y], *(step * np.stack([np.cos(angles), np.sin(angles)], axis=1))], axis=0)
        pixels = np.round(path * 16).astype(np.int32)
        for start in range(0, steps, 8):  # a branch thins out in four pieces
            current = size * 0.78 ** (start / 8)
            opacity = int(255 * min(1.0, 0.3 + 0.36 * current))
            piece = pixels[start : start + 9]
            cv2.polylines(canvas, [piece], False, opacity, max(1, round(current)), cv2.LINE_AA, 4)
        if size > 0.4 * thickness and steps > 10:
            for index in rng.integers(4, steps - 4, 3):
                turned = angles[index] + rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)
                stack.append((path[index, 0], path[index, 1], turned, size * 0.65, int(0.7 * (steps - index)) + 3))
    return cv2.GaussianBlur(canvas, (0, 0), 0.7).astype(np.float32) / 255


def spline(points: Array, samples: int) -> Array:
    """Catmull-Rom curve through `points` (n, 2), sampled at `samples` places -> (samples, 2)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    position = np.linspace(0, len(points) - 1 - 1e-6, samples)
    index = position.astype(int)
    t = (position - index)[:, None]
    a, b, c, d = (padded[index + k] for k in range(4))
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
