"""Which public benchmark cases the clips of a corpus show: what overlaps.json knows, and what deduplication found.

overlaps.json (schema 1) holds
    datasets      how a clip is known as a case of a public data set: `where` is searched in "source/path", whatever
                  the case of its letters, then the first of the `cases` patterns found there fills the template `name`
    shared        cases of one data set that are the same operation as a case of another
    test_cases    which cases are tested on by a published split ("all": any case of the data set)
    collections   pretraining collections that contain public sets, and what is known of it
each with its source. A clip's `overlaps` are the test cases among its own case and all that are the same operation, as
"cholec80/video41".
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from training.corpus.manifest import Clip

OVERLAPS_FILE = Path(__file__).with_name("overlaps.json")
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class _Dataset:
    where: re.Pattern[str]
    cases: tuple[re.Pattern[str], ...]
    name: str  # template over the named groups; digits become numbers


class KnownOverlaps:
    """The content of an overlaps.json.

    Raises:
        ValueError: another schema version, or an entry that names an unknown data set or case template.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"overlaps.json has schema {content['schema_version']}, this code reads {SCHEMA_VERSION}")
        self._datasets = {
            key: _Dataset(_pattern(entry["where"]), tuple(map(_pattern, entry["cases"])), entry["name"])
            for key, entry in content["datasets"].items()
        }
        self._same: dict[str, set[str]] = defaultdict(set)
        for entry in content["shared"]:
            for of, within in entry["cases"].items():
                one, other = f"{self._known(entry['of'])}/{of}", f"{self._known(entry['in'])}/{within}"
                self._same[one].add(other)
                self._same[other].add(one)
        self._tested: set[str] = set()
        self._all_tested: set[str] = set()
        for entry in content["test_cases"]:
            benchmark = self._known(entry["benchmark"])
            if entry["cases"] == "all":
                self._all_tested.add(benchmark)
            else:
                self._tested |= {f"{benchmark}/{case}" for case in entry["cases"]}
        self._collections = {
            entry["name"]: (_pattern(entry["where"]), tuple(entry["contains"])) for entry in content["collections"]
        }

    def case(self, place: str) -> str | None:
        """The public case that a clip of `place` ("source/path") shows, as "cholec80/video41"; None: not known."""
        for key, dataset in self._datasets.items():
            if not dataset.where.search(place):
                continue
            for pattern in dataset.cases:
                if match := pattern.search(place):
                    groups = {name: int(text) if text.isdecimal() else text for name, text in match.groupdict().items()}
                    return f"{key}/{dataset.name.format(**groups)}"
        return None

    def same_operation(self, case: str) -> tuple[str, ...]:
        """A case and all that are the same operation, sorted."""
        seen, open_ = {case}, [case]
        while open_:
            for other in self._same.get(open_.pop(), ()):
                if other not in seen:
                    seen.add(other)
                    open_.append(other)
        return tuple(sorted(seen))

    def test_cases(self, case: str) -> tuple[str, ...]:
        """The benchmark test cases among a case and all that are the same operation, sorted."""
        return tuple(name for name in self.same_operation(case) if self.is_tested(name))

    def is_tested(self, case: str) -> bool:
        """Whether a published split tests on this case."""
        return case in self._tested or case.partition("/")[0] in self._all_tested

    def collection(self, place: str) -> str | None:
        """The pretraining collection that a clip of `place` ("source/path") comes from; None: no known one."""
        return next((name for name, (where, _) in self._collections.items() if where.search(place)), None)

    def contains(self, collection: str) -> tuple[str, ...]:
        """What public sets a collection is known to hold."""
        return self._collections[collection][1]

    def _known(self, dataset: str) -> str:
        if dataset not in self._datasets:
            raise ValueError(f"overlaps.json names data set {dataset!r}, which it does not describe")
        return dataset


@cache
def known_overlaps() -> KnownOverlaps:
    """The overlaps.json beside this file."""
    return KnownOverlaps(json.loads(OVERLAPS_FILE.read_text(encoding="utf-8")))


@lru_cache(maxsize=4096)
def test_cases_of(source: str, location: Path) -> tuple[str, ...]:
    """The benchmark test cases that a file shows, by its source label and the names of its folders; usually none."""
    case = known_overlaps().case(f"{source}/{location.as_posix()}")
    return known_overlaps().test_cases(case) if case else ()


def with_overlaps(clips: Sequence[Clip], found: Mapping[str, Iterable[str]]) -> list[Clip]:
    """The clips with their benchmark test cases filled in; those that curation knew by the true name stay.

    Args:
        clips: of a corpus.
        found: clip_id -> test cases that deduplication found by picture.
    """
    done = []
    for clip in clips:
        by_name = test_cases_of(clip.source, Path(clip.path))
        names = sorted({*by_name, *clip.overlaps, *found.get(clip.clip_id, ())})
        done.append(replace(clip, overlaps=tuple(names)))
    return done


def overlap_report(clips: Iterable[Clip]) -> dict[str, Any]:
    """What curation.json says: frames of every test case seen, by split, and what collections may hold besides."""
    known = known_overlaps()
    seen: dict[str, dict[str, int]] = {}
    possible: dict[str, list[str]] = {}
    for clip in clips:
        for name in clip.overlaps:
            frames = seen.setdefault(name, {"train": 0, "held_out": 0})
            frames[clip.split] += clip.num_frames
        if (collection := known.collection(f"{clip.source}/{clip.path}")) is not None:
            possible.setdefault(collection, list(known.contains(collection)))
    return {"seen": dict(sorted(seen.items())), "possible": dict(sorted(possible.items()))}


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)
