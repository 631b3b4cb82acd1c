"""From decided samples to clips and drop spans."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, replace

from training.corpus.frames import Sample
from training.corpus.manifest import Drop


@dataclass(frozen=True)
class Verdict:
    """Why a sample is dropped."""

    reason: str
    score: float | None = None
    threshold: float | None = None
    detail: str = ""


def cut_clips(
    samples: Sequence[Sample],
    verdicts: Sequence[Verdict | None],
    looks: Sequence[Hashable],
    longest: int,
    breaks: Collection[int] = (),
) -> list[list[int]]:
    """Maximal runs of kept samples, cut at `longest` frames and where a scene begins.

    Args:
        samples: of one unit, in time order.
        verdicts: one per sample; `None` keeps it.
        looks: one value per sample (stored size, crop box); a clip has one look.
        longest: most frames of a clip.
        breaks: positions of samples that begin a scene.

    Returns:
        Positions of the samples of each clip, in order.
    """
    clips: list[list[int]] = []
    for position, sample in enumerate(samples):
        if verdicts[position] is not None:
            continue
        last = clips[-1] if clips else []
        continues = bool(last) and last[-1] == position - 1 and sample.follows and position not in breaks
        if continues and looks[position] == looks[position - 1] and len(last) < longest:
            last.append(position)
        else:
            clips.append([position])
    return clips


def drop_spans(samples: Sequence[Sample], verdicts: Sequence[Verdict | None], video_id: str) -> list[Drop]:
    """One row per run of samples of one file that are dropped for one reason.

    The row's score is the one nearest to the threshold: the weakest case of the span.
    """
    spans: list[Drop] = []
    previous = -2
    for position, (sample, verdict) in enumerate(zip(samples, verdicts, strict=True)):
        if verdict is None:
            continue
        last = spans[-1] if spans and previous == position - 1 else None
        file = sample.file
        previous = position
        if last is not None and (last.input, last.path, last.reason) == (file.input, file.path, verdict.reason):
            score = _weakest(last.score, verdict.score, verdict.threshold)
            spans[-1] = replace(last, t_end=sample.timestamp, num_frames=last.num_frames + 1, score=score)
        else:
            spans.append(
                Drop(
                    file.input,
                    file.path,
                    video_id,
                    sample.timestamp,
                    sample.timestamp,
                    1,
                    verdict.reason,
                    verdict.score,
                    verdict.threshold,
                    verdict.detail,
                )
            )
    return spans


def _weakest(first: float | None, second: float | None, threshold: float | None) -> float | None:
    if first is None or second is None or threshold is None:
        return first if second is None else second
    return min(first, second, key=lambda score: abs(score - threshold))
