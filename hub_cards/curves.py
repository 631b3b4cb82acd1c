"""Charts of a run: agreement with each teacher on held-out cases, and the training loss."""

from hub_cards.run_records import AgreementPoint, Run
from training.report.charts import ALONE, COLORS, Chart, Line, line_chart


def agreement_charts(run: Run) -> list[Chart]:
    """Explained variance and centred cosine on held-out cases through the run, dense and summary tokens apart.

    The best constant predictor, 0, is marked. A kind of token that no teacher teaches, or a run without held-out
    cases, has no chart.
    """
    held_out = [point for point in run.agreement if point.split == "held_out"]
    measures = (("explained_variance", "Explained variance"), ("cosine", "Centered cosine"))
    charts = []
    for tokens in ("dense", "summary"):
        points = [point for point in held_out if point.tokens == tokens]
        for measure, name in measures:
            if points:
                charts.append(line_chart(f"{name}, {tokens} tokens", "step", _lines(run, points, measure), mark=0.0))
    return charts


def loss_chart(run: Run) -> list[Chart]:
    """The total training loss through the run; nothing if none was logged."""
    if not run.losses:
        return []
    line = Line("loss", ALONE, [point.step for point in run.losses], [point.loss for point in run.losses])
    return [line_chart("Training loss, weighted sum", "step", [line])]


def teacher_colors(run: Run) -> dict[str, str]:
    """One color per teacher, the same in every chart."""
    return {teacher.key: COLORS[number % len(COLORS)] for number, teacher in enumerate(run.teachers)}


def _lines(run: Run, points: list[AgreementPoint], measure: str) -> list[Line]:
    lines = []
    for name, color in teacher_colors(run).items():
        own = [point for point in points if point.teacher == name]
        if own:
            lines.append(Line(name, color, [point.step for point in own], [getattr(point, measure) for point in own]))
    return lines
