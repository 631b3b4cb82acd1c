"""The folder of a store: one folder per backbone and image size, filled by any number of processes without a lock.

    FOLDER/<first 24 digits of the SHA-256 of the key>/
        backbone.json                        the key, and what the backbone was called
        <random>.safetensors, .parquet       parts, see `part`

Every process writes parts of its own and never changes one. What two processes computed both lies there twice.
"""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluation.backbones import Backbone
from evaluation.backbones.backbone import sha256_of_json
from evaluation.feature_store.encoding import POOLED
from evaluation.feature_store.part import DATA_SUFFIX, INDEX_SUFFIX, Part, open_part, read_index, write_part
from evaluation.feature_store.request import Request
from evaluation.frames import RESAMPLING
from training.errors import UserError

SCHEMA_VERSION = 1  # of the parts; raised when what is kept of a frame changes
LEFT_BEHIND = (
    86_400.0  # seconds after which a file that no table points to is what a killed process left: writing takes seconds
)


@dataclass(frozen=True)
class BackboneFolder:
    """Where parts of one backbone at one image size lie. Opening it changes nothing."""

    path: Path
    name: str
    key: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, backbone: Backbone, image_size: int) -> "BackboneFolder":
        """The folder of a backbone, which need not exist yet; `UserError` if a file is in its place."""
        for path in (folder, *folder.parents):
            if path.exists() and not path.is_dir():
                raise UserError(
                    f"feature folder {str(folder)!r} cannot be made, {str(path)!r} is a file; choose another"
                )
        key = {
            "schema_version": SCHEMA_VERSION,
            "weights_sha256": backbone.identity.weights_sha256,
            "preprocessing_sha256": backbone.identity.preprocessing_sha256,
            "widths": [backbone.summary_width, backbone.dense_width],
            "image_size": image_size,
            "resampling": RESAMPLING,
        }
        return cls(folder / sha256_of_json(key)[:24], backbone.name, key)

    def read(self, request: Request, opened: Sequence[Part] = (), *, verify: bool) -> list[Part]:
        """The parts that hold frames of a request, in the order of their names.

        Args:
            request: what is asked for.
            opened: verified parts of an earlier call, which are taken as they are.
            verify: check every byte of what the request needs of a part, and remove damaged parts. Otherwise damaged
                parts are only passed over, and not every damage is noticed.
        """
        wanted = set(request.keys)
        verified = [*POOLED] if verify else []
        for kind in ("coarse", "dense"):
            verified += [kind, f"{kind}_scale"] if verify and request.wanted[kind].any() else []
        known = {part.name: part for part in opened}
        parts = []
        for path in sorted(self.path.glob(f"*{INDEX_SUFFIX}")):
            if path.stem in known:
                parts.append(known[path.stem])
                continue
            try:
                index = read_index(path)
                if not wanted.isdisjoint(index.keys):
                    parts.append(open_part(index, self.key, verified))
            except FileNotFoundError:  # another process has removed it since the folder was listed
                continue
            except UserError as error:
                tqdm.write(f"computed anew: {error}")
                if verify:
                    path.unlink(missing_ok=True)
                    path.with_suffix(DATA_SUFFIX).unlink(missing_ok=True)
        return parts

    def prepare(self) -> None:
        """Make the folder, say in it whose it is, and remove what killed processes left."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"feature folder {str(self.path)!r} cannot be made ({error.strerror}); choose another"
            ) from error
        about = self.path / "backbone.json"
        if not about.is_file():
            draft = self.path / f"{uuid.uuid4().hex}.tmp"
            draft.write_text(json.dumps({"backbone": self.name, **self.key}, indent=2) + "\n", encoding="utf-8")
            draft.replace(about)
        for path in self.path.iterdir():
            loose = path.suffix == DATA_SUFFIX and not path.with_suffix(INDEX_SUFFIX).exists()
            if (loose or path.suffix == ".tmp") and time.time() - path.stat().st_mtime > LEFT_BEHIND:
                path.unlink(missing_ok=True)

    def write(self, part: Part) -> None:
        """Add a part."""
        write_part(self.path, part, self.key)
