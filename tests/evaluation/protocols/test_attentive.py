import dataclasses

import numpy as np
import torch

from evaluation.protocols.attentive import SETTINGS, AttentiveHead
from evaluation.protocols.inputs import Inputs
from evaluation.protocols.probe import PROBES
from tests.evaluation.protocols.probe_problem import ArrayStore, balanced_accuracy, make_problem, make_targets


def head() -> AttentiveHead:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one = AttentiveHead(token_width=5, pooled_width=4, classes=3, settings=SETTINGS)
        torch.nn.init.normal_(one.head.weight)
    return one.eval()


@torch.inference_mode()
def test_padding_and_the_order_of_tokens_do_not_count() -> None:
    tokens, pooled = torch.randn(2, 6, 5), torch.randn(2, 4)
    there = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    scores = head()(tokens, there, pooled)
    assert scores.shape == (1, 2, 3)
    tokens[1, 4:] = 1e4
    assert torch.equal(head()(tokens, there, pooled), scores)
    torch.testing.assert_close(head()(tokens[1:, [2, 0, 3, 1]], there[1:, :4], pooled[1:])[0], scores[:, 1])


@torch.inference_mode()
def test_a_new_head_knows_no_class_from_another() -> None:
    fresh = AttentiveHead(5, 4, 3, SETTINGS)
    assert bool((fresh(torch.randn(2, 6, 5), torch.ones(2, 6, dtype=torch.bool), torch.randn(2, 4)) == 0).all())


def test_a_sign_in_one_place_that_the_mean_hides_is_found() -> None:
    """One of 16 tokens tells the class by the sign of a feature, another one has the opposite sign."""
    rng = np.random.default_rng(0)
    targets = make_targets("single", 240) % 2
    inputs, problem = make_problem(targets, "single", told=make_targets("single", 240, seed=4))
    coarse = 0.1 * rng.standard_normal((240, 8, 4, 4))
    sign = np.where(targets == 1, 3.0, -3.0)
    places = np.array([rng.permutation(16)[:2] for _ in range(240)])
    flat, rows = coarse.reshape(240, 8, 16), np.arange(240)
    flat[rows, 0, places[:, 0]], flat[rows, 0, places[:, 1]] = sign, -sign
    flat[rows, 1, places[:, 0]] = flat[rows, 2, places[:, 1]] = 3.0  # which of the two it is
    inputs = Inputs(ArrayStore(np.zeros((240, 0)), flat.reshape(240, 8, 4, 4)), "made up")
    accuracy = {
        name: balanced_accuracy(problem, PROBES.get(name).fit(inputs, problem, 0)[0])
        for name in ("linear", "attentive")
    }
    assert accuracy["linear"] < 0.65
    assert accuracy["attentive"] > 0.9


def test_clips_of_different_lengths_in_one_batch() -> None:
    inputs, problem = make_problem(make_targets("single", 48), "single", frames=3)
    shorter = tuple(frames[: 1 + row % 3] for row, frames in enumerate(problem.train.frames))
    train = dataclasses.replace(problem.train, frames=shorter)
    scores, _ = PROBES.get("attentive").fit(inputs, dataclasses.replace(problem, train=train), 0)
    assert balanced_accuracy(problem, scores) > 0.95
