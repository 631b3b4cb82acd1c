"""Room on the disk, looked for before a byte of a cache is written."""

import shutil
from pathlib import Path

from training.errors import UserError

# Number, box and two checksums of a view: what a shard holds beside its features.
OVERHEAD_BYTES = 8 + 5 * 8 + 2 * 8


def check_space(folder: Path, needed: int, reason: str) -> None:
    """`UserError` unless the disk has room.

    Args:
        folder: where the cache will be; it need not exist yet.
        needed: bytes.
        reason: how they come about, for the message.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"the cache needs {show_bytes(needed)} ({reason}), but {str(existing)!r} has {show_bytes(free)} free: take "
            "cache.form=int8 or phi_s, fewer data.views_per_frame or teachers, or another cache.folder"
        )


def show_bytes(count: float) -> str:
    """`1.2 TB`, `350 MB`: three digits, in the decimal units of disks."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
