"""The teachers a recipe can name. Adding one is one entry here; nothing is downloaded until it is loaded."""

from dataclasses import replace

from training.registry import Registry
from training.teachers.spec import TeacherSpec

TEACHERS: Registry[TeacherSpec] = Registry("teacher")

_HUB = "https://huggingface.co/"
_BOTH = ("summary", "dense")


def find_spec(name_or_repo: str) -> TeacherSpec | None:
    """The entry with this registry name or this Hub id, or `None`."""
    if name_or_repo in TEACHERS:
        return TEACHERS.get(name_or_repo)
    return next((spec for name in TEACHERS.names() if (spec := TEACHERS.get(name)).repo == name_or_repo), None)


def _vit(name: str, repo: str, patch_size: int, licence: str, **differences: object) -> TeacherSpec:
    """A ViT whose positions resize; the differing fields override. Registers it and gives it back.

    The range of sizes is ours: 8 cells are about the fewest in which a scene is still a scene, and 1024 pixels bound
    the memory of a typing mistake. Entries override it.
    """
    spec = TeacherSpec(
        name=name,
        repo=repo,
        kind="tokens",
        summary="pooler",
        dense=True,
        patch_size=patch_size,
        min_size=8 * patch_size,
        max_size=1024,
        size_multiple=patch_size,
        roles=_BOTH,
        licence=licence,
        source=_HUB + repo,
        num_prefix_tokens=1,
    )
    spec = replace(spec, **differences)  # type: ignore[arg-type]
    return TEACHERS.register(name)(spec)


for _size in ("small", "base", "large"):
    # Trained at 224 and finished at 518; positions are interpolated. Class token, no registers.
    _vit(f"dinov2-{_size}", f"facebook/dinov2-{_size}", 14, "apache-2.0")
    # The same with 4 register tokens, which take the high-norm artefacts out of the patch tokens.
    _vit(
        f"dinov2-registers-{_size}",
        f"facebook/dinov2-with-registers-{_size}",
        14,
        "apache-2.0",
        num_prefix_tokens=5,
    )

for _size in ("small", "base", "large"):
    # Rotary positions, class token and 4 registers. The DINOv3 License has terms of its own: read them before
    # publishing a student.
    _vit(
        f"dinov3-{_size}",
        f"facebook/dinov3-vit{_size[0]}16-pretrain-lvd1689m",
        16,
        "dinov3-license (https://ai.meta.com/resources/models-and-libraries/dinov3-license/)",
        num_prefix_tokens=5,
        max_size=2048,
        gated=True,
    )

# SigLIP2: no class token; the summary is an attention pool. The plain checkpoints have one learned position per patch.
_vit(
    "siglip2-base",
    "google/siglip2-base-patch16-224",
    16,
    "apache-2.0",
    num_prefix_tokens=0,
    fixed_size=(224, 224),
)
_vit(
    "siglip2-so400m",
    "google/siglip2-so400m-patch16-256",
    16,
    "apache-2.0",
    num_prefix_tokens=0,
    fixed_size=(256, 256),
)
# The NaFlex checkpoints were trained on native aspect ratios, so they follow the student's grid.
_vit("siglip2-base-naflex", "google/siglip2-base-patch16-naflex", 16, "apache-2.0", num_prefix_tokens=0)
_vit("siglip2-so400m-naflex", "google/siglip2-so400m-patch16-naflex", 16, "apache-2.0", num_prefix_tokens=0)

# Video: no class token; rotary positions that count along the rows of the size it was trained at, so that is the only
# legal one. The frames of a clip attend to each other; each frame fills a tubelet of its own.
for _size, _name, _licence in (
    ("large", "vitl", "mit"),
    ("huge", "vith", "apache-2.0"),
    ("giant", "vitg", "apache-2.0"),
):
    _vit(
        f"vjepa2-{_size}",
        f"facebook/vjepa2-{_name}-fpc64-256",
        16,
        _licence,
        kind="video",
        summary="mean",
        num_prefix_tokens=0,
        tubelet_size=2,
        fixed_size=(256, 256),
    )

_vit(
    "endovit",
    "egeozsoy/EndoViT",
    16,
    "apache-2.0",
    summary="first_token",
    fixed_size=(224, 224),
    not_loadable=(
        "its Hub file is a pickled MAE training state without a transformers or timm config, so AutoModel cannot load "
        "it; convert the encoder tensors to a timm vit_base_patch16_224 folder (TimmWrapperModel.save_pretrained, mean "
        "0.3464 0.2280 0.2228, std 0.2520 0.2128 0.2093) and give that folder as the teacher"
    ),
)
