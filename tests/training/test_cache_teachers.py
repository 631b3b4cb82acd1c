"""The command that writes a cache, and training that reads it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from training import cache_teachers, pretrain
from training.config import load_config
from training.corpus import Corpus
from training.errors import UserError
from training.loader import TrainingViews, held_out_views, training_batches
from training.objectives.distillation import DistillationObjective
from training.settings import PretrainConfig
from training.teachers import Teacher
from training.teachers.cache import estimate, reader
from training.teachers.cache.shard_file import ShardFile

# 32 training frames in groups of two, two views of each: 10 steps of four frames reach into the second view.
STEPS = 10
FORMS = ("fp16", "int8", "phi_s")
CONFIGS = Path(__file__).parents[2] / "training" / "accelerate"


class Place(NamedTuple):
    """Where the data are."""

    corpus: Path
    teachers: dict[str, Path]


@pytest.fixture(scope="module")
def place(tiny_corpus: Path, tiny_teachers: dict[str, Path]) -> Place:
    return Place(tiny_corpus, tiny_teachers)


def words(place: Place, *more: str) -> list[str]:
    return [
        f"data.corpus={place.corpus}",
        *(f"teachers.{name}.repo={folder}" for name, folder in place.teachers.items()),
        "student.size=nano",
        "student.image_size=32",
        "student.drop_path_rate=0.1",
        "distillation.head_width=16",
        "distillation.calibration_frames=32",
        # One image at a time: then what a teacher says of it does not depend on the batch it comes in, to the last bit.
        "distillation.teacher_chunk=1",
        "data.held_out_frames=4",
        "batch_size=2",
        "data.views_per_frame=2",
        f"max_steps={STEPS}",
        "log.every=5",
        "log.eval_every=10",
        "log.save_every=5",
        "log.plan=false",
        "cache.components=8",
        *more,
    ]


def run(entry: Callable[[], None], arguments: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["entry", *arguments])
        entry()


@pytest.fixture(scope="module")
def caches(place: Place, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A cache of each form; tests must leave them as they are."""
    root = tmp_path_factory.mktemp("caches")
    for form in FORMS:
        run(cache_teachers.main, words(place, f"cache.folder={root / form}", f"cache.form={form}"))
    return {form: root / form for form in FORMS}


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "cache.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "hub" / "model.safetensors")


def test_training_from_a_cache_equals_live_training_bit_for_bit(
    place: Place, caches: dict[str, Path], tmp_path: Path
) -> None:
    """Live targets of fixed views are rounded to half precision as well."""
    run(pretrain.main, words(place, f"output_dir={tmp_path / 'live'}"))
    for stop in (5, STEPS):  # interrupted and continued
        schedule = (f"max_steps={stop}", f"optimizer.schedule_steps={STEPS}")
        run(
            pretrain.main,
            words(place, f"output_dir={tmp_path / 'cached'}", f"cache.folder={caches['fp16']}", *schedule),
        )
    live, cached = weights(tmp_path / "live"), weights(tmp_path / "cached")
    assert live.keys() == cached.keys()
    assert all(torch.equal(value, cached[name]) for name, value in live.items())
    states = [
        torch.load(tmp_path / name / "checkpoints" / f"step-{STEPS:08d}" / "trainer_state.pt", weights_only=True)
        for name in ("live", "cached")
    ]
    for a, b in zip(*(torch.utils._pytree.tree_leaves(state) for state in states), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    for file in (tmp_path / "cached" / "hub").glob("*.json"):
        assert str(caches["fp16"].parent) not in file.read_text()


def opened(place: Place, *more: str) -> tuple[DistillationObjective, TrainingViews]:
    config = load_config(PretrainConfig, None, words(place, "output_dir=x", *more))
    corpus = Corpus.open(config.data.corpus)
    objective, _ = pretrain.build(config, Accelerator(), corpus)
    assert isinstance(objective, DistillationObjective)
    return objective, TrainingViews(corpus, config.data, objective.view_size(32), config.seed)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_read_is_what_was_said_with_the_rounding_of_the_form(
    form: str, place: Place, caches: dict[str, Path]
) -> None:
    live, views = opened(place)
    cached, _ = opened(place, f"cache.folder={caches[form]}")
    codecs = cached._cache._codecs[32]  # type: ignore[union-attr]
    for batch in training_batches(views, 0, 10, 3, 0, 1):
        said, read = live.targets(batch.images, 32, shared=batch.shared), cached.prepare(batch)
        for name in place.teachers:
            for tokens in ("summary", "dense"):
                codec = codecs[f"{name}/{tokens}"]
                expected = codec.decode(codec.encode(getattr(said[name], tokens)))
                assert torch.equal(getattr(read[name], tokens), expected)


def test_the_record_tells_size_and_fidelity(caches: dict[str, Path]) -> None:
    for form, folder in caches.items():
        facts = record(folder)
        assert facts["complete"]
        shards = list(folder.glob("32px/*/*.safetensors"))
        assert facts["bytes"] == sum(path.stat().st_size for path in shards)
        # 16 and 20 channels on 2 x 2 cells; 8 components of each
        dense = {"fp16": (128, 160), "int8": (64, 80), "phi_s": (64, 64)}[form]
        features = facts["features"]["32"]
        assert tuple(features[f"{name}/dense"]["bytes_per_view"] for name in ("vit", "cnn")) == dense
        assert tuple(features[f"{name}/summary"]["bytes_per_view"] for name in ("vit", "cnn")) == (32, 40)
        assert set(facts["teachers"]) == {"vit", "cnn"}
        assert facts["computed_in"] == {"vit": "float32", "cnn": "float32"}
        for name in ("vit/dense", "cnn/dense"):
            lost = 1 - features[name]["explained_variance"]
            least, most = {"fp16": (0, 1e-6), "int8": (1e-6, 2e-3), "phi_s": (1e-4, 0.5)}[form]
            assert least < lost < most, (form, name)
            assert 1 - features[name]["cosine"] < most
            assert features[name].get("energy", 1) > 0.5
    energies = [record(caches["phi_s"])["features"]["32"][f"{name}/dense"] for name in ("vit", "cnn")]
    for facts in energies:
        # Calibrated on all frames, of one of their two views: the energy is nearly the explained variance.
        assert facts["energy"] == pytest.approx(facts["explained_variance"], abs=0.05)


def copy(folder: Path, target: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            (target / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(folder)).write_bytes(path.read_bytes())
    return target


def test_the_same_command_writes_what_is_missing_or_damaged(
    place: Place, caches: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy(caches["int8"], tmp_path / "cache")
    whole = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    first, second = sorted(folder.glob("32px/*/*.safetensors"))
    second.write_bytes(second.read_bytes()[:-7])
    run(cache_teachers.main, words(place, f"cache.folder={folder}", "cache.form=int8"))
    out = capsys.readouterr().out
    assert "written anew: cache shard" in out
    assert "wrote     32 views" in out
    assert record(folder)["content_sha256"] == record(caches["int8"])["content_sha256"]
    assert first.stat().st_mtime_ns == whole[first]
    run(cache_teachers.main, words(place, f"cache.folder={folder}", "cache.form=int8"))
    assert "complete" in capsys.readouterr().out


def test_a_cache_that_is_not_complete_is_not_read(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache_teachers.CacheWriter, "_write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            run(cache_teachers.main, words(place, f"cache.folder={folder}"))
    with pytest.raises(UserError, match=r"'.*cache' is not complete: repeat the training.cache_teachers command that"):
        opened(place, f"cache.folder={folder}")
    run(cache_teachers.main, words(place, f"cache.folder={folder}"))
    opened(place, f"cache.folder={folder}")


def test_several_small_shards_and_few_of_them_open(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    run(cache_teachers.main, words(place, f"cache.folder={folder}"))
    facts = record(folder)
    facts |= {"complete": False, "rows_per_shard": {"32": 5}}
    (folder / "cache.json").write_text(json.dumps(facts))
    run(cache_teachers.main, words(place, f"cache.folder={folder}"))
    assert record(folder)["shards"] == 14  # 32 rows by 5, a group of two is not divided: 6, 4, 6, 4, 6, 4, 2; two views
    monkeypatch.setattr(reader, "OPEN_SHARDS", 2)
    cached, views = opened(place, f"cache.folder={folder}")
    live, _ = opened(place)
    for batch in training_batches(views, 0, 8, 4, 0, 1):
        read, said = cached.prepare(batch), live.targets(batch.images, 32)
        for name in place.teachers:
            assert torch.equal(read[name].dense, said[name].dense.half().float())
    assert len(cached._cache._shards) == 2  # type: ignore[union-attr]


def test_two_processes_write_the_features_of_one(place: Place, caches: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / "two_cpu.yaml")]
    command = [sys.executable, *launcher, "--main_process_port", str(port), "-m", "training.cache_teachers"]
    found = subprocess.run(
        [*command, *words(place, f"cache.folder={folder}", "num_processes=2")],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    for path in caches["fp16"].glob("32px/*/*.safetensors"):
        mine, other = ShardFile(path), ShardFile(folder / path.relative_to(caches["fp16"]))
        assert mine.digest() == other.digest()
    mine, other = (record(each)["features"]["32"] for each in (caches["fp16"], folder))
    for name, facts in mine.items():
        assert other[name] == pytest.approx(facts, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=1", "views.seed: 0 in the cache, 1 in this run"),
        ("data.views_per_frame=3", "views.views_per_frame: 2 in the cache, 3 in this run"),
        ("data.views.hue=0.1", "views.hue: 0.0 in the cache, 0.1 in this run"),
        ("teachers.vit.input_size=32", r"teachers.vit.inputs.32: \[16, 16\] in the cache, \[32, 32\] in this run"),
        ("teachers.other.repo={vit}", r"teachers.other.weights_sha256: \(absent\) in the cache, "),
        ("stages=[{from_step: 3, sizes: [64]}]", r"views.pixels.64: \(absent\) in the cache, 128 in this run"),
        ("distillation.shift=0.5", "distillation.shift moves every view anew: set it to 0, or leave cache.folder out"),
        ("data.views_per_frame=0", "cache.folder holds features of fixed views: set data.views_per_frame to their"),
    ],
)
def test_a_cache_of_other_settings_is_refused_by_name(
    change: str, message: str, place: Place, caches: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=message):
        opened(place, f"cache.folder={caches['fp16']}", change.replace("{vit}", str(place.teachers["vit"])))


def test_a_cache_of_another_preprocessing_or_corpus_is_refused(
    place: Place, caches: dict[str, Path], tmp_path: Path
) -> None:
    folder = copy(place.teachers["vit"], tmp_path / "vit")
    processor = json.loads((folder / "preprocessor_config.json").read_text())
    processor["image_mean"] = [0.5, 0.5, 0.5]
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    other = Place(place.corpus, place.teachers | {"vit": folder})
    with pytest.raises(
        UserError, match=r"teachers.vit.preprocessing_sha256: [0-9a-f]+ in the cache, [0-9a-f]+ in this"
    ):
        opened(other, f"cache.folder={caches['fp16']}")
    facts = record(caches["fp16"])
    facts["key"]["corpus"]["fingerprint"] = "00"
    changed = copy(caches["fp16"], tmp_path / "cache")
    (changed / "cache.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=r"corpus.fingerprint: 00 in the cache, [0-9a-f]{64} in this run"):
        opened(place, f"cache.folder={changed}")


def test_damage_met_in_training_is_one_sentence(place: Place, caches: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(caches["fp16"], tmp_path / "cache")
    arguments = words(place, f"output_dir={tmp_path / 'run'}", f"cache.folder={folder}")
    shards = sorted(folder.glob("32px/view0/*.safetensors"))
    shards[0].write_bytes(shards[0].read_bytes()[:500])
    with pytest.raises(UserError, match=r"cache shard '.*000000.safetensors' is damaged"):
        run(pretrain.main, arguments)
    shards[0].unlink()
    with pytest.raises(UserError, match=r"cache shard '.*000000.safetensors' is missing"):
        run(pretrain.main, arguments)
    (folder / "codecs.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"codecs.safetensors' is not what decodes this cache"):
        run(pretrain.main, arguments)


def test_a_run_does_not_go_on_with_other_targets(place: Place, caches: dict[str, Path], tmp_path: Path) -> None:
    out = f"output_dir={tmp_path / 'run'}"
    schedule = f"optimizer.schedule_steps={STEPS}"
    run(pretrain.main, words(place, out, "max_steps=2", schedule))
    with pytest.raises(
        UserError, match=r"began with another teachers.json: 0.cache_sha256: \(absent\) -> [0-9a-f]{64}"
    ):
        run(pretrain.main, words(place, out, schedule, f"cache.folder={caches['fp16']}"))


def test_a_cache_is_for_strategies_with_teachers(place: Place) -> None:
    settings = ["output_dir=x", "data.corpus=x", "strategy=mae", "cache.folder=x", "data.views_per_frame=2"]
    with pytest.raises(UserError, match=r"cache\.folder is for teachers' features, but strategy=mae asks none"):
        load_config(PretrainConfig, None, settings)


def test_teachers_rest_on_the_cpu_where_a_cache_answers_for_them(
    place: Place, caches: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []
    monkeypatch.setattr(Teacher, "to", lambda self, device: moved.append(self.spec.name))
    opened(place)
    assert moved == ["vit", "cnn"]
    cached, _ = opened(place, f"cache.folder={caches['fp16']}")
    assert moved == ["vit", "cnn"]
    lent: list[str] = []
    honest = Teacher.lent_to
    monkeypatch.setattr(Teacher, "lent_to", lambda self, device: lent.append(self.spec.name) or honest(self, device))
    cached.prepare(held_out_views(Corpus.open(place.corpus), 2, 64))
    assert lent == ["vit", "cnn"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), r"cache\.folder is not set: name the folder that the cache is to be written to"),
        (
            ("cache.folder={file}",),
            r"cache.folder '.*' is not empty and holds no cache \(no cache.json\); choose another",
        ),
        (("cache.folder={other}",), r"is not empty and holds no cache"),
        (("cache.folder={fp16}", "cache.form=int8"), r"form: fp16 in the cache, int8 in this command"),
        (("cache.folder={phi_s}", "cache.form=phi_s", "cache.components=4"), "components: 8 in the cache, 4 in this"),
        (("cache.folder={fp16}", "seed=4"), "views.seed: 0 in the cache, 4 in this command"),
        (
            ("cache.folder={new}", "cache.form=phi_s", "cache.calibration_frames=2"),
            r"cache.calibration_frames=2: vit/dense at 32 px: normalizer 'phi_s' of width 16 was calibrated on 8",
        ),
    ],
)
def test_what_cannot_be_written_is_one_sentence(
    more: tuple[str, ...], message: str, place: Place, caches: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("x")
    places = {**caches, "file": tmp_path / "file", "other": tmp_path / "other", "new": tmp_path / "new"}
    before = {form: record(folder) for form, folder in caches.items()}
    with pytest.raises(UserError, match=message):
        run(cache_teachers.main, words(place, *(word.format(**places) for word in more)))
    assert {form: record(folder) for form, folder in caches.items()} == before


def test_a_cache_that_does_not_fit_is_refused_before_a_byte_is_written(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: Usage(1000))
    message = r"the cache needs 27.1 kB \(32 frames x 2 views x 424 B\), but '.*' has 1 kB free: take cache.form=int8"
    with pytest.raises(UserError, match=message):
        run(cache_teachers.main, words(place, f"cache.folder={tmp_path / 'cache'}"))
    assert list(tmp_path.iterdir()) == []


def test_more_processes_than_shards_are_one_sentence(place: Place, caches: dict[str, Path]) -> None:
    class Many(NamedTuple):
        num_processes: int = 3

    objective, views = opened(place)
    live = cache_teachers.LiveFeatures(views, objective, {}, torch.device("cpu"))
    with pytest.raises(UserError, match="3 processes were started, but the cache has only 2 shards to write: start at"):
        cache_teachers.CacheWriter(caches["fp16"], record(caches["fp16"]), live, Many(), 4)  # type: ignore[arg-type]
