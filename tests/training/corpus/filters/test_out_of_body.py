"""The out-of-body filter: the rule, the runs, and a classifier in the place of the rule."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from training.corpus.filters import FilterSettings, Picture, Timeline, build_filters
from training.corpus.filters.out_of_body import OutOfBodyFilter, OutOfBodySettings, room_likeness
from training.corpus.synthetic import SyntheticSettings, render_case
from training.errors import UserError


def plain(*color: int) -> Picture:
    return Picture(np.full((64, 64, 3), color, np.uint8), 0.0)


def dropped(scores, reasons=None, **changes) -> list[int]:
    timeline = Timeline(np.arange(float(len(scores))), tuple(reasons or [""] * len(scores)))
    return np.flatnonzero(OutOfBodyFilter(OutOfBodySettings(**changes)).drops(np.array(scores), timeline)).tolist()


def test_the_rule_multiplies_its_two_signs():
    assert room_likeness(plain(180, 60, 50)) == 0  # leads in red
    assert room_likeness(plain(40, 120, 140)) == 1  # a drape
    assert room_likeness(plain(200, 200, 200)) == 1  # a wall
    half = np.full((64, 64, 3), (200, 170, 160), np.uint8)  # redness (200 - 170) / 200 = 0.15, half of 0.3
    half[:, :16] = (200, 170, 120)  # hue 19, saturation 102: tissue colors on a quarter
    assert room_likeness(Picture(half, 0.0)) == pytest.approx(0.5 * 0.75, abs=0.02)
    assert np.isnan(room_likeness(plain(5, 5, 5)))


def test_runs_start_high_go_on_low_and_last_two_seconds():
    assert dropped([0.1, 0.6, 0.8, 0.6, 0.1, 0.6, 0.6, 0.1, 0.9, 0.1]) == [1, 2, 3]


def test_what_is_gone_already_neither_ends_nor_starts_a_run():
    reasons = ["", "", "black", "", ""]
    assert dropped([0.1, 0.9, np.nan, 0.9, 0.1], reasons) == [1, 3]
    assert dropped([0.1, 0.6, 0.9, 0.6, 0.1], ["", "", "white", "", ""]) == []


def test_rendered_rooms_are_told_from_rendered_operations():
    settings = SyntheticSettings(cases_train=2, cases_test=0, seconds=6, out_of_body_cases=1.0, black_cases=0.0)
    scores = {"surgical": [], "out_of_body": []}
    for index in range(2):
        case = render_case(settings, "train", index)
        shown = [record.visibility for record in (case.frame(number).record for number in range(0, len(case), 3))]
        for number, visibility in zip(range(0, len(case), 3), shown, strict=True):
            scores[visibility].append(room_likeness(Picture(case.frame(number).image, 0.0)))
    assert len(scores["out_of_body"]) >= 2
    assert min(scores["out_of_body"]) > 0.7
    assert max(scores["surgical"]) < 0.7


def test_a_folder_that_is_no_model_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"is no model folder: it holds no config\.json"):
        OutOfBodyFilter(OutOfBodySettings(model=str(tmp_path)))


@pytest.mark.realdata
@pytest.mark.skipif("ZEN_REALDATA" not in os.environ, reason="needs ZEN_REALDATA")
def test_genuine_frames_are_kept_by_every_filter_that_looks_at_single_frames():
    paths = sorted(Path(os.environ["ZEN_REALDATA"], "endoscapes-seg50", "val", "images").glob("*.jpg"))
    pictures = []
    for path in paths:
        small = cv2.resize(cv2.imread(str(path)), (455, 256), interpolation=cv2.INTER_AREA)
        pictures.append(Picture(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), 0.0))
    assert len(pictures) == 74
    timeline = Timeline(np.zeros(74), ("",) * 74)
    counts = {
        judge.name: int(judge.drops(np.array(judge.score(pictures)), timeline).sum())
        for judge in build_filters(FilterSettings())
        if judge.name not in ("duplicate", "trim")
    }
    assert counts == {"black": 0, "white": 0, "frozen": 0, "out_of_body": 0, "screen": 0, "blur": 0}
