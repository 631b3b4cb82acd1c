"""The color floor as a backbone."""

import numpy as np

from evaluation.backbones.backbone import Features, Identity, Role, sha256_of_json
from training.diagnostics.color_histogram import CELL, CELL_BINS, GLOBAL_BINS, color_histogram


class ColorHistogram:
    """Histograms of the frame and of its cells."""

    name = "color histogram"
    role: Role = "histogram"
    summary_width = int(np.prod(GLOBAL_BINS))
    dense_width = 6 + int(np.prod(CELL_BINS))

    def __init__(self) -> None:
        settings = sha256_of_json({"cell": CELL, "global_bins": GLOBAL_BINS, "cell_bins": CELL_BINS, "version": 1})
        self.identity = Identity("color_histogram", None, settings, settings)

    def check_size(self, image_size: int) -> None:
        """Any size serves: pixels beyond the last whole cell count in the summary only."""

    def extract(self, images: np.ndarray) -> Features:
        """Features of images, uint8 (B, H, W, 3) RGB; dense grid is (H // 16, W // 16)."""
        pairs = [color_histogram(image) for image in images]
        return Features(np.stack([summary for summary, _ in pairs]), np.stack([dense for _, dense in pairs]))
