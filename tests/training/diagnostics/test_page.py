from training.diagnostics.page import TableLine, _agreement, table
from training.diagnostics.report import CONSTANT
from training.diagnostics.rows import Row

MODELS = ("student", "random init", "t")


def test_columns_are_measures_and_variants_and_lines_are_models() -> None:
    rows = [
        Row("pck", "student", 0.5, 0.4, 0.6, variant="shift"),
        Row("pck", "student", 0.7, variant="scale"),
        Row("pck", "random init", 0.1, variant="shift", chance=0.03),
        Row("pck", "elsewhere", 0.9, variant="shift"),
    ]
    made = table("title", rows, MODELS)
    assert made.columns == ("PCK@0.1, shift", "PCK@0.1, scale")
    assert [line.label for line in made.lines] == ["student", "random init"]
    assert made.lines[0].is_student
    assert made.lines[0].cells == (rows[0], rows[1])
    assert made.lines[1].cells == (rows[2], None)
    assert made.chance == ("0.030", "")


def test_sizes_that_differ_between_models_are_one_column() -> None:
    rows = [
        Row("resolution_consistency", model, 0.5, variant=variant)
        for model, variant in (("student", "2 x (224 px)"), ("t", "2 x (448 px)"))
    ]
    assert table("", rows, MODELS, by_scale=True).columns == ("cosine, 2 x",)
    assert len(table("", rows, MODELS).columns) == 2


def test_what_is_missing_says_whose_it_is_unless_it_is_everybodys() -> None:
    one = [Row("lidar", "student", 1.0), Row("lidar", "t", None, note="one size only")]
    assert table("", one, MODELS).notes == ("LiDAR of t: one size only",)
    assert [line.label for line in table("", one, MODELS).lines] == ["student"]
    every = [Row("lidar", model, None, note="no clips") for model in MODELS]
    assert table("", every, MODELS).notes == ("LiDAR: no clips",)
    assert table("", every, MODELS).lines == ()


def test_agreement_has_a_line_for_every_way_to_the_teacher() -> None:
    facts = {"teacher": "t", "tokens": "dense"}
    probe = Row("explained_variance", "student", 0.3, variant="ridge probe", **facts)
    head = Row("explained_variance", "student", 0.4, variant="trained head", **facts)
    other = Row("explained_variance", "random init", 0.1, variant="ridge probe", **facts)
    gap = Row("head_minus_probe", "student", 0.1, **facts)
    loss, floor = Row("loss", "student", 0.6, variant="trained head", **facts), Row("loss", CONSTANT, 1.0, **facts)
    (made,) = _agreement([probe, head, other, gap, loss, floor], ["t"], [*MODELS, CONSTANT])
    assert made.title == "t, dense tokens"
    assert made.columns == ("explained variance", "loss")
    assert made.lines == (
        TableLine("student, trained head", "student", (head, loss)),
        TableLine("student, ridge probe", "student", (probe, None)),
        TableLine("head minus probe", "student", (gap, None)),
        TableLine("random init, ridge probe", "random init", (other, None)),
        TableLine(CONSTANT, CONSTANT, (None, floor)),
    )
    (bare,) = _agreement([probe, other], ["t"], MODELS)
    assert bare.columns == ("explained variance",)
    assert [line.cells for line in bare.lines] == [(probe,), (other,)]
