import torch
from torch import Tensor, nn

from training.teachers.folding import fold_batch_norms


def trained_norm(width: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(width)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    return norm.eval()


def test_one_channel_by_hand() -> None:
    conv, norm = nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0)
    conv.weight.data.fill_(3)
    norm.weight.data.fill_(2)
    norm.bias.data.fill_(1)
    norm.running_mean.fill_(4)
    norm.running_var.fill_(4)
    model = nn.Sequential(conv, norm).eval()
    # (3x - 4) / 2 * 2 + 1 = 3x - 3
    assert fold_batch_norms(model, lambda: model(torch.ones(1, 1, 2, 2))) == 1
    assert conv.weight.item() == 3
    assert conv.bias is not None
    assert conv.bias.item() == -3
    assert isinstance(model[1], nn.Identity)


def test_a_network_keeps_its_output() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        trained_norm(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        trained_norm(8),
        trained_norm(8),  # reads a norm, not a convolution: must stay
    ).eval()
    images = torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        before = model(images)
    assert fold_batch_norms(model, lambda: model(images)) == 2
    with torch.no_grad():
        torch.testing.assert_close(model(images), before, rtol=1e-4, atol=1e-5)
    assert isinstance(model[5], nn.BatchNorm2d)
    assert all(not parameter.requires_grad for parameter in (model[0].weight, model[0].bias))


class Twice(nn.Module):
    """The convolution's output is read by the norm and by a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 1), trained_norm(2)

    def forward(self, images: Tensor) -> Tensor:
        raw: Tensor = self.conv(images)
        return raw + self.norm(raw)


class Shared(nn.Module):
    """One convolution used with two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(2, 2, 1), trained_norm(2), trained_norm(2)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.conv(images))))


def test_what_cannot_be_folded_is_put_back() -> None:
    torch.manual_seed(0)
    for model in (Twice().eval(), Shared().eval()):
        images = torch.rand(1, 2, 3, 3)
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        assert fold_batch_norms(model, lambda model=model, images=images: model(images)) == 0
        after = model.state_dict()
        assert list(after) == list(state)
        assert all(torch.equal(after[key], state[key]) for key in state)


def test_a_norm_in_train_mode_is_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), trained_norm(2))
    model[1].train()
    images = torch.rand(2, 2, 3, 3)
    assert fold_batch_norms(model, lambda: model(images)) == 0
