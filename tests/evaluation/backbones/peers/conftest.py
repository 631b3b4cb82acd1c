"""Files in the formats of the peers from random models, and what holds for every peer that is loaded from one."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.backbones import NetworkBackbone, random_init
from evaluation.backbones.peers import load_peer
from training.errors import UserError

CPU = torch.device("cpu")
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Source = Callable[[Tensor], tuple[Tensor, Tensor]]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def randomize() -> Callable[..., Any]:
    """Every parameter and statistic becomes a number that shows when it is lost."""

    def apply(model: nn.Module, noise: float = 0.1) -> Any:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
            for name, buffer in model.named_buffers():
                if name.endswith("running_mean"):
                    buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
                if name.endswith("running_var"):
                    buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        return model.eval()

    return apply


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    """`save(content, name)`: the path of a file of torch.save."""

    def write(content: Any, name: str = "weights.pth") -> str:
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def check_features() -> Callable[..., NetworkBackbone]:
    """Features are those of the source, for frames of another size, under preprocessing written out here."""

    def check(
        name: str,
        file: str,
        source: Source,
        *,
        size: int,
        mode: str,
        mean: tuple[float, ...] = IMAGENET[0],
        std: tuple[float, ...] = IMAGENET[1],
        bgr: bool = False,
    ) -> NetworkBackbone:
        backbone = load_peer(name, file, CPU)
        backbone.check_size(50)
        images = np.random.default_rng(0).integers(0, 256, (1, 50, 50, 3), dtype=np.uint8)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        pixels = F.interpolate(pixels, size=(size, size), mode=mode, antialias=True).clamp(0, 1)
        pixels = pixels[:, [2, 1, 0]] if bgr else pixels
        pixels = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        with torch.no_grad():
            wanted = source(pixels)
        features = backbone.extract(images)
        for got, want in zip((features.summary, features.dense), wanted, strict=True):
            scale = float(want.abs().max())
            assert want.std() > 0.01 * scale  # not all the same
            assert got == pytest.approx(want.numpy(), abs=1e-5 * max(scale, 1))
        assert features.summary.shape == (1, backbone.summary_width)
        assert features.dense.shape[:2] == (1, backbone.dense_width)
        assert (backbone.name, backbone.role) == (name, "peer")
        assert backbone.identity.id == Path(file).name
        return backbone

    return check


@pytest.fixture
def check_training() -> Callable[[NetworkBackbone], None]:
    """A copy trains and the original stays; a random init has the same shapes and other weights."""

    def check(backbone: NetworkBackbone) -> None:
        images = np.random.default_rng(1).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        before = backbone.extract(images)
        network = copy.deepcopy(backbone.network).train()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        tokens = network(pixels)
        (tokens.summary.square().mean() + tokens.dense.square().mean()).backward()
        without = [name for name, value in network.named_parameters() if value.grad is None]
        assert [name for name in without if "mask_token" not in name] == []
        optimizer.step()
        assert np.array_equal(backbone.extract(images).dense, before.dense)
        with torch.no_grad():
            assert np.abs(network.eval()(pixels).dense.numpy() - before.dense).max() > 1e-6
        floor = random_init(backbone, 0, CPU)
        assert floor.identity.weights_sha256 != backbone.identity.weights_sha256
        assert floor.identity.preprocessing_sha256 == backbone.identity.preprocessing_sha256
        shapes = {key: value.shape for key, value in backbone.network.model.state_dict().items()}
        assert {key: value.shape for key, value in floor.network.model.state_dict().items()} == shapes

    return check


@pytest.fixture
def check_refusals(save: Callable[..., str]) -> Callable[..., None]:
    """A missing, an unknown and a misshaped key are refused by name."""

    def check(name: str, write: Callable[[Mapping[str, Tensor]], Any], weights: Mapping[str, Tensor], key: str) -> None:
        without = {other: tensor for other, tensor in weights.items() if other != key}
        with pytest.raises(UserError, match=rf"peer '{name}': .*1 missing: "):
            load_peer(name, save(write(without)), CPU)
        with pytest.raises(UserError, match=rf"peer '{name}': .*1 unknown: .*surplus"):
            load_peer(name, save(write({**weights, "surplus": torch.ones(1)})), CPU)
        with pytest.raises(UserError, match=rf"peer '{name}': .*1 of another shape: .*is \(3, 5\)"):
            load_peer(name, save(write({**weights, key: torch.ones(3, 5)})), CPU)

    return check


@pytest.fixture
def below() -> Callable[[str, Mapping[str, Tensor]], dict[str, Tensor]]:
    """`below(prefix, weights)`: the weights with a prefix before each key."""
    return lambda prefix, weights: {f"{prefix}{key}": tensor for key, tensor in weights.items()}
