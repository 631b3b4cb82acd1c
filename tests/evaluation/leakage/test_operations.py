import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evaluation.leakage.operations import in_corpus, public_names, same_between, same_within
from tests.evaluation.leakage.folders import cases_of

ROOT = Path("/data")
CHOLEC80 = cases_of(
    "cholec80",
    ROOT,
    ("video03", "train", "videos/video03.mp4"),
    ("video67", "train", "videos/video67.mp4"),
    ("video61", "test", "videos/video61.mp4"),
)
M2CAI = cases_of(
    "m2cai16_tool",
    ROOT,
    ("tool_video_01", "test", "test_dataset/tool_video_01.mp4"),  # Cholec80's 67
    ("tool_video_11", "train", "train_dataset/tool_video_11.mp4"),  # Cholec80's 61
)


def corpus_of(*clips: tuple[str, str, tuple[str, ...]]) -> Any:
    rows = [SimpleNamespace(clip_id=clip, sha256=digest, overlaps=overlaps) for clip, digest, overlaps in clips]
    return SimpleNamespace(name="corpus", clips=lambda side: rows if side == "train" else [])


def test_public_names_are_those_of_the_known_overlaps() -> None:
    names = public_names(M2CAI, M2CAI.on("test")[0])
    assert {"m2cai16-tool/tool_video_01", "cholec80/video67", "endoscapes/001"} <= names
    assert public_names(cases_of("mine", ROOT, ("video67", "test", "videos/video67.mp4")), CHOLEC80.cases[0]) == set()


def test_test_cases_that_another_dataset_trains_on() -> None:
    first, second = same_between([CHOLEC80, M2CAI])
    assert (first.dataset, first.message) == ("cholec80", "1 test cases are training cases of m2cai16_tool")
    assert first.pairs == (("m2cai16_tool/tool_video_11", "cholec80/video61"),)
    assert (second.dataset, second.pairs) == ("m2cai16_tool", (("cholec80/video67", "m2cai16_tool/tool_video_01"),))
    assert same_between([CHOLEC80]) == []


def test_one_operation_on_two_sides_of_a_dataset() -> None:
    # PSI-AVA's cases are GraSP's of the same number; two copies of one case under other names are one operation.
    twice = cases_of(
        "grasp", ROOT, ("first", "train", "frames/CASE001/0.jpg"), ("again", "test", "frames/case001/1.jpg")
    )
    (finding,) = same_within(twice)
    assert (finding.kind, finding.message) == ("same operation", "train case 'first' and test case 'again'")
    assert same_within(CHOLEC80) == same_within(M2CAI) == []


def test_test_cases_in_a_corpus_by_bytes_and_by_name(tmp_path: Path) -> None:
    for name in ("video03", "video61"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / f"{name}.mp4").write_text(name)
    dataset = cases_of(
        "cholec80", tmp_path, ("video03", "train", "videos/video03.mp4"), ("video61", "test", "videos/video61.mp4")
    )
    trained, tested = (hashlib.sha256(name.encode()).hexdigest() for name in ("video03", "video61"))
    clean = corpus_of(("clip0", trained, ()), ("clip1", "0" * 64, ("heichole/Hei-Chole1",)))
    assert list(in_corpus(dataset, clean)) == []
    (by_bytes,) = in_corpus(dataset, corpus_of(("clip0", tested, ())))
    assert (by_bytes.kind, by_bytes.message) == ("test file in the corpus", "test case 'video61'")
    assert by_bytes.pairs == (("corpus corpus", "videos/video61.mp4"),)
    # The manifest says that a clip shows M2CAI's video 11, which is Cholec80's 61.
    (by_name,) = in_corpus(dataset, corpus_of(("clip7", "0" * 64, ("m2cai16-tool/tool_video_11",))))
    assert (by_name.kind, by_name.pairs) == (
        "test case in the corpus",
        (("clip clip7", "m2cai16-tool/tool_video_11"),),
    )
