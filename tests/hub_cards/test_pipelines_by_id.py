"""Every pipeline by Hub id in fresh processes: pushed by one, loaded by one without this project and by one with it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.hub_server import HubServer
from tests.hub_server.processes import environment

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "w" * 34
NAMES = ("grasper", "hook", "clipper")

# What both sides do with a pipeline: answers as plain numbers, so that they can be compared exactly.
ASKED = """
import json, sys
import numpy as np
import torch
from PIL import Image
from transformers import AutoBackbone, pipeline

torch.set_num_threads(1)
TASKS = {  # repository -> task and what the call is told
    "encoder": ("image-feature-extraction", {}),
    "video": ("video-feature-extraction", {"fps": 5}),
    "classifier": ("image-classification", {}),
    "triplets": ("image-classification", {"top_k": 3}),
    "clips": ("video-classification", {}),
    "segmenter": ("image-segmentation", {}),
    "depth": ("depth-estimation", {}),
    "zero-shot": ("zero-shot-image-classification", {"candidate_labels": ["liver", "grasper"]}),
    "upernet": ("image-segmentation", {}),
    "mask2former": ("image-segmentation", {"subtask": "semantic"}),
    "dpt": ("depth-estimation", {}),
    "detr": ("object-detection", {"threshold": 0.0}),
}
OWN = [name for name in TASKS if name not in ("upernet", "mask2former", "dpt", "detr")]


def plain(value):
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, torch.Tensor | np.ndarray | Image.Image):
        return np.asarray(value, dtype=float).tolist()
    return value


def answer(name, where, folder, **options):
    task, told = TASKS[name]
    shown = f"{folder}/{'video.mp4' if 'video' in task else 'frame.png'}"
    made = pipeline(task, model=where, device="cpu", **options)
    return [type(made.model).__name__, plain(made(shown, **told))]
"""

PUSHING = """
from pathlib import Path
import transformers
import modeling_zen
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel, ZenVideoProcessor
from modeling_zen.head_families import HEAD_FAMILIES, head_config, head_processor, start_depth
from modeling_zen.trunk import load_trunk
from tests.modeling_zen.conftest import SMALL_HEADS, TINY
from tests.modeling_zen.text_models import make_teacher, make_tokenizer

folder, names = sys.argv[1], dict(enumerate(json.loads(sys.argv[2])))
image = ZenImageProcessor(size={"height": 64, "width": 64})
video = ZenVideoProcessor(size={"height": 64, "width": 64})
tiny = {**TINY, "num_hidden_layers": 4, "layerscale_value": 1.0}


def made(name):
    torch.manual_seed(0)
    if name in HEAD_FAMILIES:
        fields = {key: value for key, value in SMALL_HEADS[name].items() if key != "num_labels"}
        labels = {"id2label": names} if "num_labels" in SMALL_HEADS[name] else {}
        config = head_config(name, "org/encoder", **fields, **labels)  # its trunk comes from the Hub
        model = load_trunk(getattr(transformers, HEAD_FAMILIES[name].model)(config), "org/encoder")
        return start_depth(model, 60.0) if name == "dpt" else model
    if name == "zero-shot":
        make_teacher("siglip").save_pretrained(f"{folder}/text")
        make_tokenizer().save_pretrained(f"{folder}/text")
        return modeling_zen.ZenForZeroShotImageClassification.from_pretrained(
            "org/encoder", text_model=f"{folder}/text", projection_dim=20
        )
    if name == "triplets":
        return modeling_zen.ZenForActionTriplet.from_pretrained("org/encoder", **modeling_zen.CHOLECT50)
    head = {
        "encoder": ("ZenModel", {}),
        "video": ("ZenModel", {}),
        "classifier": ("ZenForImageClassification", {"id2label": names}),
        "clips": ("ZenForVideoClassification", {"id2label": names, "num_frames": 4}),
        "segmenter": ("ZenForSemanticSegmentation", {"id2label": names}),
        "depth": ("ZenForDepthEstimation", {}),
    }[name]
    return getattr(modeling_zen, head[0])(ZenConfig(**tiny, **head[1]))


for name in TASKS:
    model = made(name).eval()
    processors = [head_processor(name, "org/encoder")] if name in HEAD_FAMILIES else [image, video]
    for part in (model, *processors):
        part.push_to_hub(f"org/{name}")
        part.save_pretrained(f"{folder}/{name}")
    if name == "zero-shot":
        make_tokenizer().push_to_hub(f"org/{name}")
print(json.dumps({name: answer(name, f"{folder}/{name}", folder) for name in TASKS}))
"""

WITHOUT = """
for own in ("modeling_zen", "training", "evaluation", "hub_cards"):
    sys.modules[own] = None
found = {name: answer(name, f"org/{name}", sys.argv[1], trust_remote_code=True) for name in OWN}
unasked = {}
for name in OWN:
    try:
        answer(name, f"org/{name}", sys.argv[1], trust_remote_code=False)
    except ValueError as error:
        unasked[name] = "trust_remote_code" in str(error)
secret = {}
for told, token in (("with", sys.argv[2]), ("without", False)):
    try:
        # Into a cache of its own: what another login has brought is there for everybody who reads that cache.
        where = {"token": token, "model_kwargs": {"cache_dir": f"{sys.argv[1]}/{told}"}}
        secret[told] = answer("classifier", "org/secret", sys.argv[1], trust_remote_code=True, **where)
    except OSError as error:
        secret[told] = type(error).__name__
trunk = AutoBackbone.from_pretrained("org/encoder", trust_remote_code=True)
print(json.dumps([found, unasked, secret, list(trunk(torch.zeros(1, 3, 64, 64)).feature_maps[0].shape)]))
"""

WITH = """
import modeling_zen

print(json.dumps({name: answer(name, f"org/{name}", sys.argv[1]) for name in TASKS}))
"""


def run(server: HubServer, home: Path, script: str, *arguments: str, isolated: bool = False, **more: str) -> Any:
    """What a fresh process with an empty cache prints."""
    done = subprocess.run(
        [sys.executable, *(["-I"] if isolated else []), "-c", ASKED + script, *arguments],
        env=environment(server, home, **more),
        cwd=home.parent if isolated else ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frame and a video of twelve frames of noise that fades."""
    folder = tmp_path_factory.mktemp("media")
    frames = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    frames = (frames * np.linspace(1, 0.2, 12)[:, None, None, None]).astype(np.uint8)
    Image.fromarray(frames[0]).save(folder / "frame.png")
    writer = cv2.VideoWriter(str(folder / "video.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return folder


@pytest.fixture(scope="module")
def pushed(folder: Path) -> Iterator[tuple[HubServer, dict[str, Any]]]:
    """A Hub with a repository for each pipeline, and what the local models answer."""
    with HubServer() as server:
        server.tokens[TOKEN] = "write"
        expected = run(server, folder / "home", PUSHING, str(folder), json.dumps(NAMES), HF_TOKEN=TOKEN)
        yield server, expected


def test_a_stranger_without_the_project(pushed: tuple[HubServer, dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    server, expected = pushed
    secret = replace(server.repositories["model", "org/classifier"], name="org/secret", private=True)
    server.repositories["model", "org/secret"] = secret
    found, unasked, private, shape = run(server, tmp_path / "home", WITHOUT, str(folder), TOKEN, isolated=True)
    assert set(found) == {"encoder", "video", "classifier", "triplets", "clips", "segmenter", "depth", "zero-shot"}
    for name, answer in found.items():
        assert answer == expected[name], name
    assert unasked == dict.fromkeys(found, True)
    assert private == {"with": expected["classifier"], "without": "OSError"}
    assert shape == [1, 32, 4, 4]


def test_a_friend_with_the_project(pushed: tuple[HubServer, dict[str, Any]], folder: Path, tmp_path: Path) -> None:
    server, expected = pushed
    found = run(server, tmp_path / "home", WITH, str(folder))
    assert set(found) == set(expected)
    for name, answer in found.items():
        assert answer == expected[name], name


def test_the_answers_say_something(pushed: tuple[HubServer, dict[str, Any]]) -> None:
    """Equal answers prove nothing if all of them were empty."""
    classes = {name: answer for name, (answer, _) in pushed[1].items()}
    assert classes["clips"] == "ZenForVideoClassification"
    assert classes["dpt"] == "DPTForDepthEstimation"
    answers = {name: answer for name, (_, answer) in pushed[1].items()}
    assert np.std(answers["encoder"]) > 0.1
    assert np.shape(answers["video"]["features"]) == (6, 32)
    assert np.std(answers["video"]["features"], axis=0).min() > 0
    for name in ("classifier", "clips"):
        assert {row["label"] for row in answers[name]} == set(NAMES)
    assert [row["label"].count(",") for row in answers["triplets"]] == [2, 2, 2]
    scores = {row["label"]: row["score"] for row in answers["zero-shot"]}
    assert len(set(scores.values())) == len(scores) == 2
    for name in ("segmenter", "upernet", "mask2former"):
        assert {row["label"] for row in answers[name]} <= set(NAMES)
        assert np.shape(answers[name][0]["mask"]) == (48, 64)
    for name in ("depth", "dpt"):
        assert np.std(answers[name]["predicted_depth"]) > 0
    assert answers["detr"]
