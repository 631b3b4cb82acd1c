import pytest
import torch

from training.errors import UserError
from training.objectives.block_masks import TargetBlocks, block_mask, masked_batch


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [0, 1, 7, 40, 98])
def test_exactly_as_many_patches_are_hidden(count: int) -> None:
    assert int(block_mask((14, 14), count, generator(count)).sum()) == count


def test_hidden_patches_lie_together() -> None:
    mask = block_mask((14, 14), 40, generator()).view(14, 14)
    right_too = (mask[:, :-1] & mask[:, 1:]).sum() / mask.sum()
    assert right_too > 0.6  # of 40 patches at random a fifth would have a hidden neighbour to the right


def test_a_batch_spreads_the_ratios_evenly() -> None:
    masks = masked_batch(4, (10, 10), 0.5, (0.1, 0.5), generator())
    # two masked images at the middles of 0.1 - 0.3 and 0.3 - 0.5
    assert sorted(masks.sum(dim=1).tolist()) == [0, 0, 20, 40]
    assert not masked_batch(4, (10, 10), 0.0, (0.1, 0.5), generator()).any()


IJEPA = TargetBlocks(4, (0.15, 0.2), (0.75, 1.5), (0.85, 1.0))


@pytest.mark.parametrize("grid", [(3, 3), (4, 4), (7, 7), (14, 14), (9, 16)])
def test_targets_are_rectangles_outside_of_the_context(grid: tuple[int, int]) -> None:
    IJEPA.check(grid, 16)
    for seed in range(200):
        blocks = IJEPA.draw(3, grid, generator(seed))
        assert blocks.context.shape[1] >= 1
        assert blocks.targets.shape[:2] == (3, 4)
        assert blocks.targets.shape[2] <= max(1, 0.2 * grid[0] * grid[1])
        for context, targets in zip(blocks.context.tolist(), blocks.targets, strict=True):
            assert len(set(context)) == len(context)
            assert not set(context) & set(targets.flatten().tolist())
            assert 0 <= min(context) <= max(context) < grid[0] * grid[1]
            for target in targets.tolist():
                rows, columns = {patch // grid[1] for patch in target}, {patch % grid[1] for patch in target}
                assert len(rows) * len(columns) == len(target) == len(set(target))
                assert max(rows) - min(rows) == len(rows) - 1
                assert max(columns) - min(columns) == len(columns) - 1


def test_places_differ_between_images_and_draws() -> None:
    blocks, again = IJEPA.draw(2, (14, 14), generator(1)), IJEPA.draw(2, (14, 14), generator(1))
    assert torch.equal(blocks.context, again.context)
    assert torch.equal(blocks.targets, again.targets)
    assert not torch.equal(blocks.targets[0], blocks.targets[1])


def test_a_grid_that_targets_can_cover_is_refused() -> None:
    message = (
        r"ijepa: 4 targets of up to 1 patches can cover the context of 4 on the 2 x 2 patches of images of 32 pixels: "
        r"choose larger images"
    )
    with pytest.raises(UserError, match=message):
        IJEPA.check((2, 2), 16)
