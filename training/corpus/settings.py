"""The settings of curation."""

import math
import re
from dataclasses import dataclass, field
from typing import Any

from training.config import to_plain
from training.corpus.balance import BalanceSettings
from training.corpus.decoder_process import DecodingSettings
from training.corpus.drop_examples import DropExampleSettings
from training.corpus.field_of_view import FieldOfViewSettings
from training.corpus.filters import FilterSettings
from training.corpus.overlay import OverlaySettings
from training.errors import UserError

# They describe the files of one run, so two runs into one corpus may differ in them.
LABELS = ("source", "procedure", "robotic", "licence")
# They say how the work is done, not what comes out.
WORKING = ("decoding.threads", "decoding.stall_seconds", "allow_urls", "dataset_columns")
# They touch no stored frame: the weights are derived from the whole corpus, the pictures are for the report.
DERIVED = ("balance", "drop_examples")
# Folders and processes of one run: they are in no file of a corpus, which is the same whoever did the work.
PLACES = ("root", "private", "workers", "engine", "ray_address")


@dataclass(frozen=True)
class CurationSettings:
    """All settings of `python -m training.curate`."""

    fps: float = 1.0  # samples per second of video; the usual rate of surgical pretraining corpora
    short_side: int = 256  # pixels of a stored frame, never enlarged; room for 224-pixel crops at about 20 kB a frame
    image_format: str = "jpeg"  # jpeg | webp; WebP is smaller at equal quality, JPEG decodes faster
    image_quality: int = 95  # 1-100; as JPEG no visible loss, a quarter of the bytes of PNG
    clip_frames: int = 16  # longest clip; 16 is what video models take and keeps row groups small
    # Seconds. Stills further apart in time are clips of their own. For videos never below 1.5 sampling steps.
    max_gap_seconds: float = 2.0
    still_fps: float = 25.0  # native rate that the frame numbers of stills count at; 25 in most public sets
    # On the file name of a still without extension: groups `video` and `frame` (the number).
    still_pattern: str = r"^(?P<video>.+)_(?P<frame>\d+)$"
    # Searched in the path below INPUT; its group `case` becomes the case_id. Empty: every video is its own case.
    case_pattern: str = ""
    held_out_fraction: float = 0.1  # of the cases that no folder name assigns; at least one case, 0 draws none
    source: str = ""  # data set or site; empty: the name of the input folder
    procedure: str = ""  # of all files of this run, several joined by ";"; empty: unknown
    robotic: bool | None = None  # null: unknown
    licence: str = "unknown"  # of all files of this run
    root: str = ""  # folder that the paths in a source manifest start from; empty: the manifest's own folder
    allow_urls: bool = False  # whether URLs in a source manifest are fetched; nothing is fetched unasked
    # Columns of a dataset that carry what a source manifest has under another name: dataset_columns.case_id=patient.
    dataset_columns: dict[str, str] = field(default_factory=dict)
    # Inputs, paths, videos and cases appear as salted hashes in every file of the corpus. false keeps readable names:
    # for rendered videos and public sets.
    deidentify: bool = True
    private: str = ""  # folder of the salt and of the names behind the hashes; empty: OUT.private, beside OUT
    engine: str = "local"  # or "ray" (a cluster), or "inline" (in this process, for debugging)
    workers: int = 0  # units curated at a time; 0: one per core of this machine, with Ray one per core of the cluster
    ray_address: str = ""  # of a running cluster, such as "auto"; empty: Ray is started on this machine for the run
    shard_megabytes: float = 256.0  # image bytes per shard; a few hundred MB suit streaming and uploads
    row_group_frames: int = 32  # rows read at once for one clip; about 0.6 MB
    field_of_view: FieldOfViewSettings = field(default_factory=FieldOfViewSettings)
    overlay: OverlaySettings = field(default_factory=OverlaySettings)
    filters: FilterSettings = field(default_factory=FilterSettings)
    # Left as they are here, those that the corpus was given before stay in force.
    balance: BalanceSettings = field(default_factory=BalanceSettings)
    drop_examples: DropExampleSettings = field(default_factory=DropExampleSettings)
    decoding: DecodingSettings = field(default_factory=DecodingSettings)

    def __post_init__(self) -> None:
        at_least = {
            "fps": (self.fps, 1e-3),
            "short_side": (self.short_side, 16),
            "clip_frames": (self.clip_frames, 1),
            "max_gap_seconds": (self.max_gap_seconds, 0.0),
            "still_fps": (self.still_fps, 1e-3),
            "shard_megabytes": (self.shard_megabytes, 1e-3),
            "row_group_frames": (self.row_group_frames, 1),
            "workers": (self.workers, 0),
            "image_quality": (self.image_quality, 1),
            "field_of_view.frames": (self.field_of_view.frames, 1),
            "overlay.min_frames": (self.overlay.min_frames, 2),
            "decoding.stall_seconds": (self.decoding.stall_seconds, 0.1),
            "decoding.threads": (self.decoding.threads, 0),
        }
        for key, (value, least) in at_least.items():
            if not value >= least:
                raise UserError(f"setting {key}={value} is too small: it must be at least {least:g}")
        for key in ("fps", "still_fps", "decoding.stall_seconds"):
            if math.isinf(at_least[key][0]):
                raise UserError(f"setting {key}={at_least[key][0]} is too large: it must be finite")
        if self.image_quality > 100:
            raise UserError(f"setting image_quality={self.image_quality} is too large: it must be at most 100")
        if self.image_format not in ("jpeg", "webp"):
            raise UserError(f"setting image_format={self.image_format!r} is unknown: it must be jpeg or webp")
        if not 0 <= self.held_out_fraction < 1:
            raise UserError(f"setting held_out_fraction={self.held_out_fraction} must be from 0 to below 1")
        _check_pattern("still_pattern", self.still_pattern, "frame")
        if self.case_pattern:
            _check_pattern("case_pattern", self.case_pattern, "case")


def procedure_names(joined: str) -> tuple[str, ...]:
    """The names in a `procedure` setting or column: "cholecystectomy; hernia_repair" -> both; "" -> none."""
    return tuple(name.strip() for name in joined.split(";") if name.strip())


def fixed_settings(settings: CurationSettings) -> dict[str, Any]:
    """The settings that must stay the same as long as a corpus grows: dotted key -> value."""
    flat = _flatten(to_plain(settings), "")
    free = (*LABELS, *WORKING, *DERIVED, *PLACES)
    return {key: value for key, value in flat.items() if key not in free and key.split(".")[0] not in free}


def recorded_settings(settings: CurationSettings) -> dict[str, Any]:
    """The settings as curation.json holds them: nested, without folders of this machine."""
    return {key: value for key, value in to_plain(settings).items() if key not in PLACES}


def _flatten(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _check_pattern(key: str, pattern: str, group: str) -> None:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise UserError(f"setting {key}={pattern!r} is not a regular expression: {error}") from error
    if group not in groups:
        raise UserError(f"setting {key}={pattern!r} has no group (?P<{group}>...)")
