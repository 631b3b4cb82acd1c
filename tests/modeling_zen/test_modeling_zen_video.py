"""Heads for videos: of clips (padding, order, losses, pipeline) and of frames (the temporal heads have their own)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from transformers import AutoModelForVideoClassification, pipeline

from modeling_zen import (
    ZenConfig,
    ZenForVideoClassification,
    ZenForVideoFrameClassification,
    ZenModel,
    ZenPreTrainedModel,
    ZenVideoProcessor,
)
from modeling_zen.modeling_zen_video import frame_places

from .conftest import TINY

HEADS = ("convolution", "transformer")
TEMPORAL: dict[str, Any] = {
    "num_labels": 3,
    "temporal_hidden_size": 16,
    "temporal_num_layers": 2,
    "temporal_num_heads": 2,
    "temporal_window": 4,
}


def clip_model(**settings: Any) -> ZenForVideoClassification:
    torch.manual_seed(0)
    return ZenForVideoClassification(ZenConfig(**{**TINY, "num_labels": 3, **settings})).eval()


def frame_model(**settings: Any) -> ZenForVideoFrameClassification:
    torch.manual_seed(0)
    return ZenForVideoFrameClassification(ZenConfig(**{**TINY, **TEMPORAL, **settings})).eval()


def clips(batch: int = 2, frames: int = 3) -> torch.Tensor:
    return torch.randn(batch, frames, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def train_once(model: ZenPreTrainedModel, inputs: dict[str, torch.Tensor]) -> tuple[float, float]:
    """The loss before and after a step; every weight has had a gradient."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    before = model(**inputs).loss
    before.backward()
    without = [
        name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    # The last layer keeps only its summary tokens, and softmax does not see a bias of the keys.
    assert [name for name in without if "k_proj.bias" not in name] == []
    optimizer.step()
    return before.item(), model(**inputs).loss.item()


class TestClips:
    def test_shapes(self) -> None:
        model = clip_model(attn_implementation="eager")
        outputs = model(clips(), output_hidden_states=True, output_attentions=True)
        assert list(outputs) == ["logits", "hidden_states", "attentions"]
        assert outputs.logits.shape == (2, 3)
        assert [tuple(state.shape) for state in outputs.hidden_states] == [(6, 9, 32)] * 3
        assert [tuple(weights.shape) for weights in outputs.attentions] == [(6, 4, 9, 9)] * 2
        assert torch.equal(model(pixel_values_videos=clips(), return_dict=False)[0], outputs.logits)
        assert model.main_input_name == "pixel_values_videos"
        assert model.input_modalities == ("video",)

    def test_filled_up_clips_give_the_logits_of_the_real_frames(self) -> None:
        model, short, long = clip_model(), clips(1, 3), clips(1, 5)
        filled = torch.cat([torch.cat([short, torch.full((1, 2, 3, 32, 32), 7.0)], dim=1), long])
        mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
        logits = model(filled, frame_mask=mask).logits
        torch.testing.assert_close(logits, torch.cat([model(short).logits, model(long).logits]), atol=1e-6, rtol=0)

    def test_places_are_relative_to_the_clip(self) -> None:
        mask = torch.tensor([[True, True, True, True], [True, False, True, False]])
        places = frame_places(mask)
        torch.testing.assert_close(places[0], torch.tensor([1, 3, 5, 7]) / 8)
        torch.testing.assert_close(places[1, [0, 2]], torch.tensor([0.25, 0.75]))

    @pytest.mark.parametrize(
        ("settings", "labels", "kind"),
        [
            ({}, torch.tensor([0, 2]), "single_label_classification"),
            ({}, torch.tensor([[0.0, 1, 1], [1, 0, 0]]), "multi_label_classification"),
            ({"problem_type": "regression"}, torch.tensor([[0.0, 1, 5], [1, 0, 0]]), "regression"),
            ({"num_labels": 1}, torch.tensor([0.5, 3]), "regression"),
        ],
    )
    def test_losses(self, settings: dict[str, Any], labels: torch.Tensor, kind: str) -> None:
        model = clip_model(**settings)
        logits = model(clips()).logits
        losses: dict[str, Callable[..., torch.Tensor]] = {
            "single_label_classification": torch.nn.functional.cross_entropy,
            "multi_label_classification": torch.nn.functional.binary_cross_entropy_with_logits,
            "regression": torch.nn.functional.mse_loss,
        }
        expected = losses[kind](logits.squeeze(-1), labels)
        torch.testing.assert_close(model(clips(), labels=labels).loss, expected)
        assert model.config.problem_type == kind
        before, after = train_once(model, {"pixel_values_videos": clips(), "labels": labels})
        assert after < before

    def test_it_learns_what_came_first(self) -> None:
        """The frames of both classes are the same, only their order is not."""
        model = clip_model(num_labels=2, hidden_size=32, num_hidden_layers=1)
        generator = torch.Generator().manual_seed(2)
        start = torch.randint(2, (32,), generator=generator)
        red_first = (torch.arange(4) < 2).expand(32, 4) ^ start.bool()[:, None]
        colors = torch.tensor([[0.0, 0, 1], [1, 0, 0]])[red_first.long()]
        videos = colors[..., None, None].expand(-1, -1, -1, 16, 16)
        videos = videos + 0.1 * torch.randn(videos.shape, generator=generator)
        torch.testing.assert_close(colors[0].mean(0), colors[start != start[0]][0].mean(0))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(50):
            loss = model(videos[:24], labels=start[:24]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert (model(videos[24:]).logits.argmax(-1) == start[24:]).all()

    def test_the_pipeline_takes_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for index in range(12):
                picture = np.full((48, 64, 3), 20 * index, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        names = ["calot", "clip", "pack"]
        model = clip_model(num_frames=4, id2label=dict(enumerate(names)))
        model.save_pretrained(tmp_path / "zen")
        processor = ZenVideoProcessor(size={"height": 32, "width": 32})
        processor.save_pretrained(tmp_path / "zen")
        answer = pipeline("video-classification", model=str(tmp_path / "zen"))(str(path), top_k=2)
        pixels = processor(str(path), do_sample_frames=True, num_frames=4, return_tensors="pt").pixel_values_videos
        expected = model(pixels).logits.softmax(-1)[0].topk(2)
        assert pixels.shape[1] == 4
        assert [row["label"] for row in answer] == [names[int(index)] for index in expected.indices]
        assert [row["score"] for row in answer] == pytest.approx(expected.values.tolist(), abs=1e-5)

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"pixel_values_videos": clips()[0]}, r"\(batch, frames, channels, height, width\), not \(3, 3, 32, 32\)$"),
            ({"pixel_values_videos": clips(2, 0)}, r"^pixel_values_videos holds no frame: its shape is \(2, 0, 3, 32"),
            (
                {"frame_mask": torch.ones(2, 4, dtype=torch.bool)},
                r"bool of shape \(2, 3\) .*, not torch.bool of \(2, 4\)$",
            ),
            (
                {"frame_mask": torch.ones(2, 3)},
                r"bool of shape \(2, 3\) \(batch, frames\), not torch.float32 of \(2, 3\)$",
            ),
            (
                {"frame_mask": torch.tensor([[True] * 3, [False] * 3])},
                r"^frame_mask leaves no frame of clip 1 of the b",
            ),
            ({"labels": torch.tensor([0])}, r"^labels must be integers \(2\), not torch.int64 \(1,\)$"),
            ({"labels": torch.tensor([0, 3])}, r"^labels holds class 3, which is not from 0 to 2"),
            ({"labels": torch.zeros(2)}, r"^labels must be floating point \(2, 3\), not torch.float32 \(2,\)$"),
        ],
    )
    def test_refusals(self, inputs: dict[str, torch.Tensor], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            clip_model()(**{"pixel_values_videos": clips(), **inputs})


class TestFrames:
    @pytest.mark.parametrize("head", HEADS)
    def test_shapes_and_features(self, head: str) -> None:
        model = frame_model(temporal_head=head, attn_implementation="eager")
        outputs = model(clips(), output_hidden_states=True, output_attentions=True)
        assert list(outputs) == ["logits", "stage_logits", "frame_features", "hidden_states", "attentions"]
        assert outputs.stage_logits.shape == (2, 2 if head == "convolution" else 1, 3, 3)
        assert torch.equal(outputs.logits, outputs.stage_logits[:, -1])
        assert len(outputs.hidden_states) == 3
        assert outputs.attentions[0].shape[0] == 6
        features = ZenModel(model.config).eval()
        features.load_state_dict(model.zen.state_dict())
        expected = features(clips()[1]).pooler_output
        torch.testing.assert_close(outputs.frame_features[1], expected, atol=1e-6, rtol=0)
        again = model(frame_features=outputs.frame_features)
        assert list(again) == ["logits", "stage_logits", "frame_features"]
        assert torch.equal(again.logits, outputs.logits)
        assert torch.equal(model(clips(), return_dict=False)[0], outputs.logits)

    @pytest.mark.parametrize("frames_per_pass", [1, 4, 64])
    def test_stored_features_are_those_of_forward(self, frames_per_pass: int) -> None:
        model = frame_model(drop_path_rate=0.5)
        features = model.get_frame_features(clips(2, 5), frames_per_pass=frames_per_pass)
        assert not features.requires_grad
        torch.testing.assert_close(features, model(clips(2, 5)).frame_features, atol=1e-6, rtol=0)
        model.train()
        with pytest.raises(ValueError, match=r"^the encoder is in training mode, .* call model\.zen\.eval\(\) first$"):
            model.get_frame_features(clips())
        model.zen.eval()
        assert model.get_frame_features(clips(2, 5)).shape == (2, 5, 32)
        with pytest.raises(ValueError, match=r"^frames_per_pass must be at least 1, not 0$"):
            model.get_frame_features(clips(), frames_per_pass=0)

    @pytest.mark.parametrize("head", HEADS)
    def test_a_stream_of_frames_is_the_video(self, head: str) -> None:
        model, video = frame_model(temporal_head=head), clips(2, 7)
        whole = model(video)
        assert whole.temporal_state is None
        state, logits = None, []
        for frame in video.split(1, dim=1):
            outputs = model(frame, temporal_state=state, use_state=True)
            state = outputs.temporal_state
            logits.append(outputs.logits)
        torch.testing.assert_close(torch.cat(logits, dim=1), whole.logits, atol=1e-5, rtol=0)
        assert model(video, temporal_state=state).temporal_state is not None
        assert model(video, temporal_state=state, use_state=False).temporal_state is None

    @pytest.mark.parametrize("head", HEADS)
    def test_a_step_lowers_the_loss(self, head: str) -> None:
        model = frame_model(temporal_head=head)
        labels = torch.tensor([[0, 0, 1], [2, 1, -100]])
        before, after = train_once(model, {"pixel_values_videos": clips(), "labels": labels})
        assert after < before

    @pytest.mark.parametrize("head", HEADS)
    def test_several_labels_per_frame(self, head: str) -> None:
        model = frame_model(temporal_head=head, problem_type="multi_label_classification")
        labels = torch.randint(2, (2, 3, 3), generator=torch.Generator().manual_seed(0)).float()
        before, after = train_once(model, {"pixel_values_videos": clips(), "labels": labels})
        assert after < before

    @pytest.mark.parametrize("head", HEADS)
    def test_it_learns_what_came_before(self, head: str) -> None:
        """A frame shows one of two colors or, mostly, nothing; its label is the last color. Frames alone are a toss."""
        model = frame_model(num_labels=2, temporal_head=head, temporal_num_layers=3, temporal_window=8)
        model.temporal_head.eval()  # no dropout: the task is small
        generator = torch.Generator().manual_seed(3)
        shown = torch.randint(8, (64, 24), generator=generator).clamp(max=2)  # 0, 1, or mostly 2: nothing
        shown[:, 0] = torch.randint(2, (64,), generator=generator)
        since = torch.stack([torch.where(shown < 2, torch.arange(24), 0)]).cummax(dim=-1).values[0]
        labels = shown.gather(1, since)
        features = torch.randn(3, 32, generator=generator)[shown]
        near = torch.arange(24) - since <= 6  # what lies further back is beyond the window
        labels = torch.where(near, labels, -100)
        optimizer = torch.optim.AdamW(model.temporal_head.parameters(), lr=1e-2)
        for _ in range(60):
            loss = model(frame_features=features[:48], labels=labels[:48]).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        blank = (shown[48:] == 2) & near[48:]
        guesses = model(frame_features=features[48:]).logits.argmax(-1)
        alone = model(frame_features=features[48:].flatten(0, 1).unsqueeze(1)).logits.argmax(-1).view(16, 24)
        assert (guesses == labels[48:])[blank].float().mean() > 0.97
        assert (alone == labels[48:])[blank].float().mean() < 0.65

    @pytest.mark.parametrize("head", HEADS)
    def test_half_precision(self, head: str) -> None:
        model = frame_model(temporal_head=head).bfloat16()
        outputs = model(clips(), use_state=True, labels=torch.zeros(2, 3, dtype=torch.long))
        outputs = model(clips(), temporal_state=outputs.temporal_state)
        assert outputs.logits.dtype == torch.bfloat16
        assert outputs.logits.isfinite().all()

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            ({"pixel_values_videos": None}, r"^exactly one of pixel_values_videos and frame_features must be given$"),
            ({"frame_features": torch.zeros(2, 3, 32)}, r"^exactly one of pixel_values_videos and frame_features must"),
            ({"pixel_values_videos": clips()[0]}, r"channels, height, width\), not \(3, 3, 32, 32\)$"),
            ({"pixel_values_videos": clips(1, 0)}, r"^pixel_values_videos holds no frame: its shape is \(1, 0, 3"),
            (
                {"pixel_values_videos": None, "frame_features": torch.zeros(2, 32)},
                r"^frame_features must be \(batch, frames, 32\), not \(2, 32\)$",
            ),
            (
                {"pixel_values_videos": None, "frame_features": torch.zeros(2, 0, 32)},
                r"^frame_features holds no frame: its shape is \(2, 0, 32\)$",
            ),
            (
                {"labels": torch.zeros(2, 4, dtype=torch.long)},
                r"^labels must be integers \(2, 3\), not torch.int64 \(2, 4\)$",
            ),
            ({"labels": torch.zeros(2, 3, 3)}, r"^labels must be integers \(2, 3\), not torch.float32 \(2, 3, 3\)$"),
            ({"temporal_state": (1, 2)}, r"^temporal_state must be the one of an earlier output, not a tuple$"),
        ],
    )
    def test_refusals(self, inputs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            frame_model()(**{"pixel_values_videos": clips(), **inputs})

    def test_states_of_others_are_refused(self) -> None:
        state = frame_model()(clips(), use_state=True).temporal_state
        with pytest.raises(ValueError, match=r"^temporal_state holds 2 videos, but there are frames of 1$"):
            frame_model()(clips(1), temporal_state=state)
        with pytest.raises(ValueError, match=r"made by a 'convolution' head, but this model has a 'transformer' one$"):
            frame_model(temporal_head="transformer")(clips(), temporal_state=state)
        with pytest.raises(
            ValueError, match=r"made by a 'convolution' head of other sizes: per video it holds \[\(2, 16"
        ):
            frame_model(temporal_num_layers=3)(clips(), temporal_state=state)

    def test_configs_without_sense_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^problem_type 'regression' is none of ZenForVideoFrameClassification"):
            frame_model(problem_type="regression")
        with pytest.raises(
            ValueError, match=r"^temporal_hidden_size 6 must be a multiple of 2 \* temporal_num_heads \(4\)"
        ):
            frame_model(temporal_head="transformer", temporal_hidden_size=6)


@pytest.mark.parametrize(
    ("zen_class", "settings"),
    [
        (ZenForVideoClassification, {}),
        (ZenForVideoFrameClassification, {}),
        (ZenForVideoFrameClassification, {"temporal_head": "transformer"}),
    ],
)
class TestLoading:
    def test_a_head_is_put_on_an_encoder(self, zen_class: Any, settings: dict[str, Any], folder: Path) -> None:
        model, report = zen_class.from_pretrained(folder, **TEMPORAL, **settings, output_loading_info=True)
        assert not report["unexpected_keys"]
        assert set(report["missing_keys"]) == {name for name in model.state_dict() if not name.startswith("zen.")}
        encoder = ZenModel.from_pretrained(folder)
        assert all(torch.equal(value, model.zen.state_dict()[name]) for name, value in encoder.state_dict().items())
        assert all(weight.isfinite().all() for weight in model.parameters())
        assert model(clips()).logits.isfinite().all()

    def test_round_trip(self, zen_class: Any, settings: dict[str, Any], tmp_path: Path) -> None:
        torch.manual_seed(0)
        model = zen_class(ZenConfig(**TINY, **TEMPORAL, **settings)).eval()
        model.save_pretrained(tmp_path)
        for loader in (zen_class, AutoModelForVideoClassification):
            again, report = loader.from_pretrained(tmp_path, output_loading_info=True)
            assert type(again) is zen_class
            assert not report["missing_keys"]
            assert torch.equal(again(clips()).logits, model(clips()).logits)
        assert torch.equal(ZenModel.from_pretrained(tmp_path)(clips()[0])[0], model.zen(clips()[0])[0])

    def test_fresh_weights_start_the_same_on_an_encoder(
        self, zen_class: Any, settings: dict[str, Any], folder: Path
    ) -> None:
        """A head made with a model and a head made while loading an encoder have weights of the same spread."""
        loaded = zen_class.from_pretrained(folder, **TEMPORAL, **settings)
        made = zen_class(loaded.config)
        spread = {name: weight.std().item() for name, weight in made.named_parameters() if weight.numel() > 200}
        weights = dict(loaded.named_parameters())
        heads = {name: weights[name].std().item() for name in spread if not name.startswith("zen.")}
        assert len(heads) > 2
        assert heads == pytest.approx({name: spread[name] for name in heads}, rel=0.2)
