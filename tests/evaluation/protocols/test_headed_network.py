from pathlib import Path

import numpy as np
import torch

from evaluation.protocols.headed_network import HeadedNetwork, parameter_counts
from evaluation.protocols.pixels import Pixels

from .small_problem import SIZE, ConvolutionNetwork, PatchNetwork, make_problem, seeded


def test_a_sample_is_the_mean_over_its_frames() -> None:
    model = HeadedNetwork(seeded(PatchNetwork), 2).eval()
    frames = torch.rand(5, 3, SIZE, SIZE)
    summary, dense = model.network(frames)
    pooled = torch.cat([summary, dense.mean(dim=(2, 3))], dim=1)
    expected = model.head(torch.stack([pooled[:2].mean(dim=0), pooled[2:].mean(dim=0)]))
    assert torch.allclose(model(frames, torch.tensor([0, 0, 1, 1, 1])), expected, atol=1e-5)


def test_answers_see_all_frames_whole(tmp_path: Path) -> None:
    model = HeadedNetwork(seeded(PatchNetwork), 3)
    samples = make_problem(tmp_path, "single", frames=3).test
    with Pixels(SIZE) as pixels:
        flat = [frame for frames in samples.frames for frame in frames]
        pixels.add(flat)
        images = torch.from_numpy(pixels.read(flat)).permute(0, 3, 1, 2) / 255
        expected = model.eval()(images, torch.arange(len(samples)).repeat_interleave(3))
        answers = model.answers(samples, pixels)
    assert answers.dtype == np.float32
    assert np.allclose(answers, expected.detach().numpy(), atol=1e-5)


def test_statistics_of_batch_norms_are_those_of_the_pretraining() -> None:
    model = HeadedNetwork(seeded(ConvolutionNetwork), 2)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    frames = torch.rand(6, 3, SIZE, SIZE)
    trained = model.train()(frames, torch.arange(6))
    assert model.training
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    assert torch.equal(trained, model.eval()(frames, torch.arange(6)))


def test_values_are_learned_in_units_of_their_deviation() -> None:
    model = HeadedNetwork(seeded(PatchNetwork), 2)
    scaled = model.take_units(torch.tensor([[10.0, 7.0], [14.0, 7.0]]))
    assert scaled.tolist() == [[-1.0, 0.0], [1.0, 0.0]]
    assert model.center.tolist() == [12.0, 7.0]
    assert model.scale.tolist() == [2.0, 1.0]


def test_counts_of_parameters() -> None:
    model = HeadedNetwork(seeded(PatchNetwork), 2)
    head = 2 * 128 + 2 * 128 + 2
    network = 16 * 3 * 16 + 16 + 16 * 64 + 64
    assert parameter_counts(model) == {"trainable_parameters": head + network, "parameters": head + network}
    model.network.requires_grad_(False)
    assert parameter_counts(model) == {"trainable_parameters": head, "parameters": head + network}
