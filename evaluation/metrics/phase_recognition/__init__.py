"""Phase recognition by video, strict and relaxed."""

from evaluation.metrics.phase_recognition.phase_recognition import (
    PhaseRecognition,
    VideoScores,
    accepted_frames,
    macro_f1,
    phase_mean,
    video_mean,
    video_scores,
)

__all__ = [
    "PhaseRecognition",
    "VideoScores",
    "accepted_frames",
    "macro_f1",
    "phase_mean",
    "video_mean",
    "video_scores",
]
