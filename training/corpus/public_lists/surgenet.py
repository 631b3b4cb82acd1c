"""SurgeNetXL's YouTube part: `frames_list.txt` of github.com/TimJaspers0801/SurgeNet, one frame name a line.

Its script writes `<procedure>/Batch<k>/<video>_frame_<n>_Sample<i>.jpg`; n counts seconds, as it keeps one frame each.
Frames that are not in the list were taken out by hand, so they are left out here too.
"""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from training.corpus.public_lists.listed import LISTS, Match, Row
from training.corpus.sources import STILL_SUFFIXES
from training.errors import UserError

FRAME_NAME = re.compile(r"(?P<video>.+)_frame_(?P<frame>\d+)_Sample\d+\.jpg")
FPS = 1  # that frame numbers count at


@LISTS.register("surgenet")
def match_surgenet(path: Path, files: Sequence[str]) -> Match:
    """Match frames to the list by name.

    Raises:
        UserError: an unreadable list, or a line that is no frame name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list {str(path)!r} cannot be read: {error}") from error
    listed: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        match = FRAME_NAME.fullmatch(name)
        if name and match is None:
            raise UserError(f"{path.name} line {number}: {name!r} is not of the form VIDEO_frame_N_SampleI.jpg")
        if match:
            listed[name] = match["video"], int(match["frame"])
    rows: list[Row] = []
    taken: set[str] = set()
    unlisted = []
    for file in sorted(files):
        place = PurePosixPath(file)
        if place.suffix.lower() not in STILL_SUFFIXES:
            continue
        if place.name not in listed or place.name in taken:
            unlisted.append(file)
            continue
        taken.add(place.name)
        video, frame = listed[place.name]
        batch = len(place.parts) > 2 and re.fullmatch(r"Batch\d+", place.parts[-2])
        rows.append(
            {
                "path": file,
                "video_id": video,
                "case_id": video,
                "source": "SurgeNet",
                "procedures": [place.parts[-3]] if batch else [],
                "frame": frame,
                "fps": FPS,
            }
        )
    return Match(rows, [name for name in listed if name not in taken], unlisted)
