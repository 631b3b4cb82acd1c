import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluation.overlap import count_overlap, other_corpus


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def corpus_of(train: list[str], held_out: list[str]) -> Any:
    sides = {"train": train, "held_out": held_out}
    return SimpleNamespace(
        clips=lambda side: [SimpleNamespace(sha256=value) for value in sides[side]], fingerprint="f" * 64
    )


A, B, C, D = map(digest, "abcd")


@pytest.mark.parametrize(
    ("train", "held_out", "expected"),
    [
        ([], [A, B], 0),
        ([A], [], 1),
        ([A, A, C], [], 2),
        ([digest(B + C)], [], 2),  # a clip of two stills carries the digest of their digests
        ([digest(A + B + C), C], [], 3),
        ([digest(C + B)], [], 0),
        ([digest(A + D)], [], 0),  # of two cases, so never one clip
    ],
)
def test_count(train: list[str], held_out: list[str], expected: int) -> None:
    assert count_overlap({"one": [A, B, C], "two": [D]}, corpus_of(train, held_out)) == expected


def test_model_of_another_corpus(tmp_path: Path) -> None:
    corpus = corpus_of([], [])
    assert other_corpus(tmp_path, corpus) is None
    (tmp_path / "corpus.json").write_text(json.dumps({"fingerprint": "f" * 64}))
    assert other_corpus(tmp_path, corpus) is None
    (tmp_path / "corpus.json").write_text(json.dumps({"fingerprint": "0" * 64}))
    assert "names corpus fingerprint 000000000000, --corpus has ffffffffffff" in str(other_corpus(tmp_path, corpus))
