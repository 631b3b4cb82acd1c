"""Which models may stream together, and an exported encoder among them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeling_zen import (
    ZenBackbone,
    ZenForImageClassification,
    ZenForVideoFrameClassification,
    ZenImageProcessor,
    ZenModel,
)
from modeling_zen.export import ZenExportedModel
from modeling_zen.export.exporter import weights_sha256
from modeling_zen.export.graph import for_export
from modeling_zen.streaming import ZenStream
from modeling_zen.streaming.loading import load_encoder
from modeling_zen.streaming.recognizer import FrameRecognizer

from .streaming_frames import offline, small_config, striped_frames, with_trunk


def exported(model: ZenModel, size: int) -> ZenExportedModel:
    """Runs the model itself where an exported one runs its graph."""

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            outputs = model(torch.from_numpy(pixels))
        return outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy()

    facts = {"input": {"height": size, "width": size}, "source_weights_sha256": weights_sha256(for_export(model))}
    return ZenExportedModel(model.config, facts, run)


def test_an_exported_encoder_streams_as_the_model_does(
    model: ZenModel,
    processor: ZenImageProcessor,
    phase_head: ZenForVideoFrameClassification,
    presence_head: ZenForImageClassification,
) -> None:
    frames = torch.from_numpy(np.stack(striped_frames(5)))
    heads: dict[str, Any] = {"phase_head": phase_head, "presence_head": presence_head}
    with ZenStream(frames, exported(model, 64), processor=processor, **heads) as stream:
        results = list(stream)
    embeddings, phases, presence = offline(frames, model, processor, phase_head, presence_head)
    for result, *right in zip(results, embeddings, phases, presence, strict=True):
        found = (result.embedding, result.phase_probabilities, result.presence_probabilities)
        for each, wanted in zip(found, right, strict=True):
            torch.testing.assert_close(each, wanted, atol=1e-5, rtol=0)


def test_heads_of_another_trunk_are_refused(
    model: ZenModel,
    processor: ZenImageProcessor,
    phase_head: ZenForVideoFrameClassification,
    presence_head: ZenForImageClassification,
) -> None:
    with torch.no_grad():
        model.get_parameter("layers.0.norm1.weight")[0] += 1e-3
    message = "_head was trained on another encoder: 1 of its trunk's weights differ, such as layers.0.norm1.weight"
    with pytest.raises(ValueError, match=f"phase{message}"):
        FrameRecognizer(model, processor, phase_head, None)
    with pytest.raises(ValueError, match=f"presence{message}"):
        FrameRecognizer(model, processor, None, presence_head)
    with pytest.raises(ValueError, match="phase_head was trained on another encoder than the exported one"):
        FrameRecognizer(exported(model, 64), processor, phase_head, None)
    phase_head.zen = model
    FrameRecognizer(model, processor, phase_head, None)


def test_an_encoder_of_the_same_weights_but_another_function_is_refused(
    model: ZenModel, processor: ZenImageProcessor, phase_head: ZenForVideoFrameClassification
) -> None:
    phase_head.config.rope_theta = 7.0
    message = "phase_head was trained on another encoder: rope_theta is 7.0 there and .* here; give the encoder of the"
    for encoder in (model, exported(model, 64)):
        with pytest.raises(ValueError, match=message):
            FrameRecognizer(encoder, processor, phase_head, None)


def test_an_encoder_of_lower_precision_serves_the_heads(
    model: ZenModel,
    processor: ZenImageProcessor,
    phase_head: ZenForVideoFrameClassification,
    presence_head: ZenForImageClassification,
) -> None:
    heads: dict[str, Any] = {"phase_head": phase_head, "presence_head": presence_head}
    frames = torch.from_numpy(np.stack(striped_frames(3)))
    wanted = offline(frames, model, processor, phase_head, presence_head)
    with ZenStream(frames, model.bfloat16(), processor=processor, **heads) as stream:
        for result, *right in zip(stream, *wanted, strict=True):
            found = (result.embedding, result.phase_probabilities, result.presence_probabilities)
            for each, exact in zip(found, right, strict=True):
                assert each is not None
                assert each.dtype == torch.float32
                torch.testing.assert_close(each, exact, atol=0.1, rtol=0.1)


def test_models_of_another_kind_are_refused(
    model: ZenModel,
    processor: ZenImageProcessor,
    phase_head: ZenForVideoFrameClassification,
    presence_head: ZenForImageClassification,
) -> None:
    single = with_trunk(ZenForImageClassification(small_config(model, num_labels=3)), model)
    several: Any = small_config(model, num_labels=3, problem_type="multi_label_classification")
    for arguments, message in [
        ((phase_head, processor, None, None), "encoder must be a ZenModel or a ZenExportedModel, not a ZenForVideoF"),
        ((ZenBackbone(model.config).eval(), processor, None, None), "encoder must be a ZenModel .* not a ZenBackbone"),
        (
            (model, processor, model, None),
            "phase_head must be a ZenForVideoFrameClassification; a ZenModel has no",
        ),
        ((model, processor, presence_head, None), "a ZenForImageClassification has no temporal head"),
        ((model, processor, None, model), "presence_head must be a ZenForImageClassification or a .* not a ZenModel"),
        (
            (model, processor, None, single),
            "presence_head must have problem_type 'multi_label_classification', not N",
        ),
        ((model, processor, None, phase_head), "presence_head must have problem_type"),
        (
            (model, processor, with_trunk(ZenForVideoFrameClassification(several), model), None),
            "phase_head has several labels per frame .* give it as the presence head",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            FrameRecognizer(*arguments)


def test_training_mode_is_refused(
    model: ZenModel, processor: ZenImageProcessor, phase_head: ZenForVideoFrameClassification
) -> None:
    with pytest.raises(ValueError, match=r"phase_head is in training mode.* call phase_head\.eval\(\) first"):
        FrameRecognizer(model, processor, phase_head.train(), None)
    with pytest.raises(ValueError, match="encoder is in training mode"):
        FrameRecognizer(model.train(), processor, None, None)


def test_sizes_are_checked_before_a_source_is_opened(model: ZenModel) -> None:
    odd = ZenImageProcessor(size={"height": 64, "width": 72})
    with pytest.raises(ValueError, match=r"64 x 72 pixels .* does not divide into patches of 16"):
        ZenStream("nothing.mp4", model, processor=odd)
    wide = ZenImageProcessor(size={"height": 64, "width": 80})
    with pytest.raises(ValueError, match=r"images of 64 x 80 pixels .* but the encoder was exported for 64 x 64"):
        ZenStream("nothing.mp4", exported(model, 64), processor=wide)


def test_streaming_leaves_models_and_results_usable(model: ZenModel, processor: ZenImageProcessor) -> None:
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with ZenStream(striped_frames(2), model, processor=processor) as stream:
        embedding = next(stream).embedding
    assert not embedding.requires_grad
    (embedding * torch.ones(len(embedding), requires_grad=True)).sum().backward()  # no inference tensor
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert torch.is_grad_enabled()


def test_a_low_frame_is_not_taken_for_one_of_other_channels(model: ZenModel, processor: ZenImageProcessor) -> None:
    pixels = torch.randint(0, 256, (3, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recognizer = FrameRecognizer(model, processor, None, None)
    right = processor(images=pixels.permute(2, 0, 1), input_data_format="channels_first", return_tensors="pt")
    assert torch.equal(recognizer.preprocess(pixels), right.pixel_values)


def test_folder_of_an_exported_model_is_read_by_its_runtime(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(ValueError, match="cannot be read as the facts of an exported model"):
        load_encoder(tmp_path)
