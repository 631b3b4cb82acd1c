"""Scores of one class per sample, without time: macro F1, accuracy, balanced accuracy and Matthews correlation."""

import numpy as np

from evaluation.predictions import Predictions
from evaluation.scoring.measured import Compute, Measured, case_rows, defined_mean, named


def score(predictions: Predictions) -> list[Measured]:
    """From the confusion matrix of the drawn cases; a class without test samples takes part in no mean."""
    cases, owner = case_rows(predictions.cases)
    classes = len(predictions.target.classes)
    confusions = np.zeros((len(cases), classes, classes))
    np.add.at(confusions, (owner, predictions.targets, predictions.predicted), 1.0)

    def over(function: Compute) -> Compute:
        return lambda weights: function(np.einsum("rc,cij->rij", weights, confusions))

    total = confusions.sum(axis=0)
    detail = {
        "per_class": named(predictions.target.classes, _f1(total[None])[0]),
        "samples": dict(zip(predictions.target.classes, total.sum(axis=1).astype(int).tolist(), strict=True)),
    }
    macro = "pooled samples, mean over classes with samples"
    return [
        Measured("macro_f1", macro, cases, over(lambda c: defined_mean(_f1(c))), primary=True, detail=detail),
        Measured("accuracy", "pooled samples", cases, over(_accuracy)),
        Measured("balanced_accuracy", macro, cases, over(lambda c: defined_mean(_recall(c)))),
        Measured("matthews_correlation", "pooled samples, several classes (Gorodkin 2004)", cases, over(_matthews)),
    ]


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _recall(confusions: np.ndarray) -> np.ndarray:
    return _divide(np.einsum("rii->ri", confusions), confusions.sum(axis=2))


def _f1(confusions: np.ndarray) -> np.ndarray:
    """2 TP / (2 TP + FP + FN), (R, K, K) -> (R, K); NaN for a class without samples."""
    true, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    return np.where(true > 0, _divide(2 * np.einsum("rii->ri", confusions), true + predicted), np.nan)


def _accuracy(confusions: np.ndarray) -> np.ndarray:
    return _divide(np.einsum("rii->r", confusions), confusions.sum(axis=(1, 2)))


def _matthews(confusions: np.ndarray) -> np.ndarray:
    """R_K of Gorodkin (2004): (c s - p·t) / sqrt((s² - p·p)(s² - t·t)); NaN where truth or prediction is constant."""
    true, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    samples, hits = confusions.sum(axis=(1, 2)), np.einsum("rii->r", confusions)
    above = hits * samples - (true * predicted).sum(axis=1)
    spread = [samples**2 - (each**2).sum(axis=1) for each in (true, predicted)]
    return _divide(above, np.sqrt(spread[0] * spread[1]))
