"""A rendered case: determinism, agreement of images, masks and records, spans, depth, camera motion."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from training.corpus.synthetic import RenderedFrame, SyntheticSettings, render_case
from training.corpus.synthetic.vocabulary import CLASSES, INSTRUMENTS, PHASES, PROCEDURES, TRIPLETS
from training.errors import UserError


@pytest.fixture(scope="module")
def frames(settings: SyntheticSettings) -> list[RenderedFrame]:
    return list(render_case(settings, "train", 0))


@pytest.fixture(scope="module")
def clear() -> list[list[RenderedFrame]]:
    """Four cases, one of each procedure, without spoiled spans."""
    settings = SyntheticSettings(
        cases_train=4,
        seconds=2,
        width=128,
        height=96,
        out_of_body_cases=0,
        black_cases=0,
        frozen_cases=0,
    )
    return [list(render_case(settings, "train", index)) for index in range(4)]


def test_same_seed_gives_the_same_pixels_and_truth_in_any_order(settings, frames):
    again = render_case(settings, "train", 0)
    for index in (11, 3, 17):
        frame = again.frame(index)
        assert frame.record == frames[index].record
        for name in ("image", "semantic", "instance", "depth"):
            np.testing.assert_array_equal(getattr(frame, name), getattr(frames[index], name))


def test_threads_of_opencv_do_not_change_the_pixels(settings, frames):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1 if threads > 1 else 2)
        np.testing.assert_array_equal(render_case(settings, "train", 0).frame(5).image, frames[5].image)
    finally:
        cv2.setNumThreads(threads)


def test_seed_split_and_index_change_the_case_but_the_number_of_cases_does_not(settings, frames):
    more = replace(settings, cases_train=5)
    np.testing.assert_array_equal(render_case(more, "train", 0).frame(9).image, frames[9].image)
    for other in (
        render_case(replace(settings, seed=1), "train", 0),
        render_case(settings, "test", 0),
        render_case(more, "train", 4),
    ):
        assert (other.frame(9).image != frames[9].image).any()


def test_frames_have_the_promised_types(settings, frames):
    assert len(frames) == settings.num_frames == 18
    shape = (settings.height, settings.width)
    for index, frame in enumerate(frames):
        assert (frame.image.shape, frame.image.dtype) == ((*shape, 3), np.uint8)
        assert (frame.semantic.shape, frame.semantic.dtype) == (shape, np.uint8)
        assert (frame.instance.shape, frame.instance.dtype) == (shape, np.uint8)
        assert (frame.depth.shape, frame.depth.dtype) == (shape, np.float32)
        assert frame.record.frame_index == index
        assert frame.record.timestamp == pytest.approx(index / 6)
        assert frame.record.phase in PHASES
        assert frame.record.procedure in PROCEDURES
        assert 0 <= frame.record.smoke <= 1
        assert frame.record.annotated == (index % 3 == 0)


def test_boxes_areas_and_classes_are_those_of_the_masks(frames, clear):
    for frame in [*frames, *(frame for case in clear for frame in case)]:
        ids = set(np.unique(frame.instance)) - {0}
        assert ids == {instance.instance_id for instance in frame.record.instances}
        assert ((frame.instance == 0) == (frame.semantic == 0)).all()
        for instance in frame.record.instances:
            mask = frame.instance == instance.instance_id
            assert (frame.semantic[mask] == CLASSES.index(instance.class_name)).all()
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            assert (instance.x1, instance.y1, instance.x2, instance.y2) == (x, y, x + w, y + h)
            assert instance.area == mask.sum()


def test_tools_are_in_the_masks_and_triplets_belong_to_tools(frames, clear):
    seen = set()
    for frame in [*frames, *(frame for case in clear for frame in case)]:
        record = frame.record
        classes = {instance.class_name for instance in record.instances}
        assert set(record.tools) <= classes
        assert list(record.tools) == sorted(set(record.tools), key=INSTRUMENTS.index)
        assert {triplet.instrument for triplet in record.triplets} == set(record.tools)
        for triplet in record.triplets:
            assert (triplet.instrument, triplet.verb, triplet.target) in TRIPLETS
            seen.add(triplet.verb)
        # An instrument that fills a good part of the picture is hardly ever without its tip.
        large = {i.class_name for i in record.instances if i.class_name in INSTRUMENTS and i.area > 1200}
        assert len(large - set(record.tools)) <= 1
    assert len(seen) >= 3


def test_instances_keep_their_number_through_the_case(clear):
    for case in clear:
        names: dict[int, str] = {}
        for frame in case:
            for instance in frame.record.instances:
                assert names.setdefault(instance.instance_id, instance.class_name) == instance.class_name


def test_each_procedure_shows_its_own_structures(clear):
    own = {"gallbladder", "uterus", "kidney"}
    for case, name in zip(clear, PROCEDURES, strict=True):
        classes = {instance.class_name for frame in case for instance in frame.record.instances}
        assert case[0].record.procedure == name
        expected = {"cholecystectomy": "gallbladder", "hysterectomy": "uterus", "nephrectomy": "kidney"}.get(name)
        assert classes & own <= {expected}
        assert len(classes - set(INSTRUMENTS)) >= 4


def test_spoiled_spans_are_there_and_look_the_part(frames):
    by_visibility: dict[str, list[RenderedFrame]] = {}
    for frame in frames:
        by_visibility.setdefault(frame.record.visibility, []).append(frame)
    assert set(by_visibility) == {"surgical", "out_of_body", "black"}
    for name in ("out_of_body", "black"):
        assert len(by_visibility[name]) >= 2
        for frame in by_visibility[name]:
            record = frame.record
            assert not frame.semantic.any()
            assert not frame.depth.any()
            assert (record.tools, record.triplets, record.instances) == ((), (), ())
            assert (record.camera.dx, record.camera.zoom) == (0, 1)
    inside = frames[0].depth.shape[0] // 2
    assert max(f.image[inside].mean() for f in by_visibility["black"]) < 10
    assert min(f.image[inside].mean() for f in by_visibility["out_of_body"]) > 90


def test_frozen_frames_repeat_the_picture_and_its_truth(frames):
    frozen = [index for index, frame in enumerate(frames) if frame.record.frozen]
    assert len(frozen) >= 2
    for index in frozen:
        before, frame = frames[index - 1], frames[index]
        np.testing.assert_array_equal(frame.image, before.image)
        np.testing.assert_array_equal(frame.instance, before.instance)
        if before.record.visibility == "surgical":
            assert frame.record.tools == before.record.tools
            assert (frame.record.camera.dx, frame.record.camera.rotation) == (0, 0)


def test_depth_is_known_exactly_inside_the_field_of_view_and_instruments_are_in_front(clear):
    nearer = []
    for case in clear:
        for frame in case:
            fov = frame.record.fov
            rows, columns = np.indices(frame.depth.shape)
            inside = np.hypot(columns - fov.cx, rows - fov.cy) <= fov.radius
            assert ((frame.depth > 0) == inside).all()
            assert ((frame.semantic > 0) == inside).all()
            assert frame.depth[inside].min() > 5
            assert frame.depth.max() < 120
            tool = frame.semantic > CLASSES.index("blood")
            around = cv2.dilate(tool.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool) & ~tool & inside
            if tool.sum() > 100:
                nearer.append(np.median(frame.depth[tool]) < np.median(frame.depth[around]))
    assert len(nearer) > 10
    assert np.mean(nearer) > 0.95


def test_camera_motion_warps_one_mask_onto_the_next(clear):
    moved = 0
    for case in clear:
        for before, now in pairwise(case):
            motion = now.record.camera
            height, width = now.instance.shape
            linear = motion.zoom * np.array(
                [
                    [np.cos(motion.rotation), -np.sin(motion.rotation)],
                    [np.sin(motion.rotation), np.cos(motion.rotation)],
                ]
            )
            middle = np.array([(width - 1) / 2, (height - 1) / 2])
            matrix = np.column_stack([linear, middle + np.array([motion.dx, motion.dy]) - linear @ middle])
            warped = cv2.warpAffine(before.semantic, matrix, (width, height), flags=cv2.INTER_NEAREST)
            tissue = CLASSES.index("blood")  # blood and instruments move on their own
            both = (warped > 0) & (warped < tissue) & (now.semantic > 0) & (now.semantic < tissue)
            if both.sum() > 2000:
                assert (warped == now.semantic)[both].mean() > 0.97
                if np.hypot(motion.dx, motion.dy) > 4:
                    moved += 1
                    assert (before.semantic == now.semantic)[both].mean() < (warped == now.semantic)[both].mean()
    assert moved >= 5


def test_first_frame_has_no_motion(clear):
    for case in clear:
        camera = case[0].record.camera
        assert (camera.dx, camera.dy, camera.zoom, camera.rotation) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    ("split", "index", "message"),
    [
        ("val", 0, "unknown split 'val'.*Known: test, train"),
        ("train", 1, "case index 1 of split 'train' does not exist; it has 1 cases, counted from 0"),
        ("test", -1, "case index -1 of split 'test' does not exist"),
    ],
)
def test_a_case_that_does_not_exist_is_refused(settings, split, index, message):
    with pytest.raises(UserError, match=message):
        render_case(settings, split, index)


def test_a_frame_outside_the_clip_is_refused(settings):
    with pytest.raises(IndexError, match="frame 18 of a case of 18 frames"):
        render_case(settings, "train", 0).frame(18)
