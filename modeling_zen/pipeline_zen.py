"""`pipeline("video-feature-extraction")`: features of videos of any length, with their times, in bounded memory.

Where a core or a GPU is free for it, a thread of its own decodes and preprocesses a few batches ahead of the model,
across the ends of videos too.
"""

import contextlib
import importlib
import itertools
import math
import os
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import torch
from transformers.pipelines.base import Pipeline

from .feature_writer_zen import ClipMeans, FeatureRows, open_sink
from .field_of_view_zen import field_of_view_box, spread
from .video_decoding_zen import FrameChunk, VideoReader, open_video, sample_indices

TASK = "video-feature-extraction"
# What config.json says of this file, so that `pipeline()` finds it beside the weights.
CUSTOM_PIPELINES: dict[str, dict[str, Any]] = {
    TASK: {"impl": "pipeline_zen.ZenVideoFeatureExtractionPipeline", "pt": ["AutoModel"], "type": "video"}
}
LEVELS = ("frame", "clip", "dense")
RETURN_AS = ("torch", "numpy", "list")
_SAMPLING = ("fps", "num_frames", "stride")
BATCHES_AHEAD = 2  # one is being made while one waits: more would only hold memory


@dataclass(frozen=True)
class VideoFeatureSettings:
    """What a call of the pipeline can be told; each may be given to `pipeline()` too, as the default of its calls.

    Raises:
        ValueError: A value that does not exist or does not fit the others.
    """

    fps: float | None = None  # frames per second to take; at most one of the three, else as the video processor says
    num_frames: int | None = None  # frames to take of each video, spread evenly
    stride: int | None = None  # every stride-th frame; with none of the three, and nothing in the processor: all
    level: str = "frame"  # a row per "frame"; the mean of the frames of a "clip"; "dense" maps of every frame
    window_seconds: float | None = None  # length of a clip; the whole video unless given
    return_as: str = "torch"  # "torch", "numpy" or "list"; lists of Python numbers take 8 times the memory
    output: str | os.PathLike[str] | None = None  # *.parquet or *.safetensors to write to instead of memory
    frames_per_pass: int = 8  # frames per forward and per decoded batch; a CPU gains nothing from more
    backend: str | None = None  # video decoder; None takes the first that can read the file
    decoder_threads: int = 0  # 0 leaves it to the decoder
    source_fps: float | None = None  # frames per second of arrays and lists of frames; files state their own

    def __post_init__(self) -> None:
        for name, right in (("level", LEVELS), ("return_as", RETURN_AS)):
            if getattr(self, name) not in right:
                raise ValueError(f"{name}={getattr(self, name)!r} does not exist; there are {', '.join(right)}")
        given = [name for name in _SAMPLING if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; at most one of fps, num_frames and stride is wanted")
        for name in ("fps", "num_frames", "stride", "window_seconds", "source_fps", "frames_per_pass"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0, got {value}")
            if value is not None and name in ("num_frames", "stride", "frames_per_pass") and value != int(value):
                raise ValueError(f"{name} must be an integer, got {value}")
        if self.window_seconds is not None and self.level != "clip":
            raise ValueError(f'window_seconds is the length of a clip; it needs level="clip", not {self.level!r}')


class VideoFeatures(TypedDict):
    """The result for one video."""

    source: str  # path or URL as given, or relative to the folder given; "frames" for an array
    num_rows: int
    frame_numbers: Any  # (rows,) integers, the frame of a row, or the first one of its clip; None if written to disk
    timestamps: Any  # (rows,) seconds from the first frame, of the frame or the start of the clip
    features: Any  # float32 (rows, hidden), dense (rows, hidden, rows of patches, columns)
    output: str | None  # the file that holds the rows instead
    error: str | None  # why the video could not be read (to its end; the rows before the damage are there)


class _Batch(NamedTuple):
    """Frames of one video, ready for the model; without `pixel_values` it marks the end of the video."""

    source: str
    frame_numbers: list[int] = []  # noqa: RUF012 - of a NamedTuple, never changed
    timestamps: list[float] = []  # noqa: RUF012
    pixel_values: torch.Tensor | None = None
    error: Exception | None = None


class ZenVideoFeatureExtractionPipeline(Pipeline):
    """Features of videos by `pooler_output` of a ZEN encoder, or its patch tokens as maps.

    Example:
        >>> extract = pipeline("video-feature-extraction", model=folder)  # doctest: +SKIP
        >>> extract("case.mp4", fps=1)["features"].shape  # doctest: +SKIP
        torch.Size([5400, 384])
        >>> extract("videos/", fps=1, level="clip", window_seconds=60, output="features.parquet")  # doctest: +SKIP

    Frames go the way of the model's video processor, or its image processor if there is no other: the same numbers.
    """

    # What `pipeline()` loads with the model: None is "if it is there".
    _load_processor: Any = False
    _load_image_processor: Any = None
    _load_video_processor: Any = None
    _load_feature_extractor: Any = False
    _load_tokenizer: Any = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.video_processor is None and self.image_processor is None:
            raise ValueError(f"{TASK} needs a video processor or an image processor, and the model comes with neither")

    def __call__(  # type: ignore[override]
        self, inputs: Any, **settings: Any
    ) -> VideoFeatures | list[VideoFeatures]:
        """Extract features.

        Args:
            inputs: A path or URL; frames as an array or tensor (frames, height, width, 3) or a list of images; or
                several videos: a list of any of these but images, or a folder, of which every file is taken (hidden
                ones apart), also in folders below.
            settings: See `VideoFeatureSettings`.

        Returns:
            `VideoFeatures`; of several videos a list of them. A video among several that cannot be read is no
            exception but an `error` in its row.

        Raises:
            FileNotFoundError: No such file, or no folder for the output.
            FileExistsError: The output exists.
            ValueError: An unknown or wrong setting; a folder without files; a video that cannot be decoded to its end
                (given in a list, it comes back with the rows before the damage), or none of several that can at all.
            ImportError: No video decoder, or no pyarrow for Parquet.
        """
        given, _, _ = self._sanitize_parameters(**settings)
        defaults = dict(self._preprocess_params)
        if any(given.get(name) is not None for name in _SAMPLING):  # replaces a default of another of the three
            defaults = {name: value for name, value in defaults.items() if name not in _SAMPLING}
        options = VideoFeatureSettings(**{**defaults, **given})
        videos, is_one = _list_videos(inputs)
        results: list[VideoFeatures] = []
        means = ClipMeans(options.window_seconds)
        num_rows = 0
        with open_sink(options.output, list(videos)) as sink:
            batches = self.preprocess(videos, options)
            if _can_work_ahead(self.device):
                batches = _run_ahead(batches, BATCHES_AHEAD)
            with contextlib.closing(batches):
                for batch in batches:
                    if batch.pixel_values is not None:
                        rows = self.postprocess(self.forward(batch._asdict(), dense=options.level == "dense"))
                        blocks = means.add(rows) if options.level == "clip" else [rows]
                    else:
                        blocks = means.finish()
                    for rows in blocks:
                        sink.append(batch.source, rows)
                        num_rows += len(rows.timestamps)
                    if batch.pixel_values is None:
                        if is_one and batch.error is not None:
                            raise batch.error
                        results.append(_result(batch, num_rows, sink.rows_of(batch.source), options))
                        num_rows = 0
            errors = {result["source"]: result["error"] for result in results if result["error"] is not None}
            if not any(result["num_rows"] for result in results):
                raise ValueError(f"none of the {len(results)} videos can be decoded; the first: {results[0]['error']}")
            sink.finish(errors)
        return results[0] if is_one else results

    def preprocess(  # type: ignore[override]
        self, input_: dict[str, Any], options: VideoFeatureSettings
    ) -> Generator[_Batch, None, None]:
        """Decoded and normalised batches of all videos, in order, each video closed by an empty one."""
        for source, video in input_.items():
            failure: Exception | None = None
            try:
                with _open(source, video, options, is_sparse=any(self._asked(options).values())) as reader:
                    yield from self._batches(source, reader, options)
            except (ValueError, OSError) as error:
                failure = error
            yield _Batch(source, error=failure)

    def _forward(self, input_tensors: dict[str, Any], dense: bool) -> dict[str, Any]:  # type: ignore[override]
        model: Any = self.model
        pixel_values = input_tensors["pixel_values"]
        outputs = model(pixel_values=pixel_values)
        if dense:
            features = model.dense_tokens(outputs.last_hidden_state, *pixel_values.shape[-2:])
        else:
            features = outputs.pooler_output
        return {**input_tensors, "pixel_values": None, "features": features.float()}

    def postprocess(self, model_outputs: dict[str, Any]) -> FeatureRows:  # type: ignore[override]
        """One batch as rows."""
        return FeatureRows(
            torch.tensor(model_outputs["frame_numbers"]),
            torch.tensor(model_outputs["timestamps"], dtype=torch.float64),
            # A copy: tensors made in inference mode could not be used in training afterwards.
            model_outputs["features"].clone(),
        )

    def get_inference_context(self) -> Any:
        """Quicker than `no_grad`, which transformers' pipelines use."""
        return torch.inference_mode

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save model, code and processors; transformers itself would leave the video processor out."""
        super().save_pretrained(save_directory, **kwargs)
        if self.video_processor is not None:
            self.video_processor.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(self, **pipeline_parameters: Any) -> tuple[dict[str, Any], dict, dict]:
        known = [field.name for field in fields(VideoFeatureSettings)]
        if unknown := [name for name in pipeline_parameters if name not in known]:
            raise ValueError(f"{TASK} has no setting {unknown[0]!r}; it has {', '.join(known)}")
        if self._batch_size is not None or self._num_workers is not None:
            raise ValueError(f"{TASK} has no batch_size and num_workers; frames_per_pass says how many go to the model")
        VideoFeatureSettings(**pipeline_parameters)
        return pipeline_parameters, {}, {}

    def _asked(self, options: VideoFeatureSettings) -> dict[str, Any]:
        """The sampling of this call, or that of the processor."""
        asked = {name: getattr(options, name) for name in _SAMPLING}
        if not any(asked.values()):
            asked = {name: getattr(self.video_processor, name, None) for name in _SAMPLING}
        return asked

    def _batches(self, source: str, reader: VideoReader, options: VideoFeatureSettings) -> Iterator[_Batch]:
        processor = self.image_processor if self.video_processor is None else self.video_processor
        asked = self._asked(options)
        crops = bool(getattr(processor, "do_crop_field_of_view", False))
        indices: list[int] | None = None  # needs no count of the frames
        if asked["fps"] or asked["num_frames"] or crops:
            if reader.num_frames is None:
                raise ValueError(f"video {source!r} is a live source, which can be sampled by stride only")
            try:
                times = reader.timestamps() if asked["fps"] else None
                indices = sample_indices(reader.num_frames, reader.fps, timestamps=times, **asked)
            except ValueError as error:
                raise ValueError(f"video {source!r}: {error}") from error
        left, top, right, bottom = 0, 0, reader.width, reader.height
        if crops and indices:
            left, top, right, bottom = field_of_view_box(
                reader.read([indices[place] for place in spread(len(indices))])
            )
        for chunk in reader.frames(indices, step=int(asked["stride"] or 1), chunk=options.frames_per_pass):
            pixels = self._pixel_values(chunk.pixels[:, top:bottom, left:right])
            yield _Batch(source, chunk.numbers, chunk.timestamps, pixels)

    def _pixel_values(self, frames: torch.Tensor) -> torch.Tensor:
        """(n, height, width, 3) -> float (n, 3, height, width) as the processor makes it."""
        # A view: the processor is twice as fast on it as on a copy with the channels in front.
        frames = frames.permute(0, 3, 1, 2)
        processor: Any = self.image_processor if self.video_processor is None else self.video_processor
        # What was done above, for all frames of the video alike.
        done = ("do_sample_frames", "do_crop_field_of_view", "return_field_of_view")
        off = {name: False for name in done if hasattr(processor, name)}
        if self.video_processor is None:
            return processor(list(frames), return_tensors="pt", **off)["pixel_values"]
        return processor(frames, return_tensors="pt", **off)["pixel_values_videos"][0]


class _FrameArray(VideoReader):
    """Frames that are in memory already."""

    backend = "memory"

    def __init__(self, source: str, frames: Any, fps: float | None) -> None:
        self.source, self._frames, self.fps = source, frames, math.nan if fps is None else float(fps)
        if not len(frames):
            raise ValueError(f"video {source!r} has no frames")
        self.height, self.width = self._frame(0).shape[:2]

    @property
    def num_frames(self) -> int:
        return len(self._frames)

    def _frame(self, number: int) -> torch.Tensor:
        frame = self._frames[number]
        if hasattr(frame, "convert"):  # a PIL image
            frame = frame.convert("RGB")
        if not isinstance(frame, torch.Tensor):
            frame = torch.from_numpy(importlib.import_module("numpy").array(frame))
        if frame.ndim != 3 or frame.shape[2] != 3:
            shape = f"{tuple(frame.shape)} instead of (height, width, 3)"
            raise ValueError(f"frame {number} of video {self.source!r} has shape {shape}")
        return frame

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        while batch := list(itertools.islice(numbers, chunk)):
            frames = [self._frame(number) for number in batch]
            for number, frame in zip(batch, frames, strict=True):
                if frame.shape[:2] != (self.height, self.width):
                    sizes = f"{frame.shape[1]} x {frame.shape[0]} pixels, not {self.width} x {self.height}"
                    raise ValueError(f"frame {number} of video {self.source!r} has {sizes} as the first one")
            yield FrameChunk(batch, [number / self.fps for number in batch], torch.stack(frames).cpu())


def _open(source: str, video: Any, options: VideoFeatureSettings, is_sparse: bool) -> VideoReader:
    if not isinstance(video, (str, os.PathLike)):
        return _FrameArray(source, video, options.source_fps)
    if options.source_fps is not None:
        raise ValueError(f"source_fps is for frames in memory; the file {source!r} states its own rate")
    return open_video(video, options.backend, threads=options.decoder_threads, is_sparse=is_sparse)


def _list_videos(inputs: Any) -> tuple[dict[str, Any], bool]:
    """Videos by their names, and whether one was given rather than several."""
    if isinstance(inputs, (str, os.PathLike)):
        name = os.fspath(inputs)
        if "://" in name or not Path(name).is_dir():
            return {name: inputs}, True
        paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
        videos = {path.relative_to(name).as_posix(): path for path in paths}
        videos = {key: path for key, path in videos.items() if not any(part[0] == "." for part in Path(key).parts)}
        if not videos:
            raise ValueError(f"folder {name!r} holds no files")
        return videos, False
    if not isinstance(inputs, (list, tuple)):
        if getattr(inputs, "ndim", 0) != 4:
            what = f"{type(inputs).__name__} of shape {tuple(getattr(inputs, 'shape', ()))}"
            raise ValueError(
                f"a video is a path, a URL, frames (frames, height, width, 3) or a list of them, not {what}"
            )
        return {"frames": inputs}, True
    if not inputs:
        raise ValueError("there are no videos: the list is empty")
    if any(hasattr(each, "convert") or getattr(each, "ndim", 0) == 3 for each in inputs):
        return {"frames": inputs}, True
    names = [
        os.fspath(each) if isinstance(each, (str, os.PathLike)) else f"frames {index}"
        for index, each in enumerate(inputs)
    ]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"video {min(twice)!r} is given twice; give each video once")
    return dict(zip(names, inputs, strict=True)), False


def _result(batch: _Batch, num_rows: int, rows: FeatureRows | None, options: VideoFeatureSettings) -> VideoFeatures:
    columns: Any = [None] * 3 if rows is None else list(rows)
    if rows is not None and options.return_as != "torch":
        columns = [column.numpy() if options.return_as == "numpy" else column.tolist() for column in rows]
    return VideoFeatures(
        source=batch.source,
        num_rows=num_rows,
        frame_numbers=columns[0],
        timestamps=columns[1],
        features=columns[2],
        output=None if options.output is None else os.fspath(options.output),
        error=None if batch.error is None else str(batch.error),
    )


def _can_work_ahead(device: torch.device) -> bool:
    """Whether decoding beside the model gains time: not where the model's threads fill all cores.

    A model on the CPU splits every layer evenly among its threads and waits for the last of them, which is the one that
    shares its core with the decoder; taking turns, both use all cores.
    """
    if device.type != "cpu":
        return True
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores > torch.get_num_threads()


def _run_ahead(items: Iterable[Any], depth: int) -> Generator[Any, None, None]:
    """Iterate in a thread of its own, which has at most `depth` items waiting and one in the making.

    Exceptions of `items` are raised here; when this is closed, the thread stops and `items` is closed too.
    """
    waiting: queue.Queue[tuple[Any, BaseException | None, bool]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(entry: tuple[Any, BaseException | None, bool]) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(entry, timeout=0.1)
                return

    def work() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                put((item, None, False))
                if stop.is_set():
                    break
            put((None, None, True))
        except BaseException as error:  # it is raised where the items are used
            put((None, error, True))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="zen-video-decoding", daemon=True)
    thread.start()
    try:
        while True:
            item, error, is_last = waiting.get()
            if error is not None:
                raise error
            if is_last:
                return
            yield item
    finally:
        stop.set()
        thread.join()


__all__ = ["CUSTOM_PIPELINES", "TASK", "VideoFeatureSettings", "VideoFeatures", "ZenVideoFeatureExtractionPipeline"]
