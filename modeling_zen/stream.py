"""`python -m modeling_zen.stream MODEL SOURCE`: what ZEN sees in a running video, one JSON object per line.

MODEL is a folder or Hub id of a ZEN model, or a folder that modeling_zen.export wrote. SOURCE is a video file, a URL
such as rtsp://... or udp://..., or a camera: its number, or /dev/videoN. The last line is the report of the stream.
Ctrl-C ends it.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from modeling_zen.streaming import Reconnect, StreamResult, ZenStream
from modeling_zen.streaming.frame_queue import POLICIES
from modeling_zen.streaming.loading import has_head, load_encoder, load_head


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, load, stream; a mistake of the user is one line on stderr and exit code 2, an early Ctrl-C is 130."""
    parser = _parser()
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        if given.output is not None and given.output.exists():
            raise ValueError(f"{given.output} exists; remove it or name another file")
        if given.output is not None and not given.output.parent.is_dir():
            raise ValueError(f"the folder of {given.output} does not exist; make it first")
        if given.max_frames is not None and given.max_frames < 1:
            raise ValueError(f"--max-frames must be at least 1, not {given.max_frames}")
        stream = _stream(given)
        with _output(given.output) as output:
            write_rows(stream, output, with_embedding=given.embedding, max_frames=given.max_frames)
    except (ValueError, OSError, ImportError) as error:
        parser.exit(2, f"error: {error}\n")
    except KeyboardInterrupt:  # before the stream began, or a second one while it is being closed
        parser.exit(130, "interrupted\n")


def write_rows(stream: ZenStream, output: TextIO, *, with_embedding: bool, max_frames: int | None) -> None:
    """Write one line per frame as it comes, then the report; a kill leaves all lines but the last one whole."""
    try:
        # Ctrl-C is how a live source is ended.
        with contextlib.suppress(KeyboardInterrupt):
            for result in itertools.islice(stream, max_frames):
                _write(result_row(result, stream, with_embedding=with_embedding), output)
    finally:
        stream.close()
        _write({"report": dataclasses.asdict(stream.report())}, output)


def result_row(result: StreamResult, stream: ZenStream, *, with_embedding: bool) -> dict[str, Any]:
    """A result as JSON: probabilities by name, and the name of the likeliest phase."""
    row: dict[str, Any] = {"frame": result.frame, "timestamp": round(result.timestamp, 6)}
    row |= {"latency_ms": round(result.latency_ms, 3), "state": result.state}
    row |= {"dropped_before": result.dropped_before, "segment": result.segment}
    if result.phase_probabilities is not None:
        phases = _by_name(stream.phase_labels, result.phase_probabilities)
        likeliest = max(phases, key=lambda name: phases[name])
        row["phase"] = {"name": likeliest, "probability": phases[likeliest], "probabilities": phases}
    if result.presence_probabilities is not None:
        row["presence"] = _by_name(stream.presence_labels, result.presence_probabilities)
    if with_embedding:
        row["embedding"] = result.embedding.tolist()
    return row


def _by_name(labels: list[str] | None, probabilities: torch.Tensor) -> dict[str, float]:
    assert labels is not None  # there are probabilities
    return {name: round(value, 6) for name, value in zip(labels, probabilities.tolist(), strict=True)}


def _write(row: dict[str, Any], output: TextIO) -> None:
    output.write(json.dumps(row) + "\n")
    output.flush()


def _output(path: Path | None) -> contextlib.AbstractContextManager[TextIO]:
    if path is None:
        return contextlib.nullcontext(sys.stdout)
    return path.open("x", encoding="utf-8")


def _stream(given: argparse.Namespace) -> ZenStream:
    if given.threads is not None:
        if given.threads < 1:
            raise ValueError(f"--threads must be at least 1, not {given.threads}")
        torch.set_num_threads(given.threads)
    encoder, processor = load_encoder(given.model, num_threads=given.threads)
    heads: dict[str, Any] = {}
    for folder in [*([given.model] if has_head(given.model) else []), *given.head]:
        kind, head = load_head(folder)
        if kind in heads:
            raise ValueError(f"{folder} is a second {kind} head; a stream has one of a kind")
        heads[kind] = head
    is_number = re.fullmatch(r"\d+", given.source) and not Path(given.source).exists()
    return ZenStream(
        int(given.source) if is_number else given.source,
        encoder,
        processor=processor,
        phase_head=heads.get("phase"),
        presence_head=heads.get("presence"),
        fps=given.fps,
        queue_size=given.queue_size,
        policy=given.policy,
        realtime=given.realtime,
        reconnect=Reconnect(attempts=given.reconnect, timeout=given.timeout),
        state_max_gap=given.state_max_gap,
        options=_options(given.option),
    )


def _options(pairs: list[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if not pair.partition("=")[1]]
    if wrong:
        raise ValueError(f"--option must be NAME=VALUE, not {wrong[0]!r}")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m modeling_zen.stream",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("source", metavar="SOURCE")
    add(
        "--head",
        action="append",
        default=[],
        metavar="MODEL",
        help="folder or Hub id of a head trained on this encoder: ZenForVideoFrameClassification for phases, or a "
        "multi-label classifier for presence; may be given twice. A head in MODEL itself is taken without being named",
    )
    add("--fps", type=float, help="frames per second to recognise, those of the head's training (default: all)")
    add("--output", type=Path, metavar="FILE", help="JSONL file to write; must not exist (default: stdout)")
    add("--embedding", action="store_true", help="write the embedding of each frame too")
    add("--max-frames", type=int, metavar="N", help="end after so many results")
    add("--realtime", action="store_true", help="give the frames of a file at the pace at which it plays")
    add("--queue-size", type=int, default=4, metavar="N", help="frames that may wait (default: %(default)s)")
    add(
        "--policy",
        help=f"{' or '.join(POLICIES)}: what to do when the queue is full (default: drop_oldest for live sources)",
    )
    add(
        "--reconnect",
        type=int,
        default=Reconnect.attempts,
        metavar="N",
        help="attempts in a row to restore a lost live source (default: %(default)s)",
    )
    add(
        "--timeout",
        type=float,
        default=Reconnect.timeout,
        metavar="SECONDS",
        help="without a frame, after which a live source is lost (default: %(default)s)",
    )
    add(
        "--state-max-gap",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="of missing frames, after which the temporal head begins anew (default: %(default)s)",
    )
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="for FFmpeg, with a URL or a camera, such as rtsp_transport=udp; may be repeated",
    )
    add("--threads", type=int, metavar="N", help="of PyTorch and of an exported model (default: theirs)")
    return parser


if __name__ == "__main__":
    main()
