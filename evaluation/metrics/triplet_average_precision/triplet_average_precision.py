"""Average precision of surgical action triplets and their components: numpy functions and the `evaluate` module."""

from collections.abc import Sequence

# One import per line: the import scanner of `evaluate` cannot read two on one.
import datasets
import evaluate
import numpy as np

VARIANT = "video-wise: AP per class in each video, mean over videos that show the class, mean over classes"
VARIANT_GLOBAL = "global: AP per class over the pooled frames of all videos, mean over classes with positives"
HIGHER_IS_BETTER = True

# Which of (instrument, verb, target) make up a class of the component. The key of a component is its name in reports.
COMPONENTS = {"I": (0,), "V": (1,), "T": (2,), "IV": (0, 1), "IT": (0, 2), "IVT": (0, 1, 2)}

# CholecT50 (maps.txt of CAMMA-public/cholect50): "instrument verb: targets" in the order of the 100 classes.
_CHOLECT50 = """
0 2: 1 0 10 | 0 0: 3 2 4 1 0 12 8 10 11 13 | 0 8: 0 | 0 1: 2 4 1 0 12 8 10 11
1 3: 7 5 3 2 4 1 0 8 10 11 | 1 2: 9 3 2 1 0 10 | 1 0: 1 8 13 | 1 1: 2 4 0 8 10
2 3: 5 3 2 4 1 0 8 10 | 2 5: 5 11 | 2 2: 5 3 2 1 0 10 11 | 2 1: 0 8
3 3: 10 | 3 5: 9 5 3 2 1 8 10 11 | 3 2: 1 0 10
4 4: 5 3 2 4 1
5 6: 6 | 5 2: 2 4 1 0 10 | 5 7: 7 4 8 | 5 1: 0 8 10
0 9: 14 | 1 9: 14 | 2 9: 14 | 3 9: 14 | 4 9: 14 | 5 9: 14
"""
CHOLECT50_TRIPLETS = tuple(
    (*(int(number) for number in action.split()), int(target))
    for action, targets in (line.split(":") for line in _CHOLECT50.replace("\n", "|").split("|") if line.strip())
    for target in targets.split()
)
CHOLECT50_NULL = tuple(range(94, 100))  # an instrument with null_verb and null_target; without them 94 classes are left

_DESCRIPTION = """
Scores of the components come from the triplet scores: s_I[i] = max of s_IVT over the triplets with instrument i, and so
for V, T, IV, IT; labels likewise. Average precision per class AP = sum_n (R_n - R_{n-1}) P_n with one threshold per
distinct score (equal scores enter together; no interpolation), computed here, so that no version of scikit-learn
changes it. Video-wise (the main figure): AP per class within each video, NaN where the video has no positive of the
class; mean over the videos that have one; mean over the classes that some video has. Global: frames of all videos
pooled. Top-K: share of the true triplets that are among the K highest scores of their frame.
"""
_CITATION = """
Nwoye and Padoy (2022). Data Splits and Metrics for Method Benchmarking on Surgical Action Triplet Datasets.
arXiv:2204.05235. The conventions are those of its package ivtmetrics 0.1.2.
"""
_INPUTS = """
predictions: list of score vectors, one per frame, one finite score per triplet class; only their order matters.
references: list of 0/1 vectors of the same shape.
cases: list with the video of each frame, as text.
triplets: [instrument, verb, target] of each class (default: the 100 of CholecT50).
ignored_classes: triplet classes that are left out of the means of IVT; the components and top-K still see them, as in
    ivtmetrics (default: none; range(94, 100) gives the 94-class variant of CholecT50).
top_k: the K to report (default: 5, 10, 20).
"""


def component_classes(component: str, triplets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """The classes of a component, and to which of them each triplet belongs.

    Args:
        component: "I", "V", "T", "IV", "IT" or "IVT".
        triplets: (T, 3) instrument, verb and target of each triplet class, no two alike.

    Returns:
        int64 (C, 1 to 3), the ids that make up each class that occurs, in ascending order (for IVT: as given), and
        int64 (T,), the row of each triplet.

    Raises:
        ValueError: an unknown component, or triplets of another shape or given twice.
    """
    if component not in COMPONENTS:
        raise ValueError(f"there is no component {component!r}; there are {', '.join(COMPONENTS)}")
    table = np.asarray(triplets, dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != 3 or len(table) == 0:
        raise ValueError(f"triplets have shape {table.shape}; one row of instrument, verb and target each is needed")
    if len(np.unique(table, axis=0)) != len(table):
        raise ValueError("two triplet classes have the same instrument, verb and target")
    if component == "IVT":
        return table, np.arange(len(table))
    classes, rows = np.unique(table[:, COMPONENTS[component]], axis=0, return_inverse=True)
    return classes, rows.reshape(-1)


def component_values(
    values: np.ndarray, component: str, triplets: Sequence[Sequence[int]] = CHOLECT50_TRIPLETS
) -> np.ndarray:
    """Scores or labels of a component: the maximum over the triplets of each of its classes.

    Args:
        values: (N, T) scores or 0/1 labels of the triplets.
        component: "I", "V", "T", "IV", "IT" or "IVT".
        triplets: (T, 3) instrument, verb and target of each triplet class.

    Returns:
        (N, C) of the same dtype, classes as in `component_classes`.

    Raises:
        ValueError: another number of columns than triplets.
    """
    values = np.asarray(values)
    classes, rows = component_classes(component, triplets)
    if values.ndim != 2 or values.shape[1] != len(rows):
        raise ValueError(f"values have shape {values.shape}, but there are {len(rows)} triplet classes")
    return np.stack([values[:, rows == row].max(axis=1) for row in range(len(classes))], axis=1)


def average_precision(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision of every class; NaN for a class without positives.

    AP = sum_n (R_n - R_{n-1}) P_n, thresholds n = the distinct scores in descending order, R_0 = 0.

    Args:
        labels: (N, C) 0/1.
        scores: (N, C) float, finite.

    Returns:
        (C,) float64.

    Raises:
        ValueError: other shapes, no frame, a label that is not 0 or 1, a score that is not finite.
    """
    labels, scores = _checked(labels, scores)
    return np.array([_one_class(labels[:, c], scores[:, c]) for c in range(labels.shape[1])])


def average_precision_by_case(
    labels: np.ndarray, scores: np.ndarray, cases: Sequence[str]
) -> tuple[list[str], np.ndarray]:
    """Average precision of every class within each case.

    Args:
        labels: (N, C) 0/1.
        scores: (N, C) float, finite.
        cases: the case of each frame; its frames need not be neighbours.

    Returns:
        The V cases in order of appearance, and float64 (V, C), NaN where a case has no positive of a class.

    Raises:
        ValueError: as `average_precision`, or another number of cases than frames.
    """
    labels, scores = _checked(labels, scores)
    if len(cases) != len(labels):
        raise ValueError(f"{len(cases)} cases for {len(labels)} frames; one each is needed")
    names = list(dict.fromkeys(cases))
    owner = np.array([str(case) for case in cases])
    values = [average_precision(labels[owner == str(name)], scores[owner == str(name)]) for name in names]
    return names, np.stack(values)


def mean_over_cases(by_case: np.ndarray) -> np.ndarray:
    """Mean AP of each class over the cases that show it: (V, C) -> (C,), NaN for a class that none shows.

    To bootstrap by case, draw rows of `by_case` with replacement and apply this and `mean_over_classes` again.
    """
    return _nanmean(np.asarray(by_case, dtype=np.float64).T)


def mean_over_classes(per_class: np.ndarray, ignored_classes: Sequence[int] = ()) -> float:
    """Mean over the classes whose AP is defined and that are not ignored; NaN if there is none.

    Args:
        per_class: (C,) float, NaN for classes without positives.
        ignored_classes: classes that take no part.

    Raises:
        ValueError: an ignored class that does not exist.
    """
    strangers = [c for c in ignored_classes if not 0 <= c < len(per_class)]
    if strangers:
        raise ValueError(f"ignored class {strangers[0]} is not one of 0 to {len(per_class) - 1}")
    kept = np.array(per_class, dtype=np.float64)
    kept[list(ignored_classes)] = np.nan
    return float(_nanmean(kept))


def top_k_accuracy(labels: np.ndarray, scores: np.ndarray, k: int) -> float:
    """Share of the true classes that are among the K highest scores of their frame.

    A true class with G higher scores in its frame and E equal ones (its own among them) counts min(1, max(0, (K - G) /
    E)): its chance over all orders of the equal scores. So neither the sort nor the order of the classes matters.

    Args:
        labels: (N, C) 0/1; a frame without a true class counts nowhere.
        scores: (N, C) float, finite.
        k: at least 1.

    Returns:
        The share; NaN if no frame has a true class.

    Raises:
        ValueError: as `average_precision`, or k below 1.
    """
    if k < 1:
        raise ValueError(f"top-{k} does not exist; K is at least 1")
    labels, scores = _checked(labels, scores)
    frames, classes = np.nonzero(labels)
    if len(frames) == 0:
        return float("nan")
    own, all_scores = scores[frames, classes][:, None], scores[frames]
    higher, equal = (all_scores > own).sum(axis=1), (all_scores == own).sum(axis=1)
    return float(np.clip((k - higher) / equal, 0.0, 1.0).mean())


def _checked(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores)
    if labels.ndim != 2 or labels.shape != scores.shape or len(labels) == 0:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (frames, classes), not empty")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return labels, scores


def _one_class(labels: np.ndarray, scores: np.ndarray) -> float:
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # last frame of each group of equal scores
    hits = np.cumsum(labels[order].astype(np.float64))[ends]
    if hits[-1] == 0:
        return float("nan")
    return float((np.diff(hits, prepend=0.0) * hits / (ends + 1)).sum() / hits[-1])


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN where nothing else is there (and no warning)."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _without_nan(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


class TripletAveragePrecision(evaluate.Metric):
    """The `evaluate` module: see `_DESCRIPTION` for the formula and `_INPUTS` for the arguments of `compute`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("float64")),  # as integers 2/3 would become 0
                    "cases": datasets.Value("string"),
                }
            ),
        )

    def _compute(
        self,
        predictions: list[list[float]],
        references: list[list[float]],
        cases: list[str],
        triplets: Sequence[Sequence[int]] = CHOLECT50_TRIPLETS,
        ignored_classes: Sequence[int] = (),
        top_k: Sequence[int] = (5, 10, 20),
    ) -> dict[str, object]:
        labels, scores = _checked(np.asarray(references), np.asarray(predictions))
        components = {
            name: self._component(name, labels, scores, cases, triplets, ignored_classes) for name in COMPONENTS
        }
        return {
            "triplet_average_precision": components["IVT"]["video_wise"],
            "variant": VARIANT,
            "classes": f"{labels.shape[1] - len(set(ignored_classes))} of {labels.shape[1]} triplets",
            "video_wise": {name: component["video_wise"] for name, component in components.items()},
            "global": {name: component["global"] for name, component in components.items()},
            "components": components,
            "top_k": {str(k): top_k_accuracy(labels, scores, k) for k in top_k},
            "frames": len(labels),
            "cases": len(set(cases)),
        }

    def _component(
        self,
        name: str,
        labels: np.ndarray,
        scores: np.ndarray,
        cases: list[str],
        triplets: Sequence[Sequence[int]],
        ignored_classes: Sequence[int],
    ) -> dict[str, object]:
        """Both means of a component, and what they were made of; NaN is None in the lists."""
        classes, _ = component_classes(name, triplets)
        own_labels, own_scores = (component_values(values, name, triplets) for values in (labels, scores))
        names, by_case = average_precision_by_case(own_labels, own_scores, cases)
        pooled, video_wise = average_precision(own_labels, own_scores), mean_over_cases(by_case)
        ignored = ignored_classes if name == "IVT" else ()
        return {
            "video_wise": mean_over_classes(video_wise, ignored),
            "global": mean_over_classes(pooled, ignored),
            "classes": classes.tolist(),
            "per_class_video_wise": _without_nan(video_wise),
            "per_class_global": _without_nan(pooled),
            "per_case": {case: _without_nan(row) for case, row in zip(names, by_case, strict=True)},
            "absent_classes": [int(index) for index in np.flatnonzero(np.isnan(pooled))],
        }
