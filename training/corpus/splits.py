"""Which cases are held out: what folder names say first, a stable draw for the rest."""

import hashlib
from collections.abc import Mapping


def resolve_splits(words: Mapping[str, set[str]], previous: Mapping[str, str], fraction: float) -> dict[str, str]:
    """The split of every case.

    A case with any file below a held-out folder is wholly held out. A case that already has a split keeps it, so that
    adding videos never moves a trained case to the other side. Of the cases that no folder name assigns, `fraction` is
    held out: those whose id has the smallest SHA-256. When nothing would be held out although there are two cases or
    more, one new case is; then cases below a training folder may be taken too.

    Args:
        words: case_id -> what the folder names of its files say, out of "held_out", "train" and "".
        previous: case_id -> split in the corpus so far.
        fraction: 0 draws no case at all.

    Returns:
        case_id -> "train" or "held_out".
    """
    splits: dict[str, str] = {}
    for case, said in words.items():
        if "held_out" in said or previous.get(case) == "held_out":
            splits[case] = "held_out"
        elif case in previous or "train" in said:
            splits[case] = "train"
    unassigned = [case for case, said in words.items() if not said & {"held_out", "train"}]
    drawn = sum(splits.get(case) == "held_out" for case in unassigned)
    open_cases = sorted((case for case in words if case not in splits), key=_rank)
    wanted = int(fraction * len(unassigned) + 0.5) - drawn
    wanted = min(max(wanted, 0), len(words) - 1 - sum(split == "held_out" for split in splits.values()))
    for position, case in enumerate(open_cases):
        splits[case] = "held_out" if position < wanted else "train"
    if fraction > 0 and len(words) >= 2 and "held_out" not in splits.values():
        new = sorted(
            (case for case in words if case not in previous), key=lambda case: (case not in open_cases, _rank(case))
        )
        if new:
            splits[new[0]] = "held_out"
    return splits


def _rank(case: str) -> str:
    return hashlib.sha256(case.encode()).hexdigest()
