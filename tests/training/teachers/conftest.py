"""Tiny random models saved as real model folders, and a Hub on the loopback interface."""

import json
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub import constants
from transformers import (
    BitImageProcessor,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTImageProcessor,
    DINOv3ViTModel,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SwinConfig,
    SwinModel,
    TimmWrapperConfig,
    TimmWrapperModel,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    VJEPA2Config,
    VJEPA2Model,
    VJEPA2VideoProcessor,
)

SIZES: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WIDER: dict[str, Any] = {**SIZES, "intermediate_size": 64}
TEXT: dict[str, Any] = {**WIDER, "vocab_size": 20, "max_position_embeddings": 4}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test of this room may reach the Hub or a cache of earlier runs."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))


def _dinov2(folder: Path) -> None:
    model = Dinov2Model(Dinov2Config(**SIZES, mlp_ratio=2, patch_size=14, image_size=56, layerscale_value=0.5))
    model.save_pretrained(folder)
    BitImageProcessor(crop_size={"height": 56, "width": 56}).save_pretrained(folder)


def _dinov3(folder: Path) -> None:
    model = DINOv3ViTModel(DINOv3ViTConfig(**WIDER, num_register_tokens=4, patch_size=16, pos_embed_rescale=2.0))
    model.save_pretrained(folder)
    DINOv3ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def _siglip(folder: Path) -> None:
    config = SiglipConfig(text_config=TEXT, vision_config={**WIDER, "image_size": 32, "patch_size": 16})
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def _siglip2(folder: Path) -> None:
    config = Siglip2Config(text_config=TEXT, vision_config={**WIDER, "num_patches": 16, "patch_size": 16})
    Siglip2Model(config).save_pretrained(folder)
    Siglip2ImageProcessor().save_pretrained(folder)


def _vit(folder: Path) -> None:
    # A classification checkpoint: a head the encoder has no place for, and no pooler.
    ViTForImageClassification(ViTConfig(**WIDER, image_size=32, patch_size=16)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def _convnext(folder: Path) -> None:
    ConvNextModel(ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])).save_pretrained(folder)
    ConvNextImageProcessor().save_pretrained(folder)


def _swin(folder: Path) -> None:
    SwinModel(SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 1], window_size=4)).save_pretrained(
        folder
    )
    ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)


def _vjepa2(folder: Path) -> None:
    predictor: dict[str, Any] = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    config = VJEPA2Config(**SIZES, mlp_ratio=2, crop_size=32, patch_size=8, frames_per_clip=4, **predictor)
    VJEPA2Model(config).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size=32).save_pretrained(folder)


def _videomae(folder: Path) -> None:
    VideoMAEModel(VideoMAEConfig(**WIDER, image_size=32, patch_size=16, num_frames=4)).save_pretrained(folder)
    VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)


def _timm(architecture: str, **model_args: Any) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        facts: dict[str, Any] = {
            "architecture": architecture,
            "num_labels": 0,
            "model_args": model_args or None,
            "pretrained_cfg": timm.create_model(architecture).pretrained_cfg,
        }
        model = TimmWrapperModel(TimmWrapperConfig(**facts))
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # untrained statistics would fold to (almost) nothing
                torch.nn.init.normal_(module.running_mean, std=0.1)
                torch.nn.init.uniform_(module.running_var, 0.5, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.normal_(module.bias, std=0.1)
        model.save_pretrained(folder)

    return save


WRITERS: dict[str, Callable[[Path], None]] = {
    "dinov2": _dinov2,
    "dinov3": _dinov3,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "vit": _vit,
    "convnext": _convnext,
    "timm-cnn": _timm("test_efficientnet"),
    "timm-vit": _timm("test_vit"),
    "timm-vit-fixed": _timm("test_vit", dynamic_img_size=False),
    "swin": _swin,
    "vjepa2": _vjepa2,
    "videomae": _videomae,
}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`model_folder(name)`: the folder of a tiny random model; shared, so do not write into it."""
    root = tmp_path_factory.mktemp("models")

    def get(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            with torch.random.fork_rng():
                torch.manual_seed(0)
                WRITERS[name](folder)
        return folder

    return get


@pytest.fixture
def edited_folder(model_folder: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """`edited_folder(name, file, change)`: a copy whose JSON `file` went through `change` (`None`: delete the file)."""

    def get(name: str, file: str, change: Callable[[dict[str, Any]], Any] | None) -> Path:
        folder = tmp_path / f"edited-{name}"
        folder.mkdir()
        for original in model_folder(name).iterdir():
            (folder / original.name).write_bytes(original.read_bytes())
        if change is None:
            (folder / file).unlink()
            return folder
        values = json.loads((folder / file).read_text())
        change(values)
        (folder / file).write_text(json.dumps(values))
        return folder

    return get


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def loopback_hub(
    model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, offline: None
) -> Iterator[list[str]]:
    """A Hub with org/dinov2 (commit `COMMIT`), org/gated and nothing else; gives the list of requests it got."""
    requests: list[str] = []
    folder = model_folder("dinov2")

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.reply()

        def do_GET(self) -> None:
            self.reply()

        def reply(self) -> None:
            requests.append(f"{self.command} {self.path}")
            parts = self.path.partition("?")[0].strip("/").split("/")
            in_api = parts[0] == "api"
            repo = "/".join(parts[2:4] if in_api else parts[:2])
            revision = parts[5] if in_api and len(parts) > 5 else parts[3] if not in_api and len(parts) > 3 else "main"
            if repo == "org/gated":
                return self.answer(403, {"X-Error-Code": "GatedRepo"})
            if repo != "org/dinov2":
                return self.answer(401, {"X-Error-Code": "RepoNotFound"})
            if revision not in ("main", COMMIT):
                return self.answer(404, {"X-Error-Code": "RevisionNotFound"})
            if in_api and "tree" in parts:
                files = [
                    {"type": "file", "path": file.name, "oid": "0" * 40, "size": file.stat().st_size}
                    for file in sorted(folder.iterdir())
                ]
                return self.answer(200, {}, json.dumps(files).encode())
            if in_api:
                names = [{"rfilename": file.name} for file in sorted(folder.iterdir())]
                return self.answer(200, {}, json.dumps({"id": repo, "sha": COMMIT, "siblings": names}).encode())
            file = folder / parts[-1]
            if not file.is_file():
                return self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
            body = file.read_bytes()
            return self.answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256(body).hexdigest()}"'}, body)

        def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    yield requests
    server.shutdown()
    server.server_close()
    thread.join()
