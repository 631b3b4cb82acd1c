"""What several peers share: mean and std of ImageNet at their own input size."""

from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from training.teachers.preprocessing import Preprocessing


def imagenet(size: int, interpolation: str = "bicubic") -> Preprocessing:
    """Mean and std of ImageNet for square inputs of `size` pixels, RGB in [0, 1]."""
    return Preprocessing(
        mean=(IMAGENET_DEFAULT_MEAN[0], IMAGENET_DEFAULT_MEAN[1], IMAGENET_DEFAULT_MEAN[2]),
        std=(IMAGENET_DEFAULT_STD[0], IMAGENET_DEFAULT_STD[1], IMAGENET_DEFAULT_STD[2]),
        scale=1.0,
        channel_order="rgb",
        interpolation=interpolation,
        size=(size, size),
    )
