"""One picture of the scene with its masks and depth: camera, tissue under the lamp, instruments with their shadows."""

from dataclasses import dataclass

import cv2
import numpy as np

from training.corpus.synthetic.canvas import Canvas
from training.corpus.synthetic.handling import ToolState
from training.corpus.synthetic.instruments import RESOLUTION, Part
from training.corpus.synthetic.optics import Light, Optics

Array = np.ndarray
CAMERA_HEIGHT = 100.0  # mm between the camera and the ground at zoom 1
NEAREST = 0.35  # distance of a shaft at its trocar, as a share of the camera height
TIP_SCALE = 1.22  # tips are drawn this much larger than their shafts: they must be seen at 160 pixels
BLOOD_COLOR = np.array([112, 8, 12], np.float32).reshape(3, 1, 1)


@dataclass(frozen=True)
class ToolLayer:
    """One instrument in the `window` (rows, columns) of the view: premultiplied colour, opacity, distance in mm.

    `tip_total` is the area of the whole tip in pixels, also of what lies outside the picture.
    """

    state: ToolState
    window: tuple[slice, slice]
    color: Array  # (3, h, w) float32
    alpha: Array  # (h, w) float32 0..1
    depth: Array  # (h, w) float32
    tip: Array  # (h, w) bool
    tip_total: float
    tip_depth: float


@dataclass(frozen=True)
class Picture:
    """A rendered scene before the camera's electronics.

    Attributes:
        color: (3, H, W) float32.
        instance: (H, W) uint8 instance ids (structures, blood, instruments).
        depth: (H, W) float32 mm.
        tip_shares: visible share of each shown instrument's tip by instance id.
    """

    color: Array
    instance: Array
    depth: Array
    tip_shares: dict[int, float]


def camera_matrix(pose: Array, height: int, width: int) -> Array:
    """(2, 3) matrix from canvas to view pixels: zoom * R(rotation) * (p - (x, y)) + middle of the view."""
    x, y, zoom, rotation = pose
    linear = zoom * np.array([[np.cos(rotation), -np.sin(rotation)], [np.sin(rotation), np.cos(rotation)]])
    return np.column_stack([linear, np.array([(width - 1) / 2, (height - 1) / 2]) - linear @ (x, y)])


class Renderer:
    """Draws the scene of one case; every call is a pure function of its arguments."""

    def __init__(self, canvas: Canvas, optics: Optics, unit: float, blood_id: int) -> None:
        self._canvas, self._optics = canvas, optics
        self._unit = unit  # pixels of one shaft diameter at zoom 1
        self._blood_id = blood_id
        self.height, self.width = optics.height, optics.width
        grid_y, grid_x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        self._grid = grid_x, grid_y

    def draw(
        self,
        pose: Array,
        tools: list[tuple[ToolState, Array]],
        clips: list[tuple[float, float, float]],
        blood: float,
        second: float,
    ) -> Picture:
        """The scene at a moment.

        Args:
            pose: camera x, y (canvas pixels), zoom, rotation.
            tools: instruments with the offset of their trocar from the middle of the view, in view diagonals.
            clips: canvas x, y and angle of the clips left behind.
            blood: bleeding level 0..1.
            second: time, moves the lamp.
        """
        matrix = camera_matrix(pose, self.height, self.width)
        light = self._optics.light(second)
        color, instance, depth = self._tissue(matrix, pose, light, blood)
        if clips:
            color = self._draw_clips(color, clips, matrix, pose[2])
        layers = [layer for state, pivot in tools if (layer := self._tool(state, pivot, matrix, pose, depth))]
        layers.sort(key=lambda layer: -layer.tip_depth)
        for layer in layers:
            self._cast_shadow(color, layer)
        tips: dict[int, Array] = {}
        for layer in layers:
            number, window = layer.state.instance_id, layer.window
            behind = depth[window]
            shown = np.clip((behind + 3.0 - layer.depth) / 1.5, 0, 1)
            alpha = layer.alpha * shown
            patch = color[(slice(None), *window)]
            patch *= 1 - alpha
            patch += layer.color * (shown * light.falloff[window])
            solid = alpha > 0.5
            instance[window][solid] = number
            depth[window] = np.where(solid, np.minimum(layer.depth, behind), behind)
            tips[number] = np.zeros(instance.shape, bool)
            tips[number][window] = layer.tip & solid
        inside = self._optics.inside
        instance[~inside] = 0
        depth[~inside] = 0
        totals = {layer.state.instance_id: layer.tip_total for layer in layers}
        shares = {n: float(np.count_nonzero(tip & (instance == n))) / totals[n] for n, tip in tips.items()}
        return Picture(color, instance, depth, shares)

    def _tissue(self, matrix: Array, pose: Array, light: Light, blood: float) -> tuple[Array, Array, Array]:
        """Lit tissue -> colour (3, H, W) float32, instance (H, W) uint8, depth (H, W) float32 mm."""

        def look_at(layer: Array, interpolation: int) -> Array:
            size = (self.width, self.height)
            return cv2.warpAffine(layer, matrix, size, flags=interpolation, borderMode=cv2.BORDER_REFLECT)

        red, green, blue, potential = cv2.split(look_at(self._canvas.color, cv2.INTER_LINEAR))
        relief, slope_x, slope_y, gloss = cv2.split(look_at(self._canvas.geometry, cv2.INTER_LINEAR))
        instance = look_at(self._canvas.structure, cv2.INTER_NEAREST)
        color = np.stack([red, green, blue]).astype(np.float32)
        if blood > 0:
            threshold = np.float32(255 * (1 - blood))
            wet = np.clip((potential.astype(np.float32) - threshold) * np.float32(1 / 22) + np.float32(0.25), 0, 1)
            color += (BLOOD_COLOR * (1 - np.float32(0.25) * wet) - color) * (np.float32(0.84) * wet)
            smooth = 1 - np.float32(0.3) * wet
            slope_x, slope_y = slope_x * smooth, slope_y * smooth
            gloss = np.maximum(gloss, wet)
            instance[wet > 0.5] = self._blood_id
        cos, sin = np.float32(np.cos(pose[3])), np.float32(np.sin(pose[3]))
        normal_x, normal_y = sin * slope_y - cos * slope_x, -sin * slope_x - cos * slope_y
        length = 1 / np.sqrt(1 + normal_x * normal_x + normal_y * normal_y)
        (lx, ly, lz), (hx, hy, hz) = light.direction, light.halfway
        diffuse = np.maximum((normal_x * lx + normal_y * ly + lz) * length, 0)
        facing = np.maximum((normal_x * hx + normal_y * hy + hz) * length, 0)
        zoom = np.float32(pose[2])
        depth = np.float32(CAMERA_HEIGHT) / zoom - relief
        near = np.clip((depth * zoom - 50) / 50, -0.6, 1.2)  # auto exposure keeps the middle constant
        bright = (np.float32(0.10) + np.float32(1.05) * diffuse) * light.falloff * (1.18 - np.float32(0.34) * near)
        for _ in range(4):
            facing *= facing
        soft = 14 * facing  # Blinn-Phong lobes with exponents 16 and 128
        for _ in range(3):
            facing *= facing
        glint = np.clip(np.float32(2.6) * facing - np.float32(0.9), 0, 1) * 215 + soft
        color *= bright
        color += glint * gloss * light.falloff
        return color, instance, depth

    def _draw_clips(self, color: Array, clips: list[tuple[float, float, float]], matrix: Array, zoom: float) -> Array:
        """Small titanium clips that stay where they were set (they keep the class of the tissue below)."""
        picture = cv2.merge(list(color))
        length, width = 0.55 * self._unit * zoom, max(1, round(0.2 * self._unit * zoom))
        for x, y, angle in clips:
            center = matrix[:, :2] @ (x, y) + matrix[:, 2]
            arm = length * np.array([np.cos(angle), np.sin(angle)])
            ends = [tuple(int(v * 16) for v in center + sign * arm) for sign in (-1, 1)]
            shade = [tuple(int(v * 16) for v in center + sign * arm + 0.5 * width) for sign in (-1, 1)]
            cv2.line(picture, shade[0], shade[1], (50.0, 22.0, 22.0), width + 1, cv2.LINE_AA, 4)
            cv2.line(picture, ends[0], ends[1], (176.0, 178.0, 182.0), width, cv2.LINE_AA, 4)
            cv2.line(picture, ends[0], ends[1], (235.0, 236.0, 240.0), max(1, width // 3), cv2.LINE_AA, 4)
        return np.stack(cv2.split(picture))

    def _tool(self, state: ToolState, pivot: Array, matrix: Array, pose: Array, ground: Array) -> ToolLayer | None:
        """Place an instrument: its working point over `state.point`, its shaft towards the trocar.

        `None` when no pixel of it lies in the picture.
        """
        size = np.array([self.width, self.height], np.float64)
        entry = size / 2 + pivot * np.hypot(*size)
        target = matrix[:, :2] @ state.point + matrix[:, 2]
        tip = entry + (target - entry) * state.extension
        column, row = (int(v) for v in np.clip(np.round(tip), 0, size - 1))
        tip_depth = float(ground[row, column]) - 1.0 - 9.0 * state.lift
        scale = self._unit * pose[2] ** 0.7 * (1 + 0.08 * state.lift)
        angle = float(np.arctan2(*(target - entry)[::-1]))
        joint = tip - _turn(angle + state.bend) @ (TIP_SCALE * scale * np.array(state.model.reach) * (1, state.flip))
        pieces = []
        for index, part in enumerate(state.model.parts):
            is_tip = index > 0
            turn = angle + (state.bend + part.swing * state.opening * state.model.opening * state.flip if is_tip else 0)
            factor = scale * (TIP_SCALE if is_tip else 1.0) / RESOLUTION
            shift = _turn(angle + state.bend) @ (0, part.spread * state.opening * scale * state.flip)
            patch, corner = self._place(part, factor, turn, state.flip, joint + shift)
            if patch is not None:
                pieces.append((is_tip, patch, corner))
        if not pieces:
            return None
        window, color, alpha, tip_alpha = _stack(pieces)
        grid_x, grid_y = (grid[window] for grid in self._grid)
        along = (grid_x - np.float32(tip[0])) * np.float32(np.cos(angle))
        along += (grid_y - np.float32(tip[1])) * np.float32(np.sin(angle))
        near = NEAREST * CAMERA_HEIGHT / pose[2]  # the shaft rises towards the camera on its way to the trocar
        rise = (tip_depth - near) / max(float(np.hypot(*(target - entry))), 0.3 * float(np.hypot(*size)))
        depth = np.maximum(tip_depth + np.minimum(along, 0) * np.float32(max(rise, 0.0)), np.float32(0.5 * near))
        gain = np.clip(0.74 + (tip_depth - depth) * np.float32(0.9 * pose[2] / CAMERA_HEIGHT), 0.7, 1.35)
        tip_total = state.model.tip_area * (TIP_SCALE * scale) ** 2
        return ToolLayer(state, window, color * gain, alpha, depth, tip_alpha > 0.5, tip_total, tip_depth)

    def _place(
        self, part: Part, factor: float, turn: float, flip: float, joint: Array
    ) -> tuple[Array | None, tuple[int, int]]:
        """Warp a sprite -> the RGBA patch inside the view (`None` when empty) and its corner (x, y)."""
        linear = _turn(turn) @ np.diag([factor, factor * flip])
        offset = joint - linear @ part.origin
        height, width = part.sprite.shape[:2]
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ linear.T + offset
        low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, (self.width, self.height))
        if (high <= low).any():
            return None, (0, 0)
        matrix = np.column_stack([linear, offset - low])
        patch = cv2.warpAffine(part.sprite, matrix, tuple(int(v) for v in high - low), flags=cv2.INTER_LINEAR)
        return patch, (int(low[0]), int(low[1]))

    def _cast_shadow(self, color: Array, layer: ToolLayer) -> None:
        """Darken the tissue beside an instrument (in place); the lamp sits by the lens, so the shadow is narrow."""
        alpha = np.zeros((self.height, self.width), np.float32)
        alpha[layer.window] = layer.alpha
        small = cv2.resize(alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.006 * self.width)
        shift = self._optics.shadow * (0.5 + 0.5 * layer.state.lift)
        matrix = np.array([[4.0, 0, 1.5 + shift[0]], [0, 4.0, 1.5 + shift[1]]])
        shadow = cv2.warpAffine(small, matrix, (self.width, self.height), flags=cv2.INTER_LINEAR)
        color *= 1 - np.float32(0.55) * shadow


def _stack(pieces: list[tuple[bool, Array, tuple[int, int]]]) -> tuple[tuple[slice, slice], Array, Array, Array]:
    """Lay premultiplied RGBA patches over each other.

    Returns:
        the window (rows, columns) of the view they cover, colour (3, h, w) 0..255, opacity (h, w) 0..1 and the opacity
        of the tip parts alone (h, w), all float32.
    """
    left, top = (min(corner[k] for _, _, corner in pieces) for k in (0, 1))
    right = max(corner[0] + patch.shape[1] for _, patch, corner in pieces)
    bottom = max(corner[1] + patch.shape[0] for _, patch, corner in pieces)
    layer = np.zeros((4, bottom - top, right - left), np.float32)
    tip = np.zeros((bottom - top, right - left), np.float32)
    for is_tip, patch, (x, y) in pieces:
        part = np.s_[y - top : y - top + patch.shape[0], x - left : x - left + patch.shape[1]]
        channels = np.stack(cv2.split(patch)).astype(np.float32)
        opacity = channels[3] * np.float32(1 / 255)
        target = layer[(slice(None), *part)]
        target *= 1 - opacity
        target += channels
        if is_tip:
            tip[part] = np.maximum(tip[part], opacity)
    window = np.s_[top:bottom, left:right]
    return window, layer[:3], layer[3] * np.float32(1 / 255), tip


def _turn(angle: float) -> Array:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
