"""Cases that are publicly known to be the same operation, within a dataset, between datasets and in a corpus.

What is known stands in `training/corpus/overlaps.json`, with its sources; there is no second list.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import permutations

from evaluation.datasets.workflow import SIDES
from evaluation.leakage.cases import Case, Cases
from evaluation.leakage.copies import digest_of
from evaluation.leakage.findings import BETWEEN, Finding
from evaluation.overlap import seen_files
from training.corpus import Corpus
from training.corpus.overlaps import known_overlaps


def public_names(dataset: Cases, case: Case) -> set[str]:
    """The names under which `overlaps.json` knows a case and everything that is the same operation; usually few."""
    known = known_overlaps()
    places = {known.case(f"{dataset.dataset}/{dataset.place(file)}") for file in case.files} - {None}
    return {name for own in places if own is not None for name in known.same_operation(own)}


def same_within(dataset: Cases) -> list[Finding]:
    """Cases of one dataset that are one operation and lie on two sides."""
    owners: dict[str, list[Case]] = defaultdict(list)
    for case in dataset.cases:
        for name in public_names(dataset, case):
            owners[name].append(case)
    pairs = {
        (one.side, one.name, other.side, other.name)
        for cases in owners.values()
        for one in cases
        for other in cases
        if SIDES.index(one.side) < SIDES.index(other.side)
    }
    return [
        Finding("same operation", dataset.dataset, f"{side} case {case!r} and {other_side} case {other!r}")
        for side, case, other_side, other in sorted(pairs)
    ]


def same_between(datasets: Sequence[Cases]) -> list[Finding]:
    """Test cases of one dataset that are training cases of another: one finding per ordered pair of datasets."""
    names = [{case: public_names(each, case) for case in each.cases} for each in datasets]
    findings = []
    for tested, trained in permutations(range(len(datasets)), 2):
        pairs = sorted(
            (f"{datasets[trained].dataset}/{case.name}", f"{datasets[tested].dataset}/{test.name}")
            for case in datasets[trained].on("train")
            for test in datasets[tested].on("test")
            if names[trained][case] & names[tested][test]
        )
        if pairs:
            message = f"{len(pairs)} test cases are training cases of {datasets[trained].dataset}"
            findings.append(Finding(BETWEEN, datasets[tested].dataset, message, tuple(pairs)))
    return findings


def in_corpus(dataset: Cases, corpus: Corpus) -> Iterator[Finding]:
    """Test cases that were pretrained on: by the bytes of their files, and by the manifest's column `overlaps`."""
    tests = {case.name: case for case in dataset.on("test")}
    digests = {name: [digest_of(file) for file in case.files] for name, case in tests.items()}
    for name, places in seen_files(digests, corpus).items():
        pairs = tuple((f"corpus {corpus.name}", dataset.place(tests[name].files[place])) for place in places)
        yield Finding("test file in the corpus", dataset.dataset, f"test case {name!r}", pairs)
    shown: dict[str, list[str]] = defaultdict(list)
    for clip in corpus.clips("train"):
        for public in clip.overlaps:
            shown[public].append(clip.clip_id)
    for name, case in tests.items():
        found = sorted(public_names(dataset, case) & set(shown))
        pairs = tuple((f"clip {clip}", public) for public in found for clip in shown[public])
        if pairs:
            yield Finding("test case in the corpus", dataset.dataset, f"test case {name!r}", pairs)
