"""Numbers that a file of weights does not hold, or not surely: attention heads and registers.

With a wrong one the weights load and compute garbage.
"""

# (width, layers) -> heads, as published. Sources: ViT, arXiv:2010.11929, table 1 (S and Ti: DeiT, arXiv:2012.12877,
# table 1); the models of DINO, iBOT, MAE and EndoViT are among them; ViT-g of DINOv2: arXiv:2304.07193.
# Not covered: the ViT-S of MoCo v3 is 384 wide with 12 heads, against all others.
PUBLISHED_HEADS: dict[tuple[int, int], int] = {
    (192, 12): 3,
    (384, 12): 6,
    (768, 12): 12,
    (1024, 24): 16,
    (1280, 32): 16,
    (1536, 40): 24,
}


def resolve_heads(width: int, layers: int, given: int | None, name: str) -> int:
    """The number of heads of a model that is `width` wide and has `layers` layers.

    Args:
        width: Channels of a token.
        layers: Number of layers.
        given: What the caller says, or `None`.
        name: Of the source, for messages.

    Raises:
        ValueError: Nobody says, the caller contradicts the published table, or heads of that number cannot be.
    """
    published = PUBLISHED_HEADS.get((width, layers), given)
    if published is None:
        raise ValueError(
            f"{name} is {width} wide and has {layers} layers, which is no published size, and a file of weights does "
            "not say how many attention heads there are: give num_heads"
        )
    if given is not None and published is not None and given != published:
        raise ValueError(
            f"{name} is {width} wide and has {layers} layers, as published with {published} attention heads; "
            f"num_heads {given} would compute garbage"
        )
    check_heads(width, published, name)
    return published


def check_heads(width: int, heads: int, name: str) -> None:
    """Refuse a number of heads that does not divide the width into multiples of 4, as ZEN needs."""
    if heads < 1 or width % (4 * heads):
        raise ValueError(f"{name} is {width} wide, which num_heads {heads} does not divide into multiples of 4")


def check_registers(key: str, found: int, *, expected: bool, given: int | None, name: str) -> None:
    """Compare the registers in a file with those its family has; a file that lost them must not pass for one without.

    Args:
        key: What the family calls them.
        found: How many the file holds.
        expected: Whether the family has registers.
        given: How many the caller says there are, which wins; or `None`.
        name: Of the source, for messages.

    Raises:
        ValueError: They do not agree.
    """
    if given is not None and found != given:
        raise ValueError(f"{name} holds {found} registers ({key}), not num_register_tokens {given}")
    if given is None and expected and not found:
        raise ValueError(
            f"{name} holds no registers ({key}), which its family has; without them its features are wrong "
            "(num_register_tokens=0 says that it never had any)"
        )
    if given is None and found and not expected:
        raise ValueError(f"{name} holds {found} registers ({key}), which its family has not")
