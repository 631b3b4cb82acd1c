"""From an input video to the stored frames, circle, mask and counts of a corpus, for each way to treat an overlay."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.field_of_view import FieldOfViewSettings
from training.corpus.manifest import CURATION_FILE, MANIFEST_FILE, Clip, read_clips
from training.corpus.masks import MASKS_FILE, Masks
from training.corpus.overlay import OverlaySettings
from training.errors import UserError

HEIGHT, WIDTH = 160, 240
NAME = np.s_[26:42, 80:168]  # where the name is burned in
WHOLE = FieldOfViewSettings(enabled=False)  # so that source and stored pixels are the same


def frames_with_name(moving, seconds: float) -> list[np.ndarray]:
    """A scene that moves, in a round view, with a name burned in."""
    view = cv2.circle(np.zeros((HEIGHT, WIDTH), np.uint8), (120, 80), 100, 1, -1)[..., None]
    frames = [frame * view for frame in moving(seconds, seed=3, height=HEIGHT, width=WIDTH)]
    for frame in frames:
        cv2.putText(frame, "DOE JOHN", (80, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
    return frames


@dataclass
class Made:
    """A corpus with its first stored frame and its counts."""

    folder: Path
    clips: list[Clip]
    frame: np.ndarray
    counts: dict

    @property
    def valid(self) -> np.ndarray:
        return Masks.open(self.folder).get(self.clips[0].mask)


@pytest.fixture
def folder(moving, write_video, tmp_path):
    write_video(tmp_path / "data" / "case.mp4", frames_with_name(moving, 14))
    return tmp_path / "data"


@pytest.fixture
def make(folder, settings, tmp_path):
    """Curate with settings of the overlays; answers with what came of it."""

    def make(out: str = "out", view: FieldOfViewSettings = WHOLE, **overlay: object):
        chosen = settings(short_side=HEIGHT, field_of_view=view, overlay=OverlaySettings(**overlay))
        curate([folder], tmp_path / out, chosen)
        clips = read_clips(tmp_path / out / MANIFEST_FILE)
        counts = json.loads((tmp_path / out / CURATION_FILE).read_text())["counts"]
        frame = Corpus.open(tmp_path / out).read(clips[0], [0])[0]
        return Made(tmp_path / out, clips, frame, counts)

    return make


def strokes(made: "Made") -> float:
    """How strongly masked pixels of the name differ from each other, in gray levels from one to the next."""
    hidden = ~made.valid[NAME]
    steps = np.abs(np.diff(made.frame[NAME].max(axis=2).astype(int), axis=1))
    return float(steps[hidden[:, 1:] & hidden[:, :-1]].max())


def test_mask_leaves_the_frames_alone(make):
    corpus = make()
    clip = corpus.clips[0]
    valid = corpus.valid
    assert valid.shape == (clip.height, clip.width) == (HEIGHT, WIDTH)
    assert not valid[NAME].all()
    assert valid[60:120, 60:180].all()
    assert not valid[:10, :10].any()  # outside the circle
    assert (clip.fov_cx, clip.fov_cy, clip.fov_radius) == pytest.approx((120, 80, 100), abs=2)
    assert clip.fov_confidence > 0.9
    assert strokes(corpus) > 100
    assert {clip.mask for clip in corpus.clips} == {clip.mask}
    assert (corpus.counts["masks"], corpus.counts["overlay"]) == (1, {"found": 1})


def test_circle_and_mask_follow_the_crop(make):
    corpus = make(view=FieldOfViewSettings())
    clip = corpus.clips[0]
    assert (clip.crop_left, clip.crop_right) == pytest.approx((20, 221), abs=3)
    assert (clip.fov_cx, clip.fov_radius) == pytest.approx((120 - clip.crop_left, 100), abs=2)
    assert corpus.valid.shape == corpus.frame.shape[:2] == (clip.height, clip.width)


@pytest.mark.parametrize("action", ["black", "blur"])
def test_hidden_in_the_stored_frames(make, action):
    corpus = make(action=action)
    clean = make(out="masked")
    assert strokes(corpus) < 60  # the edge of a black region rings a little in the JPEG
    np.testing.assert_array_equal(corpus.valid, clean.valid)
    assert corpus.frame[:10, :10].max() < 10
    assert (corpus.frame[~corpus.valid].max() < 60) == (action == "black")  # JPEG rings a little at the edge


def test_off_searches_nothing_and_boxes_are_hidden_still(make):
    corpus = make(action="off", boxes=((0.25, 0.5, 0.25, 0.25),))
    valid = corpus.valid
    assert not valid[80:120, 60:120].any()
    assert valid[NAME].all()
    assert corpus.frame[84:116, 64:116].max() < 10
    assert corpus.frame[NAME].max() > 200
    assert corpus.counts["overlay"] == {"off": 1}


def test_box_is_blurred_with_action_blur(make):
    corpus = make(action="blur", boxes=((0.25, 0.5, 0.25, 0.25),))
    assert corpus.frame[84:116, 64:116].max() > 30
    assert np.abs(np.diff(corpus.frame[84:116, 64:116].astype(int), axis=1)).max() < 12


def test_boxes_hold_for_videos_of_which_nothing_else_is_known(make, moving, write_video, folder):
    write_video(folder / "case.mp4", frames_with_name(moving, 0.1))
    corpus = make(view=FieldOfViewSettings(enabled=False, circle=False), boxes=((0, 0, 1, 0.5),))
    assert corpus.frame[:76].max() < 10
    assert corpus.counts["overlay"] == {"short": 1}
    assert corpus.clips[0].fov_cx is None
    assert not corpus.valid[:80].any()


def test_all_pixels_valid_is_no_mask(make, moving, write_video, folder):
    write_video(folder / "case.mp4", moving(4, height=HEIGHT, width=WIDTH))
    corpus = make()
    assert {clip.mask for clip in corpus.clips} == {""}
    assert len(Masks.open(corpus.folder)) == corpus.counts["masks"] == 0


def test_masks_grow_with_the_corpus_and_are_written_again_when_lost(make, folder, moving, write_video):
    first = make()
    mask = first.clips[0].mask
    write_video(folder / "later.mp4", [frame[::-1] for frame in frames_with_name(moving, 12)])
    grown = make()
    masks = Masks.open(grown.folder)
    assert len(masks) == grown.counts["masks"] == 2
    assert mask in masks
    assert {clip.mask in masks for clip in grown.clips} == {True}
    before = (grown.folder / MASKS_FILE).read_bytes()
    (grown.folder / MASKS_FILE).unlink()
    make()
    assert (grown.folder / MASKS_FILE).read_bytes() == before


def test_same_input_gives_the_same_bytes(make):
    first = make(out="a", action="blur")
    second = make(out="b", action="blur")
    assert (first.folder / MASKS_FILE).read_bytes() == (second.folder / MASKS_FILE).read_bytes()
    assert (first.folder / MANIFEST_FILE).read_bytes() == (second.folder / MANIFEST_FILE).read_bytes()
    np.testing.assert_array_equal(first.frame, second.frame)


def test_the_same_boxes_may_be_given_again_and_others_are_refused(make):
    make(boxes=((0.25, 0.5, 0.25, 0.25),))
    make(boxes=((0.25, 0.5, 0.25, 0.25),))
    with pytest.raises(
        UserError, match=r"was made with other settings \(overlay.boxes=\[\[0.25, .* now\): use the same"
    ):
        make(boxes=((0.25, 0.5, 0.25, 0.5),))
