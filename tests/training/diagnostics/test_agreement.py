import pytest
import torch

from training.diagnostics.agreement import Agreement, AgreementMeter, format_rows


def test_explained_variance_is_pooled_over_batches() -> None:
    meter = AgreementMeter()
    for error, constant in (([1.0, 0.0], [2.0, 2.0]), ([2.0], [4.0])):
        values = torch.tensor(error)
        floor = torch.tensor(constant)
        agreement = Agreement(
            loss=values / 2,
            constant_loss=floor / 2,
            cosine=torch.ones_like(values),
            error=values,
            constant_error=floor,
        )
        meter.add("dino", "dense", agreement)
    (row,) = meter.rows()
    # 1 - (1 + 0 + 2) / (2 + 2 + 4); the constant's loss is half of 8 over 3 images.
    assert row["explained_variance"] == pytest.approx(1 - 3 / 8)
    assert row["loss"] == pytest.approx(0.5)
    assert row["constant_loss"] == pytest.approx(4 / 3)
    assert row["cosine"] == 1
    assert meter.rows() == []


def test_table_is_aligned() -> None:
    row = {
        "teacher": "a_long_name",
        "tokens": "dense",
        "loss": 1,
        "constant_loss": 2,
        "cosine": 0,
        "explained_variance": 0,
    }
    lines = format_rows([row, {**row, "teacher": "b"}]).splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
