import torch

from modeling_zen import ZenConfig, ZenModel
from training.diagnostics.color_histogram import color_histogram
from training.diagnostics.subjects import HistogramSubject, ZenSubject, random_student, zen_features

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def student(**changes: int) -> ZenModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    return ZenModel(ZenConfig(**{**sizes, "image_size": 32, **changes})).eval()


def test_features_of_a_zen_are_all_summary_tokens_and_the_patches() -> None:
    model = student(num_summary_tokens=2)
    subject = ZenSubject("s", "student", model, torch.full((1, 3, 1, 1), 0.5), torch.full((1, 3, 1, 1), 0.25), (32, 32))
    with torch.no_grad():
        found = subject(IMAGES, (48, 48))
        small = torch.nn.functional.interpolate(IMAGES, size=(48, 48), mode="bilinear", antialias=True)
        hidden = model(pixel_values=(small - 0.5) / 0.25).last_hidden_state
    assert found.summary is not None
    assert found.dense is not None
    assert torch.equal(found.summary, hidden[:, :2].reshape(2, 48))
    assert found.dense.shape == (2, 24, 3, 3)
    assert torch.equal(found.dense[0, :, 2, 1], hidden[0, model.config.num_prefix_tokens + 7])
    assert subject.sizes((0.75, 1.0, 1.6, 2.0)) == {1.6: (48, 48), 2.0: (64, 64)}  # 24 px round to the own 32


def test_one_summary_token_is_the_pooled_output() -> None:
    model = student()
    with torch.no_grad():
        assert torch.equal(zen_features(model, IMAGES).summary, model(pixel_values=IMAGES).pooler_output)


def test_random_student_is_drawn_from_its_seed_alone() -> None:
    model, state = student(), torch.random.get_rng_state()
    first, again, other = (random_student(model, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_histogram_is_that_of_the_frame() -> None:
    subject = HistogramSubject((64, 64))
    found = subject(IMAGES, (64, 64))
    frame = (IMAGES[1].permute(1, 2, 0) * 255).round().byte().numpy()
    summary, dense = color_histogram(frame)
    assert found.summary is not None
    assert found.dense is not None
    assert torch.equal(found.summary[1], torch.from_numpy(summary))
    assert torch.equal(found.dense[1], torch.from_numpy(dense))
    assert subject.sizes((0.5, 1.0)) == {0.5: (32, 32)}
