"""The whole way, in fresh processes: published by the command, loaded by a stranger with nothing but the libraries."""

import hashlib
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from evaluation.protocols import lora
from hub_cards.assembly import make_hub_folder
from hub_cards.publish import main, parse
from modeling_zen import ZenImageProcessor, ZenModel
from tests.hub_server import HubServer
from tests.hub_server.processes import environment
from training.errors import UserError

ROOT = Path(__file__).parents[2]
TOKEN, WRONG = "hf_" + "w" * 34, "hf_" + "x" * 34
ACCEPT = ("--accept-licence", "its owner has agreed")
PIXELS = torch.linspace(-2, 2, 3 * 32 * 32).reshape(1, 3, 32, 32)

# Several commands in one process: the imports take longer than all of them.
PUBLISHER = """
import json, sys
from training.errors import UserError

for module, arguments in json.loads(sys.argv[1]):
    entry = __import__(module, fromlist=["main"])
    print(f"== {' '.join(arguments)}")
    sys.argv[1:] = arguments
    try:
        entry.main()
    except UserError as error:
        print(f"error: {error}")
"""

READER = """
import json, sys

for own in ("modeling_zen", "training", "evaluation", "hub_cards"):
    sys.modules[own] = None
import numpy as np
import torch
from datasets import load_dataset
from huggingface_hub import hf_hub_download
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, pipeline
import evaluate

folder, first, token, wrong = sys.argv[1:]
torch.set_num_threads(1)
pixels = load_file(f"{folder}/pixels.safetensors")["pixels"]
image = Image.open(f"{folder}/image.png")
model = AutoModel.from_pretrained("org/zen", trust_remote_code=True).eval()
processor = AutoImageProcessor.from_pretrained("org/zen", trust_remote_code=True)
extract = pipeline("image-feature-extraction", model="org/zen", trust_remote_code=True)
with torch.no_grad():
    found = {"model": model(pixels).last_hidden_state, "processor": processor(image, return_tensors="pt").pixel_values}
    found["pipeline"] = torch.tensor(extract(image))
    adapted = PeftModel.from_pretrained(model, "org/lora").eval()
    found["adapter"] = adapted(pixels).last_hidden_state
save_file({name: each.contiguous() for name, each in found.items()}, f"{folder}/found.safetensors")


def tries(repository, **options):
    try:
        hf_hub_download(repository, "adapter_config.json", **options)
    except Exception as error:
        return type(error).__name__
    return "open"


facts = {
    "no token": tries("org/secret", token=False),
    "wrong token": tries("org/secret", token=wrong),
    "token": tries("org/secret", token=token),
    "no branch": tries("org/lora", revision="v9"),
    "first": hf_hub_download("org/lora", "README.md", revision=first).split("/")[-2],
    "branch": open(hf_hub_download("org/lora", "README.md", revision="v2"), encoding="utf-8").read(),
    "clips": [row["clip_id"] for row in load_dataset("org/frames", split="train", streaming=True)],
    "metric": evaluate.load("org/mean_iou").compute(
        predictions=[[[0, 1], [1, 1]]], references=[[[0, 0], [1, 255]]], num_classes=2
    )["mean_iou"],
}
print(json.dumps(facts))
"""


@dataclass(frozen=True)
class Published:
    """What the commands said and did."""

    server: HubServer
    said: list[str]  # by command
    output: str
    home: Path
    model: Path
    adapter: Path

    def files(self, repository: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        """Of a repository."""
        return self.server.repositories[kind, repository].files(revision)


def make_adapter(model: Path, folder: Path) -> None:
    """An adapter as PEFT saves it, a head beside it, and a card that names the base by its path."""
    base = ZenModel.from_pretrained(model)
    adapted = peft.get_peft_model(base, lora.lora_config(base, lora.LoraSettings(rank=2)))
    torch.manual_seed(3)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # begins as zero
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    save_file({"linear.weight": torch.zeros(2, 64)}, folder / lora.HEAD_FILE, metadata={"head": "{}"})
    terms = "license: other\nlicense_name: see-inputs\nlicense_link: https://host.example/terms"
    front = f"base_model: {model}\nlibrary_name: peft\n{terms}"
    (folder / "README.md").write_text(f"---\n{front}\n---\n\n# An adapter\n")


@pytest.fixture(scope="module")
def published(finished, tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    model, adapter = root / "demo" / "hub", root / "adapter"
    make_hub_folder(finished.run, finished.results, model)
    make_adapter(model, adapter)
    metric = ROOT / "evaluation" / "metrics" / "mean_iou"
    commands = [
        (root / "demo", "--repo-id", "org/zen", *ACCEPT),
        (root / "demo", "--repo-id", "org/zen", *ACCEPT),
        (adapter, "--repo-id", "org/lora", "--base-id", "org/zen", *ACCEPT),
        (adapter, "--repo-id", "org/lora", "--base-id", "org/zen", "--revision", "v2", *ACCEPT),
        (adapter, "--repo-id", "org/secret", "--base-id", "org/zen", "--private", *ACCEPT),
        (metric, "--repo-id", "org/mean_iou", "--dry-run"),
        (metric, "--repo-id", "org/mean_iou"),
        (adapter, "--repo-id", "org/other", "--base-id", "org/none", *ACCEPT),
    ]
    steps = [("hub_cards.publish", list(map(str, command))) for command in commands]
    steps.append(("training.corpus_publish", [str(finished.corpus), "--repo-id", "org/frames"]))
    with HubServer() as server:
        server.tokens[TOKEN] = "write"
        done = subprocess.run(
            [sys.executable, "-c", PUBLISHER, json.dumps(steps)],
            env=environment(server, root / "home", HF_TOKEN=TOKEN),
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said = re.split(r"(?m)^== .*\n", done.stdout)[1:]
        yield Published(server, said, done.stdout + done.stderr, root / "home", model, adapter)


def test_the_repository_is_the_folder(published):
    files = published.files("org/zen")
    local = {path.relative_to(published.model).as_posix(): path for path in published.model.rglob("*")}
    local = {name: path.read_bytes() for name, path in local.items() if path.is_file()}
    assert files.keys() == local.keys()
    assert {name for name in files if files[name] != local[name]} == {"README.md", "card.json"}
    assert files["README.md"].count(b'folder = "org/zen"\n') == 1
    assert re.search(r"model, loaded strictly: [\d,]+ parameters, [\d,]+ features of one image", published.said[0])
    assert re.search(r"published: http://127.0.0.1:\d+/org/zen/commit/[0-9a-f]{40}\n$", published.said[0])


def test_a_second_time_says_that_there_is_nothing_to_do(published):
    count = len(published.files("org/zen"))
    assert published.said[1] == f"nothing to do: org/zen holds exactly these {count} files\n"


def test_the_adapter_names_its_base_by_id(published):
    files = published.files("org/lora")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "org/zen"
    assert b"base_model: org/zen\n" in files["README.md"]
    assert files[lora.HEAD_FILE] == (published.adapter / lora.HEAD_FILE).read_bytes()
    assert "loaded strictly: all weights fit org/zen" in published.said[2]
    assert published.files("org/lora", "v2") == files
    assert published.server.repositories["model", "org/secret"].private
    assert "the base model 'org/none' is not on the Hub, or not open to you: publish it first" in published.said[7]
    assert ("model", "org/other") not in published.server.repositories


def test_a_dry_run_shows_files_and_card(published):
    assert re.search(r"add\s+0\.\d{3} MB  mean_iou.py\n", published.said[5])
    assert "dry run: nothing was sent; org/mean_iou does not exist yet\n\n---\ntitle: mean iou\n" in published.said[5]
    before = published.said[5].partition("dry run")[0]
    assert before == published.said[6].partition("published")[0]


def test_a_metric_is_a_space(published):
    files = published.files("org/mean_iou", kind="space")
    assert set(files) == {"README.md", "app.py", "card.json", "example.json", "mean_iou.py", "requirements.txt"}
    assert b'evaluate.load("org/mean_iou")\n' in files["README.md"]


def test_the_token_is_nowhere(published):
    assert TOKEN not in published.output
    assert any(request.token == TOKEN for request in published.server.requests)
    for path in filter(Path.is_file, published.home.rglob("*")):
        assert TOKEN.encode() not in path.read_bytes(), path
    for repository in published.server.repositories.values():
        for name, content in repository.files().items():
            assert TOKEN.encode() not in content, name


def test_a_stranger_loads_all_of_it(published, tmp_path):
    pixels = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    save_file({"pixels": PIXELS}, tmp_path / "pixels.safetensors")
    repository = published.server.repositories["model", "org/lora"]
    first = repository.branches["main"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, str(tmp_path), first, TOKEN, WRONG],
        env=environment(published.server, tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    model = ZenModel.from_pretrained(published.model).eval()
    processor = ZenImageProcessor.from_pretrained(published.model)
    prepared = processor(Image.fromarray(pixels), return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = {"model": model(PIXELS).last_hidden_state, "processor": prepared}
        expected["pipeline"] = model(prepared).last_hidden_state
        adapted = peft.PeftModel.from_pretrained(model, published.adapter).eval()
        expected["adapter"] = adapted(PIXELS).last_hidden_state
    found = load_file(tmp_path / "found.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)
    assert not torch.equal(found["adapter"], found["model"])
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (facts["no token"], facts["wrong token"]) == ("RepositoryNotFoundError", "HfHubHTTPError")
    assert (facts["token"], facts["no branch"], facts["first"]) == ("open", "RevisionNotFoundError", first)
    assert facts["branch"].endswith("# An adapter\n")
    assert facts["clips"][:3] == ["a1/0"] * 3
    assert facts["metric"] == 0.5


def test_a_publication_killed_in_the_middle_is_finished_by_the_same_command(published, tmp_path):
    weights = hashlib.sha256((published.model / "model.safetensors").read_bytes()).hexdigest()
    with HubServer() as server:
        server.tokens[TOKEN] = "write"

        def start():
            return subprocess.Popen(
                [sys.executable, "-m", "hub_cards.publish", published.model, "--repo-id", "org/zen", *ACCEPT],
                env=environment(server, tmp_path / "home", HF_TOKEN=TOKEN),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

        process = start()
        server.halfway[weights] = process.kill  # SIGKILL: no handler, no clean-up
        said, _ = process.communicate()
        assert process.returncode == -signal.SIGKILL, said
        assert server.repositories["model", "org/zen"].files() == {}
        assert weights not in server.blobs
        arrived = set(server.blobs)
        server.requests.clear()
        process = start()
        said, _ = process.communicate()
        assert process.returncode == 0, said
        assert server.repositories["model", "org/zen"].files() == published.files("org/zen")
        sent = [path.partition("?")[0].removeprefix("/blobs/") for path in server.asked("PUT")]
        assert weights in sent
        assert not arrived & set(sent)


def test_tokens_on_the_command_line_are_refused_and_not_repeated():
    with pytest.raises(UserError, match="a token does not belong on the command line") as caught:
        parse(["runs/demo", "--repo-id", "org/zen", "--token", TOKEN])
    assert TOKEN not in str(caught.value)


def test_mistakes_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match="unrecognized arguments: --tokken x; --help shows the options"):
        main(["runs/demo", "--repo-id", "org/zen", "--tokken", "x"])
    with pytest.raises(UserError, match=r"is no folder; give one made by hub_cards.card or hub_cards.adapter_card"):
        main([str(tmp_path / "none"), "--repo-id", "org/zen"])
    with pytest.raises(UserError, match="--revision '-x' is no branch"):
        main([str(tmp_path), "--repo-id", "org/zen", "--revision=-x"])
