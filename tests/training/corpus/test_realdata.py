"""Curation of genuine surgical frames and clips (folder in ZEN_REALDATA)."""

import os
from pathlib import Path

import pytest

from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.filters import FilterSettings
from training.corpus.filters.duplicate import DuplicateSettings
from training.corpus.manifest import read_drops
from training.corpus.settings import CurationSettings

REALDATA = os.environ.get("ZEN_REALDATA", "")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not REALDATA, reason="set ZEN_REALDATA to the folder of genuine data"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    out = tmp_path_factory.mktemp("real") / "corpus"
    source = tmp_path_factory.mktemp("real") / "data"
    for name in ("endoscapes-seg50/val", "sinus-endoscopy-sfm", "autolaparo-motion-clips"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(Path(REALDATA) / name)
    whole = FilterSettings(duplicate=DuplicateSettings(enabled=False))  # the frames of one moment look alike
    curate([source], out, CurationSettings(deidentify=False, filters=whole))
    return Corpus.open(out)


def test_masks_stay_out_and_the_official_split_is_kept(corpus):
    drops = read_drops(corpus.storage.folder / "drops.parquet")
    masks = [drop for drop in drops if drop.reason == "label_folder"]
    assert len(masks) == 74
    assert not any("masks" in clip.path for clip in corpus.manifest)
    endoscapes = [clip for clip in corpus.manifest if "endoscapes" in clip.path]
    assert len(endoscapes) == 74  # one frame per 30 s: no clip is longer than one
    assert {clip.split for clip in endoscapes} == {"held_out"}
    assert len({clip.case_id for clip in endoscapes}) == 10


def test_sinus_frames_are_cut_to_their_round_view(corpus):
    clips = [clip for clip in corpus.manifest if "sinus" in clip.path]
    assert sum(clip.num_frames for clip in clips) == 35
    assert {(clip.crop_left, clip.crop_top, clip.crop_right, clip.crop_bottom) for clip in clips} == {
        (462, 72, 1524, 1044)
    }
    assert clips[0].fps == 25.0


def test_laparoscopic_clips_are_whole(corpus):
    clips = [clip for clip in corpus.manifest if clip.path.endswith(".mp4")]
    assert [(clip.num_frames, clip.t_end, clip.crop_right, clip.height) for clip in clips] == [(10, 9.0, 1920, 256)] * 2
