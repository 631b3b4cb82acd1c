"""The command end to end on fixtures: what it writes, what it skips, what it refuses."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation import benchmark
from evaluation.benchmark import main
from evaluation.feature_store import extraction
from evaluation.records import ResultRecord, read_records
from evaluation.tasks import TASKS
from training.corpus.manifest import CLIP_SCHEMA, read_clips, write_rows
from training.errors import UserError, run_entry

Run = Callable[..., str]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory, synthetic_folder: Path, endoscapes_folder: Path) -> Path:
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(synthetic_folder, root / "synthetic")
    shutil.copytree(endoscapes_folder, root / "real" / "endoscapes")
    return root


@pytest.fixture
def run(zen_folder: Path, data_root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command and returns what it printed; later options win over the ones given here."""

    def call(output: Path, *words: object) -> str:
        options = ["--model", zen_folder, "--data-root", data_root, "--image-size", 64, "--output", output, *words]
        main([str(word) for word in options])
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def everything(
    tmp_path_factory: pytest.TempPathFactory,
    zen_folder: Path,
    teacher_folder: Path,
    data_root: Path,
    corpus_folder: Path,
) -> tuple[Path, list[ResultRecord]]:
    """One run of every task with a teacher and a corpus: the results file and its records."""
    output = tmp_path_factory.mktemp("results") / "results.jsonl"
    words = ["--model", zen_folder, "--data-root", data_root, "--image-size", 64, "--output", output]
    main([str(word) for word in [*words, "--teachers", teacher_folder, "--corpus", corpus_folder]])
    return output, read_records(output)


def test_every_task_has_every_model(everything: tuple[Path, list[ResultRecord]]) -> None:
    output, records = everything
    names = {record.task for record in records}
    assert names == {name for name in TASKS.names() if name.endswith(("_synthetic", "_endoscapes", "_agreement"))}
    for name in names:
        task = TASKS.get(name)
        members = [record for record in records if record.task == name]
        assert {record.probe for record in members} == set(task.probes)
        roles = {"student", "random_init", "histogram", "majority"} | (
            {"teacher"} - {"teacher" * (task.family == "agreement")}
        )
        for probe in task.probes:
            assert {record.model_role for record in members if record.probe == probe} == roles
    assert {path.name for path in output.parent.iterdir()} == {
        "results.jsonl",
        "results.features",
        "results.predictions",
    }
    kept = {record.predictions for record in records if record.task.startswith(("presence", "cvs"))}
    assert {f"results.predictions/{path.name}" for path in (output.parent / "results.predictions").iterdir()} == kept


def test_records_are_complete(everything: tuple[Path, list[ResultRecord]], data_root: Path) -> None:
    output, records = everything
    by_role = {(r.task, r.metric, r.variant, r.probe, r.model_role): r for r in records}
    for record in records:
        for role in ("majority", "random_init", "histogram"):
            floor = by_role[record.task, record.metric, record.variant, record.probe, role]
            assert getattr(record.floors, role) == floor.value
        student = by_role[record.task, record.metric, record.variant, record.probe, "student"]
        if record.paired:
            assert record.paired.difference == pytest.approx(student.value - record.value)
            assert record.paired.against_sha256 == student.backbone.weights_sha256
            assert record.paired.interval is not None
        assert record.interval is not None
        assert record.pretraining_overlap == 0
        assert not set(record.split.train_cases) & set(record.split.test_cases)
    text = output.read_text()
    assert str(data_root) not in text
    assert "/tmp" not in text


def test_a_second_run_measures_nothing(
    everything: tuple[Path, list[ResultRecord]],
    run: Run,
    teacher_folder: Path,
    corpus_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, records = everything
    before = output.read_bytes()
    monkeypatch.setattr(extraction, "decode", lambda *_: pytest.fail("frames were decoded"))
    printed = run(output, "--teachers", teacher_folder, "--corpus", corpus_folder)
    assert f"{len(records)} records are already in {output}: skipped" in printed
    assert "presence_endoscapes · frozen, knn probe" in printed
    assert output.read_bytes() == before


def test_a_broken_off_run_ends_as_an_unbroken_one(
    everything: tuple[Path, list[ResultRecord]], run: Run, teacher_folder: Path, corpus_folder: Path, tmp_path: Path
) -> None:
    output, records = everything
    lines = output.read_text().splitlines(keepends=True)
    cut = tmp_path / "results.jsonl"
    cut.write_text("".join(lines[:7]))
    run(cut, "--teachers", teacher_folder, "--corpus", corpus_folder)
    again = {record.key: record for record in read_records(cut)}
    assert set(again) == {record.key for record in records}
    for record in records:
        assert again[record.key].value == pytest.approx(record.value)
        assert again[record.key].interval == pytest.approx(record.interval)
        assert again[record.key].floors == record.floors


def test_a_teacher_added_later_is_paired_with_the_same_student(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    run(output, "--tasks", "presence_synthetic")
    alone = read_records(output)
    printed = run(output, "--tasks", "presence_synthetic", "--teachers", teacher_folder)
    added = read_records(output)[len(alone) :]
    assert [record.model_role for record in added] == ["teacher"] * 3
    student = next(record for record in alone if record.model_role == "student" and record.probe == added[0].probe)
    assert added[0].paired is not None
    assert added[0].paired.difference == pytest.approx(student.value - added[0].value)
    assert added[0].floors == student.floors
    assert "tiny-vit" in printed


def test_other_settings_are_measured_again(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    run(output, "--tasks", "cvs_endoscapes")
    first = len(read_records(output))
    run(output, "--tasks", "cvs_endoscapes", "--seeds", 1)
    run(output, "--tasks", "cvs_endoscapes", "--image-size", 32)
    assert len(read_records(output)) == 3 * first


def test_test_files_in_the_pretraining_corpus_are_loud(
    run: Run, data_root: Path, tmp_path: Path, corpus_folder: Path
) -> None:
    leaky = shutil.copytree(corpus_folder, tmp_path / "corpus")
    video = data_root / "synthetic" / "test" / "videos" / "case004.mp4"
    clips = read_clips(leaky / "manifest.parquet")
    clips[0] = dataclasses.replace(clips[0], sha256=hashlib.sha256(video.read_bytes()).hexdigest())
    write_rows(clips, CLIP_SCHEMA, leaky / "manifest.parquet")
    printed = run(tmp_path / "results.jsonl", "--tasks", "presence_synthetic", "--corpus", leaky)
    assert "WARNING: 1 test files were in the pretraining corpus" in printed
    assert all(record.pretraining_overlap == 1 for record in read_records(tmp_path / "results.jsonl"))


def test_list(data_root: Path, corpus_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list", "--data-root", str(data_root), "--corpus", str(corpus_folder)])
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("") == 1 + len(TASKS.names())
    assert all(name in "\n".join(lines) for name in TASKS.names())
    assert str(data_root / "real" / "endoscapes") in "\n".join(lines)
    main(["--list"])
    assert capsys.readouterr().out.count("not found") == len(TASKS.names())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--taks", "found"], "unrecognized arguments: --taks found"),
        (["--seeds", "x"], "argument --seeds: invalid int value: 'x'"),
        (["--tasks", "presence_sinthetic"], "unknown task 'presence_sinthetic'. Did you mean 'presence_synthetic'?"),
        (["--protocols", "frosen"], "unknown protocol 'frosen'. Did you mean 'frozen'?"),
        (["--probes", "knnn"], "unknown probe 'knnn'. Did you mean 'knn'?"),
        (["--data-root", "no/such/folder"], "data root 'no/such/folder' is not a folder"),
        (["--corpus", "no/such/corpus"], "corpus 'no/such/corpus' is not a folder"),
        (["--model", "./no/such/model"], "model folder './no/such/model' does not exist"),
        (["--teachers", "no-such-teacher"], "no-such-teacher"),
        (["--image-size", "70"], "image size 70 is not a multiple of the patch 16"),
        (["--tasks", "teacher_agreement"], "task 'teacher_agreement' needs a teacher"),
        (["--memory-limit", "0.000001"], "more than --memory-limit 1e-06"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    zen_folder: Path,
    data_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    output = tmp_path / "results.jsonl"
    usual = ["--model", str(zen_folder), "--data-root", str(data_root), "--image-size", "64", "--output", str(output)]
    with pytest.raises(SystemExit) as stopped:
        run_entry(lambda: main([*usual, *words]))
    assert stopped.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not output.exists()


def test_required_options(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--model is required"):
        main(["--output", str(tmp_path / "r")])
    with pytest.raises(UserError, match="--output is required"):
        main(["--model", "x"])


def test_no_data_at_all(zen_folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    usual = ["--model", str(zen_folder), "--output", str(tmp_path / "results.jsonl")]
    with pytest.raises(UserError, match=r"no task has its data in or up to two levels below '.*empty'; --list shows"):
        main([*usual, "--data-root", str(empty)])
    with pytest.raises(UserError, match="task 'cvs_endoscapes' needs the dataset 'endoscapes', which is not in"):
        main([*usual, "--data-root", str(empty), "--tasks", "cvs_endoscapes"])


def test_a_foreign_results_file_is_not_touched(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    output.write_text(json.dumps({"schema_version": 99}) + "\n")
    with pytest.raises(UserError, match=r"line 1 of results file .* \(schema_version is 99, not 2\)"):
        run(output)
    assert output.read_text() == json.dumps({"schema_version": 99}) + "\n"


def test_one_teacher_twice(run: Run, teacher_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two backbones of this run are called 'tiny-vit'; name each model once"):
        run(tmp_path / "results.jsonl", "--teachers", teacher_folder, teacher_folder)


def test_help_names_every_option() -> None:
    with pytest.raises(SystemExit) as stopped:
        benchmark.parse(["--help"])
    assert stopped.value.code == 0
