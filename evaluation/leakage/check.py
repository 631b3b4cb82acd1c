"""The whole search: every dataset by itself, all of them against each other, and against a pretraining corpus."""

from collections.abc import Callable, Sequence
from pathlib import Path

from evaluation.datasets.workflow import SIDES
from evaluation.leakage.cases import Cases, find_cases
from evaluation.leakage.copies import identical_files
from evaluation.leakage.findings import Checked, Finding, Report
from evaluation.leakage.operations import in_corpus, same_between, same_within
from evaluation.leakage.pictures import near_duplicates
from training.corpus import Corpus
from training.errors import UserError


def check_leakage(
    data_roots: Sequence[Path], corpus: Corpus | None = None, *, pictures: bool = False, transfer: bool = True
) -> Report:
    """Look for leakage in every dataset in or below the data roots.

    Args:
        data_roots: folders with datasets.
        corpus: pretraining corpus that must hold no test case.
        pictures: whether frames are decoded and compared.
        transfer: whether what two datasets share counts.

    Raises:
        UserError: a root that is no folder, or no dataset in any.
    """
    found = find_cases(data_roots)
    if not (found.datasets or found.findings or found.unread):
        raise UserError(
            f"no dataset is in or up to two levels below {', '.join(repr(str(root)) for root in data_roots)}; "
            "docs/datasets.md has their layouts"
        )
    checks: list[Callable[[Cases], list[Finding]]] = [identical_files, same_within]
    if pictures:
        checks.append(near_duplicates)
    if corpus is not None:
        checks.append(lambda dataset: list(in_corpus(dataset, corpus)))
    findings, unread, checked = list(found.findings), list(found.unread), []
    for dataset in found.datasets:
        try:
            for check in checks:
                findings += check(dataset)
        except (UserError, OSError) as error:
            unread.append((dataset.dataset, str(error)))
        else:
            sizes = [len(dataset.on(side)) for side in SIDES]
            checked.append(Checked(dataset.dataset, str(dataset.root), dataset.split, *sizes))
    return Report(checked, [*findings, *same_between(found.datasets)], unread, transfer)
