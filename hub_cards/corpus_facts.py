"""What the corpus of a run holds and what was dropped, counted from its manifest and drop report."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from training.corpus.corpus import Corpus
from training.corpus.manifest import DROPS_FILE, Clip, Drop, read_drops
from training.errors import UserError

SPLITS = ("train", "held_out")
# The folders of an absolute path, as decoders quote it in their messages: a report shows file names only.
_FOLDERS = re.compile(r"""(?<=['"])/[^'"]*/|(?<![\w.:/'"])/(?:[^/\s'"]+/)+""")


@dataclass(frozen=True)
class SplitCounts:
    """Sizes of one split."""

    split: str
    frames: int
    clips: int
    videos: int
    cases: int


@dataclass(frozen=True)
class Group:
    """Clips that share a procedure, or a source and licence."""

    name: str
    licence: str | None
    clips: int
    frames: int
    cases: int


@dataclass(frozen=True)
class CorpusFacts:
    """A corpus in numbers."""

    fingerprint: str
    splits: tuple[SplitCounts, ...]  # train, held_out
    procedures: tuple[Group, ...]
    sources: tuple[Group, ...]  # one per source and licence
    overlaps: tuple[tuple[str, int], ...]  # public benchmark that clips come from, number of clips
    robotic: tuple[tuple[str, int], ...]  # "robotic" | "not robotic" | "not recorded", number of clips
    drops: tuple[Drop, ...]

    @property
    def frames(self) -> int:
        """Kept frames of both splits."""
        return sum(split.frames for split in self.splits)

    def drop_reasons(self) -> list[tuple[str, int, int]]:
        """(reason, spans, frames) of what was dropped, most spans first."""
        spans, frames = Counter[str](), Counter[str]()
        for drop in self.drops:
            spans[drop.reason] += 1
            frames[drop.reason] += drop.num_frames
        return [
            (reason, number, frames[reason])
            for reason, number in sorted(spans.items(), key=lambda item: (-item[1], item[0]))
        ]


def open_corpus(folder: Path, fingerprint: str) -> Corpus:
    """The corpus of a run.

    Raises:
        UserError: it is missing or incomplete, or its manifest is not the one whose `fingerprint` the run recorded.
    """
    corpus = Corpus.open(folder)
    if corpus.fingerprint != fingerprint:
        raise UserError(
            f"corpus {str(folder)!r} has fingerprint {corpus.fingerprint[:12]}, but the run was trained on "
            f"{fingerprint[:12]}; give the corpus of this run"
        )
    return corpus


def count_corpus(corpus: Corpus, folder: Path) -> CorpusFacts:
    """Count the manifest of `corpus` and the drop report in its `folder`."""
    clips = corpus.manifest
    overlaps = Counter(name for clip in clips for name in clip.overlaps)
    return CorpusFacts(
        fingerprint=corpus.fingerprint,
        splits=tuple(_count_split(split, [clip for clip in clips if clip.split == split]) for split in SPLITS),
        procedures=_groups(clips, lambda clip: (", ".join(clip.procedures) or "not recorded", None)),
        sources=_groups(clips, lambda clip: (clip.source, clip.licence or None)),
        overlaps=tuple(sorted(overlaps.items())),
        robotic=tuple(sorted(Counter(map(_robotic, clips)).items())),
        drops=_read_drops(folder),
    )


def spread_frames(corpus: Corpus, split: str, count: int) -> list[tuple[Clip, int]]:
    """Up to `count` frames of `split` spread over its cases, as (clip, position), the same at every call.

    Cases come in the order of their names, evenly spaced when there are more than `count`; with fewer cases, each gives
    several frames, evenly spaced over its frames.
    """
    by_case: dict[str, list[tuple[Clip, int]]] = {}
    for clip in corpus.clips(split):
        by_case.setdefault(clip.case_id, []).extend((clip, position) for position in range(clip.num_frames))
    cases = [by_case[case] for case in sorted(by_case)]
    if not cases:
        return []
    chosen = [cases[i] for i in _evenly(len(cases), min(count, len(cases)))]
    share, extra = divmod(count, len(chosen))
    picked = []
    for number, frames in enumerate(chosen):
        wanted = min(share + (number < extra), len(frames))
        picked += [frames[i] for i in _evenly(len(frames), wanted)]
    return picked


def _evenly(length: int, count: int) -> list[int]:
    """`count` different indices below `length`, at the middles of equal parts."""
    return [int(i) for i in np.floor((np.arange(count) + 0.5) * length / count)] if count else []


def _count_split(split: str, clips: list[Clip]) -> SplitCounts:
    return SplitCounts(
        split=split,
        frames=sum(clip.num_frames for clip in clips),
        clips=len(clips),
        videos=len({(clip.source, clip.video_id) for clip in clips}),
        cases=len({clip.case_id for clip in clips}),
    )


def _groups(clips: Iterable[Clip], key: Callable[[Clip], tuple[str, str | None]]) -> tuple[Group, ...]:
    """Clips counted by `key` (name, licence), most frames first."""
    members: dict[tuple[str, str | None], list[Clip]] = {}
    for clip in clips:
        members.setdefault(key(clip), []).append(clip)
    groups = [
        Group(name, licence, len(own), sum(clip.num_frames for clip in own), len({clip.case_id for clip in own}))
        for (name, licence), own in members.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.frames, group.name)))


def _robotic(clip: Clip) -> str:
    if clip.robotic is None:
        return "not recorded"
    return "robotic" if clip.robotic else "not robotic"


def _read_drops(folder: Path) -> tuple[Drop, ...]:
    path = folder / DROPS_FILE
    if not path.is_file():
        raise UserError(f"{str(path)!r} does not exist; curation writes it beside the manifest")
    return tuple(replace(drop, detail=_FOLDERS.sub("", drop.detail or "")) for drop in read_drops(path))
