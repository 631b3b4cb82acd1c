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
import sys
sys.modules["modeling_zen"] = None  # importing the package, were it installed, is an ImportError
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoVideoProcessor, pipeline

torch.set_num_threads(1)
folder, work = sys.argv[1:]
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
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path)],
        cwd=tmp_path / "elsewhere",
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("equal")


def test_the_package_needs_only_what_the_wheel_declares() -> None:
    allowed = {"torch", "transformers", "huggingface_hub", "safetensors", "modeling_zen", *sys.stdlib_module_names}
    files = sorted(Path(modeling_zen.__file__).parent.glob("*.py"))
    assert len(files) >= 4
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            foreign = [name for name in names if name.split(".")[0] not in allowed]
            assert not foreign, f"{file.name} imports {foreign}"
            # Files that travel to the Hub see only their siblings, and those only by relative import.
            assert file.name == "__init__.py" or not any(name.startswith("modeling_zen") for name in names)
