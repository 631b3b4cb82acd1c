"""All heads for single frames: how they load and train; classes and triplets: what they compute and refuse."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import Trainer, TrainingArguments

from modeling_zen import (
    ZenConfig,
    ZenForActionTriplet,
    ZenForDepthEstimation,
    ZenForImageClassification,
    ZenForMaskedImageModeling,
    ZenForSemanticSegmentation,
    ZenModel,
)

TRIPLETS: dict[str, Any] = {
    "instruments": ["hook", "grasper"],
    "verbs": ["cut", "hold", "null_verb"],
    "targets": ["duct", "liver", "null_target"],
    "triplets": [[0, 0, 0], [1, 1, 1], [1, 1, 0], [0, 2, 2]],
}

# Per head: the Auto class, fields of the config, the prefixes of its weights, and labels for two frames of 48 x 80
# pixels in patches of 16.
HEADS: dict[type, tuple[str, dict[str, Any], tuple[str, ...], dict[str, torch.Tensor]]] = {
    ZenForImageClassification: (
        "AutoModelForImageClassification",
        {"num_labels": 5},
        ("classifier.",),
        {"labels": torch.tensor([4, 0])},
    ),
    ZenForActionTriplet: (
        "AutoModelForImageClassification",
        TRIPLETS,
        ("classifier.", "instrument_classifier.", "verb_classifier.", "target_classifier."),
        {"labels": torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 0]])},
    ),
    ZenForSemanticSegmentation: (
        "AutoModelForSemanticSegmentation",
        {"num_labels": 5},
        ("decode_head.",),
        {"labels": torch.randint(5, (2, 48, 80), generator=torch.Generator().manual_seed(2))},
    ),
    ZenForDepthEstimation: (
        "AutoModelForDepthEstimation",
        {},
        ("depth_head.",),
        {"labels": torch.linspace(20, 150, 2 * 48 * 80).view(2, 48, 80)},
    ),
    ZenForMaskedImageModeling: (
        "AutoModelForMaskedImageModeling",
        {},
        ("mask_token", "decoder."),
        {"bool_masked_pos": (torch.arange(30) % 3 > 0).view(2, 15)},
    ),
}
every_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)


def build(head: type, config: ZenConfig, **fields: Any) -> Any:
    torch.manual_seed(0)
    return head(ZenConfig(**{**config.to_diff_dict(), **HEADS[head][1], **fields}))


@every_head
def test_a_trunk_is_loaded_with_a_new_head_and_nothing_else_new(head: type, folder: Path, model: ZenModel) -> None:
    _, fields, prefixes, _ = HEADS[head]
    loaded, report = head.from_pretrained(folder, output_loading_info=True, **fields)
    own = {name for name in loaded.state_dict() if not name.startswith("zen.")}
    assert set(report["missing_keys"]) == own
    assert {name for name in own if not name.startswith(prefixes)} == set()
    assert head._weights_that_may_be_new == prefixes
    assert not report["unexpected_keys"]
    trunk = model.state_dict()
    assert all(torch.equal(weight, trunk[name]) for name, weight in loaded.zen.state_dict().items())
    assert all(weight.isfinite().all() for weight in loaded.state_dict().values())


@every_head
def test_a_trunk_that_lacks_a_weight_is_refused(head: type, folder: Path, model: ZenModel) -> None:
    weights = {name: weight for name, weight in model.state_dict().items() if name != "norm.weight"}
    model.save_pretrained(folder, state_dict=weights)
    with pytest.raises(ValueError, match=r"1 missing: zen\.norm\.weight"):
        head.from_pretrained(folder, **HEADS[head][1])


@every_head
def test_round_trip_through_the_auto_class(head: type, config: ZenConfig, pixels: torch.Tensor, tmp_path: Path) -> None:
    auto, _, _, labels = HEADS[head]
    saved = build(head, config).eval()
    saved.save_pretrained(tmp_path)
    loaded, report = getattr(transformers, auto).from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is head
    assert not report["missing_keys"]
    before, after = saved(pixels, **labels), loaded(pixels, **labels)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    # and back to a bare encoder
    assert torch.equal(
        ZenModel.from_pretrained(tmp_path)(pixels).last_hidden_state, saved.zen(pixels).last_hidden_state
    )
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"][auto].endswith(f".{head.__name__}")


@every_head
def test_a_step_lowers_the_loss_and_the_gradient_reaches_every_weight(
    head: type, config: ZenConfig, pixels: torch.Tensor
) -> None:
    labels = HEADS[head][3]
    model = build(head, config, layerscale_value=1.0).train()
    assert model.config is not config
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = model(pixels, **labels).loss
    before.backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    assert model.zen.embeddings.patch_embeddings.weight.grad.abs().max() > 0
    optimizer.step()
    assert model(pixels, **labels).loss < before


@every_head
def test_hidden_states_attentions_and_tuples_on_request(head: type, config: ZenConfig, pixels: torch.Tensor) -> None:
    labels = HEADS[head][3]
    model = build(head, config, attn_implementation="eager").eval()
    plain = model(pixels)
    assert plain.get("loss") is None
    assert plain.get("hidden_states") is None
    full = model(pixels, output_hidden_states=True, output_attentions=True, **labels)
    assert [tuple(state.shape) for state in full.hidden_states] == [(2, 20, 32)] * 3
    assert [tuple(weights.shape) for weights in full.attentions] == [(2, 4, 20, 20)] * 2
    as_tuple = model(pixels, return_dict=False, **labels)
    assert isinstance(as_tuple, tuple)
    assert torch.equal(as_tuple[0], full.loss)
    model.config.return_dict = False
    assert isinstance(model(pixels), tuple)


@every_head
def test_losses_are_float32_in_half_precision(head: type, config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(head, config).to(torch.bfloat16)
    loss = model(pixels, **HEADS[head][3]).loss
    assert loss.dtype == torch.float32
    loss.backward()
    assert loss.isfinite()


@every_head
def test_calling_twice_gives_the_same_and_inputs_stay(head: type, config: ZenConfig, pixels: torch.Tensor) -> None:
    labels = HEADS[head][3]
    before = copy.deepcopy((pixels, labels))
    model = build(head, config).eval()
    assert torch.equal(model(pixels, **labels).loss, model(pixels, **labels).loss)
    assert torch.equal(pixels, before[0])
    assert all(torch.equal(labels[name], before[1][name]) for name in labels)


@every_head
def test_accumulated_batches_count_as_one_large_batch(
    head: type, config: ZenConfig, pixels: torch.Tensor, tmp_path: Path
) -> None:
    """The Trainer believes of a model with `**kwargs` that it divided its loss already; see `accepts_loss_kwargs`."""
    labels = HEADS[head][3]
    # the same frame twice: its gradient must not double
    rows = [{"pixel_values": pixels[0], **{name: label[0] for name, label in labels.items()}}] * 2
    norms = []
    for batch, accumulated in ((2, 1), (1, 2)):
        arguments = TrainingArguments(
            str(tmp_path),
            report_to=[],
            use_cpu=True,
            max_steps=1,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            logging_steps=1,
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(build(head, config), arguments, train_dataset=rows)
        trainer.train()
        norms.append(trainer.state.log_history[0]["grad_norm"])
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


# Image classification


def test_the_classifier_reads_summary_and_patches(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForImageClassification, config).eval()
    tokens = model.zen(pixels).last_hidden_state  # 2 summary tokens, 3 registers, 15 patches
    features = torch.cat([tokens[:, :2].mean(dim=1), tokens[:, 5:].mean(dim=1)], dim=1)
    torch.testing.assert_close(model(pixels).logits, features @ model.classifier.weight.T + model.classifier.bias)


@pytest.mark.parametrize(
    ("fields", "labels", "expected"),
    [
        # with a classifier of zeros all logits are 0
        ({"num_labels": 4}, torch.tensor([3, 1]), math.log(4)),
        ({"num_labels": 4}, torch.tensor([3, -100], dtype=torch.int32), math.log(4)),
        ({"num_labels": 4}, torch.tensor([-100, -100]), 0.0),
        ({"num_labels": 3}, torch.tensor([[1.0, 0, 1], [0, 0, 0]]), math.log(2)),
        ({"num_labels": 1}, torch.tensor([1.0, 3.0]), 5.0),
        ({"num_labels": 1}, torch.tensor([[1.0], [3.0]]), 5.0),
        ({"num_labels": 2, "problem_type": "regression"}, torch.tensor([[1.0, 3.0], [0, 0]]), 2.5),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, torch.tensor([[1.0], [0]]), math.log(2)),
    ],
)
def test_classification_losses_by_hand(
    fields: dict[str, Any], labels: torch.Tensor, expected: float, config: ZenConfig, pixels: torch.Tensor
) -> None:
    model = build(ZenForImageClassification, config, **fields)
    nn.init.zeros_(model.classifier.weight)
    assert model(pixels, labels=labels).loss.item() == pytest.approx(expected)


def test_dropout_works_in_training_only(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForImageClassification, config, classifier_dropout=0.5).eval()
    assert torch.equal(model(pixels).logits, model(pixels).logits)
    model.train()
    assert not torch.equal(model(pixels).logits, model(pixels).logits)


# Action triplets


def test_a_triplet_is_its_parts_and_something_of_its_own(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForActionTriplet, config).eval()
    outputs = model(pixels)
    tokens = model.zen(pixels)
    features = torch.cat([tokens.pooler_output, tokens.last_hidden_state[:, 5:].mean(dim=1)], dim=1)
    own = model.classifier(features)
    for index, (instrument, verb, target) in enumerate(TRIPLETS["triplets"]):
        expected = (
            own[:, index]
            + outputs.instrument_logits[:, instrument]
            + outputs.verb_logits[:, verb]
            + outputs.target_logits[:, target]
        )
        torch.testing.assert_close(outputs.logits[:, index], expected)
    assert (outputs.instrument_logits.shape, outputs.verb_logits.shape) == ((2, 2), (2, 3))


def zeroed_triplet_model(config: ZenConfig) -> Any:
    """All weights 0; biases such that the cross-entropies differ: triplets 0, instruments 1, verbs 2, targets 3."""
    model = build(ZenForActionTriplet, config)
    heads = (model.classifier, model.instrument_classifier, model.verb_classifier, model.target_classifier)
    for bias, head in zip((-6.0, 1.0, 2.0, 3.0), heads, strict=True):
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, bias)
    return model


def test_triplet_loss_by_hand(config: ZenConfig, pixels: torch.Tensor) -> None:
    def cross_entropy(logit: float, present: int, absent: int) -> float:
        on, off = math.log1p(math.exp(-logit)), math.log1p(math.exp(logit))
        return (present * on + absent * off) / (present + absent)

    model = zeroed_triplet_model(config)
    # frame 0: hook cuts duct; frame 1: grasper holds liver and duct. Present: instruments 1 + 1 of 2 x 2,
    # verbs 1 + 1 of 2 x 3, targets 1 + 2 of 2 x 3; the logit of a triplet is -6 + 1 + 2 + 3
    labels = HEADS[ZenForActionTriplet][3]["labels"]
    parts = [cross_entropy(0, 3, 5), cross_entropy(1, 2, 2), cross_entropy(2, 2, 4), cross_entropy(3, 3, 3)]
    assert model(pixels, labels=labels).loss.item() == pytest.approx(sum(parts) / 4)
    # told that the verb is present in neither frame
    parts[2] = cross_entropy(2, 0, 6)
    loss = model(pixels, labels=labels, verb_labels=torch.zeros(2, 3)).loss
    assert loss.item() == pytest.approx(sum(parts) / 4)


def test_labels_of_parts_are_those_of_the_triplets_unless_given(config: ZenConfig, pixels: torch.Tensor) -> None:
    model = build(ZenForActionTriplet, config)
    labels = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0]])
    given = model(
        pixels,
        labels=labels,
        instrument_labels=torch.tensor([[1.0, 0], [0, 0]]),
        verb_labels=torch.tensor([[1.0, 0, 1], [0, 0, 0]]),
        target_labels=torch.tensor([[1.0, 0, 1], [0, 0, 0]]),
    )
    assert torch.equal(model(pixels, labels=labels).loss, given.loss)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["hook,cut,duct", "grasper,hold,liver", "grasper,hold,duct", "hook,null_verb,null_target"]),
        ({"num_labels": 4}, ["hook,cut,duct", "grasper,hold,liver", "grasper,hold,duct", "hook,null_verb,null_target"]),
        ({"id2label": {0: "a", 1: "b", 2: "c", 3: "d"}}, ["a", "b", "c", "d"]),
    ],
)
def test_triplet_names(fields: dict[str, Any], names: list[str], config: ZenConfig, tmp_path: Path) -> None:
    model = build(ZenForActionTriplet, config, **fields)
    assert model.config.num_labels == model.num_labels == 4
    assert list(model.config.id2label.values()) == names
    model.save_pretrained(tmp_path)
    assert list(ZenConfig.from_pretrained(tmp_path).id2label.values()) == names


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**dict.fromkeys(TRIPLETS)}, r"needs instruments, verbs, targets and triplets in its config"),
        ({"num_labels": 7}, r"num_labels is 7, but there are 4 triplets"),
        ({"id2label": {0: "a", 1: "b"}}, r"num_labels is 2, but there are 4 triplets"),
    ],
)
def test_bad_triplet_configs(fields: dict[str, Any], message: str, config: ZenConfig) -> None:
    with pytest.raises(ValueError, match=message):
        build(ZenForActionTriplet, config, **fields)


# Bad input

INTS, FLOATS = torch.zeros(2, dtype=torch.long), torch.zeros(2, 5)
PIXELS = torch.zeros(2, 3, 48, 80)


@pytest.mark.parametrize(
    ("head", "fields", "inputs", "message"),
    [
        (
            ZenForImageClassification,
            {},
            {"labels": INTS[:1]},
            r"labels must be integers \(2\), not torch\.int64 \(1,\)",
        ),
        (ZenForImageClassification, {}, {"labels": FLOATS[:, :3]}, r"must be floating point \(2, 5\), not .* \(2, 3\)"),
        (ZenForImageClassification, {}, {"labels": INTS + 5}, r"labels holds class 5, .* 0 to 4 \(nor -100"),
        (ZenForImageClassification, {}, {"labels": INTS - 1}, r"labels holds class -1, which is not from 0 to 4"),
        (ZenForImageClassification, {}, {"labels": FLOATS - 1}, r"labels holds -1, which is not from 0 \(absent\)"),
        (ZenForImageClassification, {}, {"labels": FLOATS / 0}, r"labels holds nan, which is not from 0 \(absent\)"),
        (ZenForImageClassification, {"num_labels": 1}, {"labels": INTS}, r"floating point \(2\), not torch\.int64"),
        (
            ZenForImageClassification,
            {"problem_type": "multi_label_classification"},
            {"labels": INTS},
            r"labels must be floating point \(2, 5\), not torch\.int64 \(2,\)",
        ),
        (
            ZenForImageClassification,
            {"problem_type": "single_label_classification"},
            {"labels": FLOATS},
            r"labels must be integers \(2\), not torch\.float32 \(2, 5\)",
        ),
        (
            ZenForImageClassification,
            {"problem_type": "regression"},
            {"labels": FLOATS[:, 0]},
            r"labels must be floating point \(2, 5\), not torch\.float32 \(2,\)",
        ),
        (ZenForImageClassification, {}, {"pixel_values": PIXELS[:, :1]}, r"pixel_values must be \(batch, 3, height"),
        (ZenForActionTriplet, {}, {"labels": FLOATS}, r"labels must be floating point \(2, 4\), not .* \(2, 5\)"),
        (
            ZenForActionTriplet,
            {},
            {"labels": FLOATS[:, :4].int()},
            r"must be floating point \(2, 4\), not torch\.int32",
        ),
        (ZenForActionTriplet, {}, {"labels": FLOATS[:, :4] + 2}, r"labels holds 2, which is not from 0 \(absent\)"),
        (
            ZenForActionTriplet,
            {},
            {"labels": FLOATS[:, :4], "verb_labels": FLOATS},
            r"verb_labels must be floating point \(2, 3\), not torch\.float32 \(2, 5\)",
        ),
        (
            ZenForActionTriplet,
            {},
            {"instrument_labels": FLOATS[:, :2]},
            r"labels of the triplets must be given beside those of their instruments",
        ),
    ],
)
def test_bad_input(
    head: type, fields: dict[str, Any], inputs: dict[str, torch.Tensor], message: str, config: ZenConfig
) -> None:
    with pytest.raises(ValueError, match=message):
        build(head, config, **fields)(**{"pixel_values": PIXELS, **inputs})
