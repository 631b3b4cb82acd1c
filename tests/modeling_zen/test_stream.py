"""The command that streams: JSONL rows, the report last, one sentence for every mistake."""

import json
import signal
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from modeling_zen import (
    ZenForImageClassification,
    ZenForSemanticSegmentation,
    ZenForVideoFrameClassification,
    ZenImageProcessor,
    ZenModel,
)
from modeling_zen.stream import main
from modeling_zen.streaming import ZenStream

from .streaming.streaming_frames import MULTI_LABEL, small_config, striped_frames, with_trunk

FRAMES = 6


@pytest.fixture
def video(tmp_path: Path) -> str:
    with av.open(str(tmp_path / "video.mp4"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in striped_frames(FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return str(tmp_path / "video.mp4")


@pytest.fixture
def phases(model: ZenModel, tmp_path: Path) -> Path:
    config = small_config(model, id2label=dict(enumerate(["preparation", "dissection", "closure"])))
    with_trunk(ZenForVideoFrameClassification(config), model).save_pretrained(tmp_path / "phases")
    ZenImageProcessor(size={"height": 64, "width": 64}).save_pretrained(tmp_path / "phases")
    return tmp_path / "phases"


@pytest.fixture
def tools(model: ZenModel, tmp_path: Path) -> Path:
    config = small_config(model, id2label={0: "grasper", 1: "hook"}, problem_type=MULTI_LABEL)
    with_trunk(ZenForImageClassification(config), model).save_pretrained(tmp_path / "tools")
    return tmp_path / "tools"


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_rows_and_report(
    folder: Path, phases: Path, tools: Path, video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.jsonl"
    heads = ["--head", str(phases), "--head", str(tools)]
    main([str(folder), video, *heads, "--output", str(out), "--embedding"])
    assert capsys.readouterr().out == ""
    *rows, last = rows_of(out.read_text())
    keys = {"frame", "timestamp", "latency_ms", "state", "dropped_before", "segment", "phase", "presence", "embedding"}
    assert all(row.keys() == keys for row in rows)
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    with ZenStream(
        video,
        ZenModel.from_pretrained(folder),
        processor=ZenImageProcessor.from_pretrained(folder),
        phase_head=ZenForVideoFrameClassification.from_pretrained(phases),
        presence_head=ZenForImageClassification.from_pretrained(tools),
    ) as stream:
        for row, result in zip(rows, stream, strict=True):
            assert result.phase_probabilities is not None
            assert result.presence_probabilities is not None
            assert list(row["phase"]["probabilities"]) == ["preparation", "dissection", "closure"]
            found = list(row["phase"]["probabilities"].values())
            assert found == pytest.approx(result.phase_probabilities.tolist(), abs=1e-5)
            assert row["phase"]["probability"] == max(found) == row["phase"]["probabilities"][row["phase"]["name"]]
            assert list(row["presence"]) == ["grasper", "hook"]
            assert list(row["presence"].values()) == pytest.approx(result.presence_probabilities.tolist(), abs=1e-5)
            torch.testing.assert_close(torch.tensor(row["embedding"]), result.embedding, atol=1e-5, rtol=0)
    assert last.keys() == {"report"}
    assert last["report"]["frames_processed"] == FRAMES
    assert last["report"]["frames_dropped"] == 0


def test_a_head_in_the_model_itself_is_used(phases: Path, video: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(phases), video, "--fps", "5", "--max-frames", "2"])
    *rows, last = rows_of(capsys.readouterr().out)
    assert [row["frame"] for row in rows] == [0, 2]
    assert all(row["phase"]["name"] and "presence" not in row and "embedding" not in row for row in rows)
    assert last["report"]["frames_processed"] == 2


def test_ctrl_c_ends_with_the_report(
    folder: Path, video: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = ZenStream.__next__

    def interrupted(stream: ZenStream) -> Any:
        if stream.report().frames_processed == 3:
            raise KeyboardInterrupt
        return original(stream)

    monkeypatch.setattr(ZenStream, "__next__", interrupted)
    main([str(folder), video])
    *rows, last = rows_of(capsys.readouterr().out)
    assert len(rows) == last["report"]["frames_processed"] == 3


def test_ctrl_c_before_the_stream_is_one_word(
    folder: Path, video: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeling_zen.stream.load_encoder", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as ended:
        main([str(folder), video])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize("typo", ["--fsp=5", "--real", "--max-frame=2"])
def test_options_are_written_out(typo: str, folder: Path, video: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(folder), video, typo])
    assert ended.value.code == 2
    written = capsys.readouterr().err
    assert written.endswith(f"error: unrecognized arguments: {typo}\n")
    assert "--max-frames N" in written


def test_a_video_that_is_cut_off_says_so_after_its_frames(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with av.open(str(tmp_path / "whole.avi"), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for frame in striped_frames(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    whole = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SystemExit) as ended:
        main([str(folder), str(tmp_path / "cut.avi")])
    written = capsys.readouterr()
    assert ended.value.code == 2
    assert "error: video" in written.err
    *rows, last = rows_of(written.out)
    assert last["report"]["frames_processed"] == len(rows) > 5


def test_mistakes_are_one_sentence(
    folder: Path,
    phases: Path,
    tools: Path,
    model: ZenModel,
    video: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dense = tmp_path / "dense"
    ZenForSemanticSegmentation(small_config(model, num_labels=2)).save_pretrained(dense)
    untrained = tmp_path / "untrained"
    model.save_pretrained(untrained)
    stated = json.loads((untrained / "config.json").read_text())
    (untrained / "config.json").write_text(json.dumps({**stated, "architectures": ["ZenForVideoFrameClassification"]}))
    other = tmp_path / "other"
    ZenModel(model.config).save_pretrained(other)
    ZenImageProcessor(size={"height": 64, "width": 64}).save_pretrained(other)
    (tmp_path / "there.jsonl").touch()
    capsys.readouterr()
    mistakes: list[tuple[list[Any], str]] = [
        ([tmp_path / "no_model", video], "no ZEN model in"),
        ([folder, tmp_path / "no_video.mp4"], "does not exist"),
        ([folder, "987"], "there is no camera /dev/video987"),
        ([folder, video, "--head", folder], "holds a ZenModel, which has neither a temporal head for phases nor"),
        ([folder, video, "--head", dense], "holds a ZenForSemanticSegmentation, which has neither"),
        ([folder, video, "--head", untrained], "weights of its ZenForVideoFrameClassification, such as temporal_head."),
        ([phases, video, "--head", phases], "is a second phase head; a stream has one of a kind"),
        (
            [other, video, "--head", phases, "--output", tmp_path / "new.jsonl"],
            "phase_head was trained on another encoder",
        ),
        ([folder, video, "--policy", "newest"], "unknown policy 'newest'; there are block, drop_oldest"),
        ([folder, video, "--fps", "50"], "fps=50 is above the 10 frames per second of the video"),
        ([folder, video, "--output", tmp_path / "there.jsonl"], "exists; remove it or name another file"),
        ([folder, video, "--option", "rtsp_transport"], "--option must be NAME=VALUE, not 'rtsp_transport'"),
        ([folder, video, "--threads", "0"], "--threads must be at least 1, not 0"),
        ([folder, video, "--timeout", "0"], "reconnect needs"),
        ([folder, video, "--timeout", "inf"], "reconnect needs"),
        ([folder, video, "--max-frames", "0"], "--max-frames must be at least 1, not 0"),
        ([folder, video, "--output", tmp_path / "no" / "out.jsonl"], "out.jsonl does not exist; make it first"),
    ]
    for arguments, message in mistakes:
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
        written = capsys.readouterr()
        assert ended.value.code == 2
        # After the progress bars of transformers, which end in "it/s]".
        [line] = [line for line in written.err.splitlines() if line and not line.endswith("it/s]")]
        assert line.startswith("error: ")
        assert message in line
    assert not (tmp_path / "new.jsonl").exists()


def test_a_damaged_video_gives_its_report_too(
    folder: Path, video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.ts"
    broken.write_bytes(b"G" * 4000)
    with pytest.raises(SystemExit) as ended:
        main([str(folder), str(broken)])
    assert ended.value.code == 2
    assert "cannot be read" in capsys.readouterr().err
