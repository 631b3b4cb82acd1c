"""JIGSAWS, skill: the global rating score (GRS) of trials of suturing, knot tying and needle passing.

The folder, that of `jigsaws.py`, with one task or several::

    ROOT/
        Suturing/                                     or Knot_Tying, Needle_Passing
            video/Suturing_B001_capture1.avi          30 fps; capture 2 is the other eye and not read
            meta_file_Suturing.txt                    TRIAL LEVEL GRS and six items, by runs of tabs or spaces

Quirks: the GRS is the sum of six items of 1 to 5 points: 6 to 30. The items and the level, which users state of
themselves (N, I, E), are not predicted. Trials without a line in the table are not read (a few have none).
Transcriptions are not needed: the score is of the whole trial, for which the middle frames of 32 equal parts stand
(`spread.py`).

Sides: each task apart, as scores of different tasks are not one scale and the field reports them so. `suturing_B`
(default) to `suturing_I` leave one user out; a case is a user in a task. `suturing_trial1` to `suturing_trial5` leave
one super-trial out, the n-th trial of every user; a case is a super-trial then, and every user is on both sides, which
is much easier. The same for `knot_tying` and `needle_passing`, where user G has no trials. There is no validation side.
Means over all folds of a task are what the field reports.

Source: Gao et al., JIGSAWS (M2CAI 2014), for non-commercial research; layout as read by public loaders. It was not
checked against genuine files.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.datasets.dataset import find_below
from evaluation.datasets.jigsaws import NATIVE_FPS, TASKS
from evaluation.datasets.recordings import VIDEO_SUFFIX, by_case
from evaluation.datasets.samples import SAMPLE_DATASETS, LabeledSample, SampleDataset, SampleReader, Target
from evaluation.datasets.spread import spread_frames
from evaluation.datasets.workflow import Side, Split, load_split
from training.errors import UserError

NAME = "jigsaws_skill"
TARGET = Target("skill", "value", ("GRS",))
GRS = range(6, 31)  # six items of 1 to 5 points
CELLS = 9  # trial, level, GRS and six items

_TRIAL = re.compile(r"(\w+)_([A-Z])(\d+)")


def find(root: Path) -> Path | None:
    """The JIGSAWS folder with ratings of skill, at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "JIGSAWS", lambda folder: any(_table(folder, task).is_file() for task in TASKS))


def scan(root: Path, split: Split | None) -> SampleDataset:
    """Read scores and headers of videos.

    Raises:
        UserError: no table of a task of the split, a line that is not understood or is the second one of its trial, a
            case without trials, a trial without video or with two, or a video of which 32 frames cannot be taken.
    """
    split = split or load_split(NAME)
    tasks = [task for task in TASKS if any(case.startswith(f"{task}_") for case, _ in split.cases)]
    scores = {task: _read_scores(_table(root, task), task) for task in tasks}
    videos = {
        task: by_case(NAME, root / task / "video", rf"({task}_[A-Z]\d+)_capture1{VIDEO_SUFFIX}", str) for task in tasks
    }

    def read(case: str, side: Side) -> Iterator[LabeledSample]:
        task, place = case.rsplit("_", 1)
        trials = [trial for trial in scores[task] if place in _places(trial)]
        if not trials:
            raise UserError(f"{NAME}: case {case!r} of the split has no trial in {str(_table(root, task))!r}")
        for trial in trials:
            if trial not in videos[task]:
                expected = root / task / "video" / f"{trial}_capture1.avi"
                raise UserError(f"{NAME}: trial {trial!r} is rated, but has no video such as {str(expected)!r}")
            frames = spread_frames(NAME, videos[task][trial], NATIVE_FPS)
            yield LabeledSample(case, side, frames, (float(scores[task][trial]),))

    samples = tuple(sample for case, side in split.cases for sample in read(case, side))
    return SampleDataset(NAME, root, TARGET, samples, split.name, split.source)


def _table(root: Path, task: str) -> Path:
    return root / task / f"meta_file_{task}.txt"


def _places(trial: str) -> tuple[str, str]:
    """How the cases of a trial end: by its user, and by its super-trial."""
    user, number = trial.rsplit("_", 1)[1][:1], int(trial.rsplit("_", 1)[1][1:])
    return user, f"trial{number}"


def _read_scores(file: Path, task: str) -> dict[str, int]:
    """GRS by trial, in order of the names of trials."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{NAME}: {str(file)!r} is missing; the dataset is incomplete or has another layout") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as text ({error})") from error
    scores: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        trial = _TRIAL.fullmatch(cells[0])
        if len(cells) != CELLS or not trial or trial[1] != task or cells[1] not in ("N", "I", "E"):
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} is {line!r}, not a trial such as {task}_B001, "
                "its level N, I or E, its GRS and six items"
            )
        if not cells[2].isdecimal() or int(cells[2]) not in GRS:
            raise UserError(
                f"{NAME}: line {number} of {str(file)!r} has the GRS {cells[2]!r}; it is {GRS[0]} to {GRS[-1]}"
            )
        if cells[0] in scores:
            raise UserError(f"{NAME}: line {number} of {str(file)!r} is the second one of trial {cells[0]!r}")
        scores[cells[0]] = int(cells[2])
    return dict(sorted(scores.items()))


SAMPLE_DATASETS.register(NAME)(
    SampleReader(
        name=NAME,
        licence="for non-commercial research",
        obtain="https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release (request form)",
        target=TARGET,
        find=find,
        scan=scan,
    )
)
