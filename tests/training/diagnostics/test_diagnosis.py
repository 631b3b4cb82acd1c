import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from training import diagnose as entry
from training import pretrain
from training.errors import UserError
from training.teachers.checkpoint import hash_weights

# With these scales the frames are as large as the run's own held-out views, and so the same pixels.
SMALL = ["frames=24", "probe_frames=24", "warp_frames=8", "resamples=20", "scales=[0.5]", "pictures=2", "neighbors=3"]
MEASURES = {
    *("rank_me", "effective_rank", "stable_rank", "alpha_req", "lidar", "cka", "mutual_knn", "pck"),
    *("cycle_consistency", "positional_leak", "outlier_tokens", "resolution_consistency", "temporal_retrieval"),
    *("same_video_retrieval", "drift", "alignment", "uniformity"),
}
AGREEMENT = {"explained_variance", "centered_cosine", "loss", "head_minus_probe", "frozen_target_loss"}


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["diagnose", *map(str, words)])
    entry.main()


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))


def find(record: dict[str, Any], measure: str, model: str, **facts: str) -> dict[str, Any]:
    found = [
        row
        for row in record["measures"]
        if (row["measure"], row["model"]) == (measure, model) and facts.items() <= row.items()
    ]
    assert len(found) == 1, found
    return found[0]


@pytest.fixture(scope="module")
def made(tiny_run: Path, videos_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "report"
    with pytest.MonkeyPatch.context() as patch:
        run(patch, tiny_run, *SMALL, "--corpus", videos_corpus, "--output", out)
    return out


def test_leaves_exactly_the_two_files_without_a_path_of_this_machine(made: Path, tiny_run: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == ["diagnosis.html", "diagnosis.json"]
    for file in made.iterdir():
        text = file.read_text(encoding="utf-8")
        assert str(tiny_run.parent) not in text
        assert "/tmp/" not in text
    page = (made / "diagnosis.html").read_text(encoding="utf-8")
    assert page.count("<img") == 1
    for foreign in ('src="http', "<script", "url(http", "@import"):
        assert foreign not in page


def exported_weights(run_folder: Path) -> str:
    return hash_weights(load_file(run_folder / "hub" / "model.safetensors"))


def test_record_says_what_was_measured_on_what(made: Path, tiny_run: Path) -> None:
    record = read(made)
    assert record["checkpoint"].pop("weights_sha256") == exported_weights(tiny_run)
    assert record["schema_version"] == 1
    assert record["checkpoint"] == {
        "name": "tiny/step-00000004", "step": 4, "weights": "last step", "trained_heads": True
    }  # fmt: skip
    assert record["corpus"]["trained_on_it"] is True
    assert record["frames"] == {
        "held_out": 24, "videos": 3, "clips": 3, "with_time_line": 24, "warped": 8, "probe": 24, "probe_videos": 3
    }  # fmt: skip
    assert [model["name"] for model in record["models"]] == ["student", "random init", "vit", "cnn", "color histogram"]
    assert record["models"][2]["identity"]["weights_sha256"]
    assert record["seconds"] > 0
    assert record["settings"]["resamples"] == 20


def test_every_model_has_every_measure_with_an_interval_or_a_reason(made: Path) -> None:
    record = read(made)
    for model in ("student", "random init", "vit", "cnn", "color histogram"):
        own = [row for row in record["measures"] if row["model"] == model]
        assert {row["measure"] for row in own} >= MEASURES
        for row in own:
            if row["value"] is None:
                assert row["note"]
            else:
                # A single value cannot lie outside of what it was resampled from by more than rounding.
                assert "low" in row, row
                assert row["low"] <= row["high"]
    student = {row["measure"] for row in record["measures"] if row["model"] == "student"}
    assert student == MEASURES | AGREEMENT


def test_agreement_through_the_heads_is_that_of_the_run(made: Path, tiny_run: Path) -> None:
    record, logged = read(made), json.loads((tiny_run / "run.json").read_text())["held_out"]
    assert len(logged) == 4
    for row in logged:
        facts = {"teacher": row["teacher"], "tokens": row["tokens"], "variant": "trained head"}
        assert find(record, "explained_variance", "student", **facts)["value"] == pytest.approx(
            row["explained_variance"], abs=1e-5
        )
        assert find(record, "centered_cosine", "student", **facts)["value"] == pytest.approx(row["cosine"], abs=1e-5)
        assert find(record, "loss", "student", **facts)["value"] == pytest.approx(row["loss"], abs=1e-5)
        del facts["variant"]
        floor = find(record, "loss", "the constant predictor", **facts)["value"]
        assert floor == pytest.approx(row["constant_loss"], abs=1e-5)
    total = sum(row["loss"] for row in logged)  # all weights are 1
    assert find(record, "frozen_target_loss", "student")["value"] == pytest.approx(total, abs=1e-4)


def test_gap_is_head_minus_probe_and_a_teacher_is_not_probed_for_itself(made: Path) -> None:
    record = read(made)
    facts = {"teacher": "vit", "tokens": "dense"}
    head, probe = (
        find(record, "explained_variance", "student", variant=variant, **facts)["value"]
        for variant in ("trained head", "ridge probe")
    )
    assert find(record, "head_minus_probe", "student", **facts)["value"] == pytest.approx(head - probe)
    assert not [r for r in record["measures"] if r["measure"] == "explained_variance" and r["model"] == r["teacher"]]


def test_same_checkpoint_same_figures(made: Path, tiny_run: Path, videos_corpus: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        checkpoint = tiny_run / "checkpoints" / "step-00000004"
        run(patch, checkpoint, *SMALL, "--corpus", videos_corpus, "--output", tmp_path / "again")
    first, again = read(made), read(tmp_path / "again")
    for record in (first, again):
        del record["seconds"]
    assert first == again


def test_a_plain_model_with_named_teachers_has_probes_but_no_heads(
    tiny_run: Path, videos_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = f"teachers.vit.repo={tiny_teachers['vit']}"
    run(monkeypatch, tiny_run / "hub", *SMALL, teacher, "--corpus", videos_corpus, "--output", tmp_path / "out")
    record = read(tmp_path / "out")
    assert record["checkpoint"].pop("weights_sha256") == exported_weights(tiny_run)
    assert record["checkpoint"] == {
        "name": "tiny/hub", "step": None, "weights": "last step", "trained_heads": False
    }  # fmt: skip
    assert record["corpus"]["trained_on_it"] is None
    assert record["settings"]["teachers"]["vit"]["repo"] == "vit"
    variants = {row["variant"] for row in record["measures"] if row["measure"] == "explained_variance"}
    assert variants == {"ridge probe"}
    assert not {"loss", "head_minus_probe", "frozen_target_loss"} & {row["measure"] for row in record["measures"]}


def test_without_teachers_the_rest_is_measured(
    tiny_run: Path, videos_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "out"
    run(monkeypatch, tiny_run, *SMALL, "--no-teachers", "--corpus", videos_corpus, "--output", out)
    record = read(out)
    assert [model["name"] for model in record["models"]] == ["student", "random init", "color histogram"]
    student = {row["measure"] for row in record["measures"] if row["model"] == "student"}
    assert student == MEASURES - {"cka", "mutual_knn"}
    assert "Measured without teachers." in (out / "diagnosis.html").read_text(encoding="utf-8")
    assert f"diagnosis: {out / 'diagnosis.html'}" in capsys.readouterr().out


def test_a_run_of_a_strategy_without_teachers(
    videos_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["strategy=mae", "student.size=nano", "student.image_size=32", "data.held_out_frames=4", "batch_size=2"]
    where = [f"data.corpus={videos_corpus}", f"output_dir={tmp_path / 'mae'}"]
    monkeypatch.setattr(sys, "argv", ["pretrain", *words, *where, "data.frames_per_clip=1", "max_steps=1"])
    pretrain.main()
    teacher = f"teachers.vit.repo={tiny_teachers['vit']}"
    run(monkeypatch, tmp_path / "mae", *SMALL, teacher, "--corpus", videos_corpus, "--output", tmp_path / "out")
    record = read(tmp_path / "out")
    assert record["checkpoint"]["name"] == "mae/step-00000001"
    assert record["checkpoint"]["trained_heads"] is False
    assert record["corpus"]["trained_on_it"] is True
    assert find(record, "explained_variance", "student", tokens="dense")["variant"] == "ridge probe"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], r"checkpoint '.*nowhere' does not exist"),
        (["a", "b"], r"give one checkpoint: a run folder, one of its checkpoints"),
        (["run", "teachers.other.repo=x"], r"teachers.other did not teach this run; its teachers are cnn, vit"),
        (
            ["run", "teachers.vit.repo=/gone"],
            r"teachers of 'tiny/step-00000004' cannot be loaded: vit \(teacher folder",
        ),
        (["run", "frames=3"], r"frames must be at least 8, got 3"),
        (["run", "scales=[]"], r"scales needs numbers above 0, got \[\]"),
        (["run", "resamples=0"], r"resamples must be at least 1, got 0"),
        (["run", "tau_seconds=0"], r"tau_seconds must be above 0 and pictures not negative"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], message: str, tiny_run: Path, videos_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(tiny_run) if word == "run" else word for word in words]
    with pytest.raises(UserError, match=message):
        run(monkeypatch, *words, "--corpus", videos_corpus, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_holds_something_else_is_refused(
    tiny_run: Path, videos_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(UserError, match=r"output '.*file' is a file: name a folder"):
        run(monkeypatch, tiny_run, "--corpus", videos_corpus, "--output", file)
    (tmp_path / "diagnosis.json").write_text("{}")
    with pytest.raises(UserError, match=r"diagnosis.json' exists and is no diagnosis: choose another folder"):
        run(monkeypatch, tiny_run, "--corpus", videos_corpus, "--output", tmp_path)
    (tmp_path / "diagnosis.html").write_text("<p>mine</p>")
    with pytest.raises(UserError, match="exists and is no report of this command"):
        run(monkeypatch, tiny_run, "--corpus", videos_corpus, "--output", tmp_path)


def test_held_out_videos_are_needed(
    tiny_run: Path, write_corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = write_corpus(tmp_path / "none", [{"num_frames": 4}])
    one = write_corpus(tmp_path / "one", [{"num_frames": 4}, {"num_frames": 4, "split": "held_out"}])
    for corpus, message in (
        (none, r"corpus 'none' has no held-out video: curate at least two cases"),
        (one, r"corpus 'one' holds out a single video, but intervals are drawn over at least 2"),
    ):
        with pytest.raises(UserError, match=message):
            run(monkeypatch, tiny_run, "--no-teachers", "--corpus", corpus, "--output", tmp_path / "out")


def test_another_corpus_is_said_on_the_page(
    tiny_run: Path, videos_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    facts = json.loads((copy / "corpus.json").read_text())
    (copy / "corpus.json").write_text(json.dumps(facts | {"fingerprint": "other"}))
    run(monkeypatch, copy, *SMALL, "--no-teachers", "--corpus", videos_corpus, "--output", tmp_path / "out")
    assert read(tmp_path / "out")["corpus"]["trained_on_it"] is False
    assert "This is another corpus than the one of the run" in (tmp_path / "out" / "diagnosis.html").read_text()
