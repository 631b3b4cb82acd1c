"""GenSurgery: `videos_to_download` of github.com/SamuelSchmidgall/GSViT, a folder of `<procedure>.txt` files of links.

Some files are no procedures (`unsorted`, diseases, an atlas): their videos get none. Misspelled ones are put right.
"""

from collections.abc import Sequence
from pathlib import Path

from training.corpus.public_lists.listed import LISTS, Match, Row, match_videos, youtube_id
from training.errors import UserError

NO_PROCEDURE = frozenset(
    {"IBS", "anal_surgery", "colon_cancer", "colorectal_disease", "davinci_instructions", "rectal_cancer"}
    | {"rectal_prolapse", "superior_mesenteric_artery", "unsorted", "video_atlas"}
)
PROCEDURES = {
    "cardiomytomy": "cardiomyotomy",
    "cholestectomy": "cholecystectomy",
    "hernia": "hernia_repair",
    "robotic_chole": "cholecystectomy",
}


@LISTS.register("gensurgery")
def match_gensurgery(path: Path, files: Sequence[str]) -> Match:
    """Match files to the links. A video in several files has all their procedures.

    Raises:
        UserError: not a folder of .txt files, or a line without a YouTube id.
    """
    lists = sorted(path.glob("*.txt")) if path.is_dir() else []
    if not lists:
        raise UserError(
            f"list {str(path)!r} is not a folder of <procedure>.txt files, as videos_to_download of GSViT is"
        )
    entries: dict[str, Row] = {}
    for file in lists:
        names = [] if file.stem in NO_PROCEDURE else [PROCEDURES.get(file.stem, file.stem)]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            if not line.strip():
                continue
            video = youtube_id(line)
            if video is None:
                raise UserError(f"{file.name} line {number}: {line.strip()!r} is no link to a YouTube video")
            row = entries.setdefault(video, {"source": "GenSurgery", "procedures": []})
            row["procedures"] = sorted({*row["procedures"], *names})
            if file.stem.startswith("robotic_"):
                row["robotic"] = True
    return match_videos(entries, files)
