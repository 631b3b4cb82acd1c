"""The code travels with the weights: a saved folder alone, in a fresh process, gives the same numbers to the bit."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import modeling_zen
from modeling_zen import ZenImageProcessor, ZenModel, ZenVideoProcessor

SCRIPT = """
import os
import sys
sys.modules["modeling_zen"] = None  # importing the package, were it installed, is an ImportError
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor, pipeline
from transformers.dynamic_module_utils import get_class_from_dynamic_module

torch.set_num_threads(1)
folder, work = sys.argv[1:3]
wanted = load_file(work + "/wanted.safetensors")
image = Image.open(work + "/frame.png")

config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert config.hidden_size == 32 and type(model).__name__ == "ZenModel"
assert type(model).__module__.startswith("transformers_modules.")
pixels = processor(image, return_tensors="pt").pixel_values
assert torch.equal(pixels, wanted["pixel_values"])
videos = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
assert torch.equal(videos([image, image], return_tensors="pt").pixel_values_videos[0, 1], pixels[0])
assert torch.equal(model(pixels).last_hidden_state, wanted["last_hidden_state"])

extract = pipeline("image-feature-extraction", model=folder, trust_remote_code=True, device="cpu")
assert torch.equal(extract(image, return_tensors=True), wanted["last_hidden_state"])
assert torch.equal(extract(image, pool=True, return_tensors=True), wanted["pooler_output"])

heads = {name: entry for name, entry in config.auto_map.items() if name.startswith("AutoModelFor")}
assert len(heads) == 7
for name, entry in heads.items():
    head, report = getattr(transformers, name).from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True, num_labels=5
    )
    assert type(head).__name__ == entry.rsplit(".", 1)[1]
    assert report["missing_keys"] and not report["unexpected_keys"]
    trunk = {key.removeprefix("zen."): value for key, value in head.state_dict().items() if key.startswith("zen.")}
    assert trunk.keys() == model.state_dict().keys()
    assert all(torch.equal(value, trunk[key]) for key, value in model.state_dict().items())
ZenBackbone = get_class_from_dynamic_module("modeling_zen.ZenBackbone", folder)
dense = model.dense_tokens(wanted["last_hidden_state"], *pixels.shape[-2:])
assert torch.equal(ZenBackbone.from_pretrained(folder)(pixels).feature_maps[0], dense)

# What was loaded so can be saved again, whole.
head.save_pretrained(work + "/again")
of_processors = {"preprocessor_config.json", "video_preprocessor_config.json", *sys.argv[3:]}
lost = set(os.listdir(folder)) - set(os.listdir(work + "/again")) - of_processors
assert not lost, lost

try:
    AutoModel.from_pretrained(folder, trust_remote_code=True, num_register_tokens=9)
except ValueError as error:
    assert "1 of another shape: embeddings.register_tokens is (1, 3, 32), not (1, 9, 32)" in str(error), error
else:
    raise AssertionError("remote code must be as strict as the package")
try:
    AutoModel.from_pretrained(folder, trust_remote_code=False)
except ValueError as error:
    assert "trust_remote_code" in str(error), error
else:
    raise AssertionError("custom code must not run unasked")
print("equal")
"""


def test_fresh_process_without_the_package(folder: Path, model: ZenModel, tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(frame).save(tmp_path / "frame.png")
    processor = ZenImageProcessor.from_pretrained(folder)
    ZenVideoProcessor(size=dict(processor.size)).save_pretrained(folder)
    pixels = processor(frame, return_tensors="pt").pixel_values
    with torch.no_grad():
        outputs = model(pixels)
    wanted = {"pixel_values": pixels, **{k: outputs[k] for k in ("last_hidden_state", "pooler_output")}}
    save_file(wanted, tmp_path / "wanted.safetensors")

    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf_home")}
    (tmp_path / "elsewhere").mkdir()
    ZenVideoProcessor().save_pretrained(tmp_path / "processor")
    code_of_processors = list((tmp_path / "processor").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path), *sorted(path.name for path in code_of_processors)],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("equal")


def travels(file: Path) -> bool:
    """Whether a file of the package is laid beside the weights."""
    return file.stem.endswith("_zen") or file.stem.startswith("modeling_zen")


def test_the_package_needs_only_what_the_wheel_declares() -> None:
    package = Path(modeling_zen.__file__).parent
    declared = {"torch", "torchvision", "transformers", "huggingface_hub", "safetensors", "numpy", "PIL"}
    allowed = {"modeling_zen", *declared, *sys.stdlib_module_names}
    files = sorted(package.rglob("*.py"))
    assert sum(travels(file) for file in files) >= 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            foreign = [name for name in names if name.split(".")[0] not in allowed]
            assert not foreign, f"{file.name} imports {foreign}"
            if travels(file):  # such files see only their siblings, and those only by relative import
                assert not any(name.startswith("modeling_zen") for name in names), file
                if isinstance(node, ast.ImportFrom) and node.level:
                    assert node.level == 1, file
                    assert node.module, file
                    assert travels(package / f"{node.module}.py"), f"{file.name} imports {node.module}"
