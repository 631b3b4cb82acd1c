from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import VJEPA2ForVideoClassification, VJEPA2Model

from training.errors import UserError
from training.teachers import Teacher, load_teacher

GetFolder = Callable[[str], Path]


@pytest.fixture(scope="module")
def teacher(model_folder: GetFolder) -> Teacher:
    return load_teacher(str(model_folder("vjepa2")))


def by_hand(folder: Path, teacher: Teacher, clips: torch.Tensor) -> torch.Tensor:
    """Tokens (clips, frames, 16, 32) of the plain model for clips (clips, frames, 3, 32, 32), every frame twice."""
    mean, std = (
        torch.tensor(each).view(1, 1, 3, 1, 1) for each in (teacher.preprocessing.mean, teacher.preprocessing.std)
    )
    doubled = torch.stack([(clips - mean) / std] * 2, dim=2).flatten(1, 2)
    with torch.no_grad():
        plain: Any = VJEPA2Model.from_pretrained(folder).eval()
        return plain(pixel_values_videos=doubled).last_hidden_state.unflatten(1, (clips.shape[1], 16))


@pytest.mark.parametrize("frames", [1, 3])
def test_every_frame_of_a_clip_has_its_own_grid(teacher: Teacher, model_folder: GetFolder, frames: int) -> None:
    clips = torch.rand(2, frames, 3, 32, 32)
    output = teacher(clips.flatten(0, 1), frames=frames)
    expected = by_hand(model_folder("vjepa2"), teacher, clips)
    assert output.dense is not None
    assert output.dense.shape == (2 * frames, 32, 4, 4)
    for clip in range(2):
        for frame in range(frames):
            found = output.dense[clip * frames + frame]
            # patch (r, c) is token r * 4 + c of its frame
            torch.testing.assert_close(found[:, 3, 1], expected[clip, frame, 13], rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(found[:, 0, 2], expected[clip, frame, 2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.summary, output.dense.mean(dim=(2, 3)))


def test_frames_of_one_clip_see_each_other_and_others_do_not(teacher: Teacher) -> None:
    images = torch.rand(4, 3, 32, 32)
    changed = images.clone()
    changed[1] = torch.rand(3, 32, 32)
    together, after = (teacher(each, frames=2).dense for each in (images, changed))
    assert not torch.allclose(together[0], after[0], atol=1e-4)  # the clip mate of the changed frame
    torch.testing.assert_close(together[2:], after[2:], rtol=1e-4, atol=1e-5)
    alone, alone_after = (teacher(each).dense for each in (images, changed))
    torch.testing.assert_close(alone[0], alone_after[0], rtol=1e-4, atol=1e-5)


def test_images_are_no_part_of_a_clip(teacher: Teacher) -> None:
    with pytest.raises(ValueError, match="3 images are no clips of 2 frames each"):
        teacher(torch.rand(3, 3, 32, 32), frames=2)


def test_only_the_encoder_is_kept(teacher: Teacher, model_folder: GetFolder) -> None:
    whole: Any = VJEPA2Model.from_pretrained(model_folder("vjepa2"))
    assert teacher.num_parameters == sum(part.numel() for part in whole.encoder.parameters())
    assert whole.predictor is not None


def test_a_classification_checkpoint_gives_its_encoder(
    teacher: Teacher, model_folder: GetFolder, edited_folder: Callable[..., Path]
) -> None:
    folder = edited_folder("vjepa2", "config.json", lambda _: None)
    VJEPA2ForVideoClassification.from_pretrained(model_folder("vjepa2")).save_pretrained(folder)
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_teacher(str(folder))(images, frames=2).dense, teacher(images, frames=2).dense)


def test_only_the_size_it_counts_positions_for_is_legal(teacher: Teacher) -> None:
    assert teacher.spec.tubelet_size == 2
    with pytest.raises(UserError, match="'vjepa2' takes only inputs of 32x32"):
        teacher.check_size(64)


def test_other_video_models_are_refused(model_folder: GetFolder) -> None:
    with pytest.raises(UserError, match=r"a 'videomae' model does not take a 32x32 image .*; image encoders and "):
        load_teacher(str(model_folder("videomae")))


def test_a_processor_is_needed(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("vjepa2", "video_preprocessor_config.json", None)
    with pytest.raises(UserError, match="its video processor cannot be read"):
        load_teacher(str(folder))
