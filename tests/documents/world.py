"""The folder in which documents are run: tiny models, frames and videos under the names that the documents use."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel, ZenVideoProcessor
from modeling_zen.teacher_adaptor import FOLDER, TeacherAdaptor

from ..modeling_zen.conversion.conftest import to_original_names
from ..modeling_zen.text_models import TEXT, VISION, make_tokenizer

HEIGHT, WIDTH, RATE = 96, 128, 8
SIZE = {"height": 64, "width": 64}


def make_world(root: Path, checkout: Path) -> None:
    """Fill an empty folder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        _save_zen(root / "zen")
        _save_text_models(root)
        _save_foreign_models(root)
    generator = np.random.default_rng(0)
    Image.fromarray(_picture(generator)).save(root / "frame.png")
    for name in ("preparation", "dissection"):
        (root / "frames" / name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(_picture(generator)).save(root / "frames" / name / f"{number}.png")
    (root / "videos" / "older").mkdir(parents=True)
    for name in ("video.mp4", "videos/case1.mp4", "videos/older/case2.mp4"):
        _write_video(root / name, generator)
    (root / "training").mkdir()
    (root / "training" / "recipes").symlink_to(checkout / "training" / "recipes")


def _save_zen(folder: Path) -> None:
    config = ZenConfig(
        hidden_size=64, num_hidden_layers=4, num_attention_heads=2, image_size=SIZE["height"], layerscale_value=1.0
    )
    ZenModel(config).save_pretrained(folder)
    ZenImageProcessor(size=SIZE).save_pretrained(folder)
    ZenVideoProcessor(size=SIZE).save_pretrained(folder)
    (folder / FOLDER).mkdir()
    adaptor = TeacherAdaptor(config.hidden_size, 8, 16, {})
    weights = {f"adaptor.{name}": value for name, value in adaptor.state_dict().items()}
    save_file(weights, folder / FOLDER / "dinov2_summary.safetensors", metadata={"adaptor": json.dumps(adaptor.facts)})


def _save_text_models(root: Path) -> None:
    """Under their Hub ids: a folder of that name is preferred to the Hub. As wide as the defaults of `ZenConfig`."""
    text: dict[str, Any] = {**TEXT, "num_hidden_layers": 1}
    siglip = transformers.SiglipConfig(text_config={**text, "projection_size": 768}, vision_config=VISION)
    transformers.SiglipModel(siglip).save_pretrained(root / "google" / "siglip2-base-patch16-224")
    make_tokenizer().save_pretrained(root / "google" / "siglip2-base-patch16-224")
    bert = transformers.BertConfig(
        **{name: value for name, value in text.items() if name not in ("bos_token_id", "eos_token_id", "hidden_size")}
    )
    transformers.BertModel(bert).save_pretrained(root / "google-bert" / "bert-base-uncased")
    make_tokenizer().save_pretrained(root / "google-bert" / "bert-base-uncased")


def _save_foreign_models(root: Path) -> None:
    shape: dict[str, Any] = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "patch_size": 16,
        "image_size": 64,
    }
    folder = root / "facebook" / "dinov2-small"
    transformers.Dinov2Model(transformers.Dinov2Config(**shape)).save_pretrained(folder)
    transformers.BitImageProcessor(size={"shortest_edge": 72}, do_center_crop=True, crop_size=SIZE).save_pretrained(
        folder
    )

    config = transformers.DINOv3ViTConfig(
        **shape, intermediate_size=96, num_register_tokens=0, key_bias=True, layer_norm_eps=1e-6
    )
    weights = to_original_names(transformers.DINOv3ViTModel(config).state_dict(), dinov3=True)
    weights.pop("storage_tokens", None)
    weights["rope_embed.periods"] = (100 ** (torch.arange(8) / 8)).to(torch.bfloat16)
    torch.save(weights, root / "surgenet_dinov3_vits16.pth")

    # A published size, so that the number of heads is known.
    vit = VisionTransformer(img_size=32, embed_dim=192, depth=12, num_heads=3, mlp_ratio=1, num_classes=0)
    torch.save({"model": vit.state_dict()}, root / "endovit.pth")


def _picture(generator: np.random.Generator, shift: int = 0) -> np.ndarray:
    """Soft colors in a circle on black, as an endoscope gives them: uint8 (height, width, 3)."""
    coarse = Image.fromarray(generator.integers(60, 220, (4, 5, 3), dtype=np.uint8))
    picture = np.roll(np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)), shift, axis=1)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    inside = (rows - HEIGHT / 2) ** 2 + (columns - WIDTH / 2) ** 2 < (HEIGHT / 2) ** 2
    return np.where(inside[..., None], picture, 0).astype(np.uint8)


def _write_video(path: Path, generator: np.random.Generator, seconds: int = 4) -> None:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"g": "8"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        seed = int(generator.integers(1000))
        for number in range(seconds * RATE):
            picture = _picture(np.random.default_rng(seed), shift=2 * number)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
