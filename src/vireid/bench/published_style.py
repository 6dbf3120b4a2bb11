"""A simple implementation in the manner of the published code, to measure against.

Written from its description, not from its text: three whole ResNet-50s of which parts are used,
float32, two backward passes through the network a step (the discriminator's loss isn't cut off
from the encoder), center losses as Python loops over classes, evaluation as a NumPy loop over
queries. It is only a yardstick; nothing else uses it.
"""

from __future__ import annotations

import functools
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from timm import create_model
from timm.models.resnet import ResNet
from torch import Tensor, nn

from vireid.own_code import is_code
from vireid.types import InputError


class _NonLocal(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.theta, self.phi, self.g = (nn.Conv2d(dim, 1, 1) for _ in range(3))
        self.w, self.bn = nn.Conv2d(1, dim, 1), nn.BatchNorm2d(dim)
        nn.init.zeros_(self.bn.weight)
        nn.init.zeros_(self.bn.bias)

    def forward(self, x: Tensor) -> Tensor:
        count, _, height, width = x.shape
        g = self.g(x).view(count, 1, -1).permute(0, 2, 1)
        theta = self.theta(x).view(count, 1, -1).permute(0, 2, 1)
        attention = theta @ self.phi(x).view(count, 1, -1)
        y = (attention / attention.size(-1)) @ g
        y = y.permute(0, 2, 1).contiguous().view(count, 1, height, width)
        return self.bn(self.w(y)) + x


def whole_resnet(arch: str) -> ResNet:
    """A network of timm by its name.

    Raises:
        InputError: it is none that the published code could be written with.
    """
    network = None if is_code(arch) else create_model(arch, pretrained=False)
    if not isinstance(network, ResNet):
        raise InputError(
            f"`arch` is '{arch}'; the published way needs a ResNet. Choose one, or turn "
            "`published` off."
        )
    return network


class _Network(nn.Module):
    """Two whole ResNets for their stems, a third for its stages."""

    def __init__(self, arch: str, num_pids: int) -> None:
        super().__init__()
        self.visible, self.infrared, self.base = (whole_resnet(arch) for _ in range(3))
        self.layers = tuple(  # no modules of our own, only other names for the base's
            cast(nn.Sequential, self.base.get_submodule(f"layer{number}")) for number in range(1, 5)
        )
        for module in self.layers[3][0].modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.stride = (1, 1)
            if isinstance(module, nn.AvgPool2d):
                module.stride, module.kernel_size = 1, 1
        features: Any = self.base.feature_info  # timm leaves its values untyped
        dims = [features[stage]["num_chs"] for stage in (2, 3)]
        self.after2 = nn.ModuleList(_NonLocal(dims[0]) for _ in range(2))
        self.after3 = nn.ModuleList(_NonLocal(dims[1]) for _ in range(3))
        self.dim = self.base.num_features
        self.neck = nn.BatchNorm1d(self.dim)
        self.neck.bias.requires_grad_(False)
        self.classifier = nn.Linear(self.dim, num_pids, bias=False)

    def forward(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.cat([self._stem(self.visible, visible), self._stem(self.infrared, infrared)])
        x = self.layers[0](x)
        x = self._stage(self.layers[1], self.after2, x)
        x = self._stage(self.layers[2], self.after3, x)
        x = self.layers[3](x)
        flat = x.view(x.shape[0], x.shape[1], -1)
        pooled = (torch.mean(flat**3.0, dim=-1) + 1e-12) ** (1 / 3.0)
        embedding = self.neck(pooled)
        return pooled, embedding, self.classifier(embedding)

    @staticmethod
    def _stem(network: ResNet, x: Tensor) -> Tensor:
        return network.maxpool(network.act1(network.bn1(network.conv1(x))))

    @staticmethod
    def _stage(stage: nn.Sequential, extra: nn.ModuleList, x: Tensor) -> Tensor:
        for i, block in enumerate(stage):
            x = block(x)
            at = i - (len(stage) - len(extra))
            if at >= 0:
                x = extra[at](x)
        return x


class PublishedStyle:
    """A step on images that already lie on the device."""

    def __init__(
        self,
        *,
        arch: str = "resnet50",
        num_pids: int = 395,
        num_cameras: int = 6,
        device: torch.device,
    ) -> None:
        self.device = device
        torch.manual_seed(0)
        self.network = _Network(arch, num_pids).to(device).train()
        dim = self.network.dim
        self.discriminator = nn.Sequential(
            nn.Linear(dim, 128), nn.Linear(128, 2), nn.BatchNorm1d(2)
        ).to(device)
        self.pid_centers = torch.randn(num_pids, dim, device=device)
        self.camera_centers = torch.randn(num_cameras, dim, device=device)
        head = [*self.network.neck.parameters(), *self.network.classifier.parameters()]
        ids = {id(p) for p in head}
        body = [p for p in self.network.parameters() if id(p) not in ids]
        sgd = functools.partial(torch.optim.SGD, momentum=0.9, weight_decay=5e-4, nesterov=True)
        self.optimiser = sgd([{"params": body, "lr": 0.001}, {"params": head, "lr": 0.01}])
        self.second = sgd(self.discriminator.parameters(), lr=0.1)

    def step(self, visible: Tensor, infrared: Tensor, pid: Tensor, camera: Tensor) -> float:
        """One step on normalised images (B/2, 3, H, W) each; labels (B,), visible first."""
        pooled, embedding, logits = self.network(visible, infrared)
        modality = torch.cat([torch.zeros(len(visible)), torch.ones(len(infrared))]).long()
        modality = modality.to(self.device)
        confusion = -F.log_softmax(self.discriminator(pooled), 1).mean()
        first = F.cross_entropy(self.discriminator(pooled), modality)
        self.second.zero_grad()
        first.backward(retain_graph=True)  # goes through the encoder too
        owned = list(self.discriminator.parameters())
        stepped = [p.grad.clone() for p in owned if p.grad is not None]  # all have one
        loss = (
            F.cross_entropy(logits, pid)
            + self._triplet(pooled, pid)
            + confusion
            + 0.0005 * self._centers(embedding, pid, self.pid_centers)
            + 0.0005 * self._centers(embedding, camera, self.camera_centers)
        )
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        for parameter, gradient in zip(owned, stepped):
            parameter.grad = gradient
        self.second.step()
        correct = (logits.argmax(1) == pid).sum().item()
        return loss.item() + 0.0 * correct

    def _triplet(self, x: Tensor, pid: Tensor) -> Tensor:
        square = (x**2).sum(1, keepdim=True)
        distance = (square + square.t() - 2 * x @ x.t()).clamp(min=1e-12).sqrt()
        same = (pid[:, None] == pid[None, :]).float()
        positive, negative = distance * same, distance * (1 - same)
        shifted = torch.exp(positive - positive.max(1, keepdim=True)[0]) * same
        pull = shifted / (shifted.sum(1, keepdim=True) + 1e-6)
        fading = torch.exp(-negative) * (1 - same)
        push = fading / (fading.sum(1, keepdim=True) + 1e-6)
        difference = (push * negative).sum(1) - (pull * positive).sum(1)
        return F.soft_margin_loss(difference, torch.ones_like(difference))

    def _centers(self, z: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
        distance = ((z - centers[labels]) ** 2).sum(1)
        nearest = distance.new_zeros(())
        for k in range(len(centers)):  # each class in turn, present or not
            members = (labels == k).nonzero().flatten()
            if len(members):
                nearest = nearest + len(members) * distance[members].min()
        gap = distance.new_zeros(())
        for i in range(len(labels)):  # each row against all other centers
            own = int(labels[i].item())
            others = torch.cat([centers[:own], centers[own + 1 :]])
            gap = gap + ((centers[own] - others) ** 2).sum(1).min()
        pull = torch.clamp(distance.mean() - nearest / len(labels) - 8.0, min=0)
        push = torch.clamp(4500.0 - gap / len(labels), min=0)
        return pull + push

    @torch.no_grad()
    def extract(self, images: Tensor) -> Tensor:
        """Vectors (B, D) of normalised images (B, 3, H, W), as its test script does."""
        self.network.eval()
        pooled, _, _ = self.network(images, images[:0])
        self.network.train()
        return F.normalize(pooled)


def loop_evaluation(
    distance: np.ndarray,
    query_pids: np.ndarray,
    gallery_pids: np.ndarray,
    query_camids: np.ndarray,
    gallery_camids: np.ndarray,
    max_rank: int = 20,
) -> tuple[np.ndarray, float]:
    """CMC over distinct identities and mAP by a loop over queries (SYSU-MM01's rule)."""
    order = np.argsort(distance, axis=1)
    curves, precisions = [], []
    for q in range(len(query_pids)):
        ranked = order[q]
        keep = ~((query_camids[q] == 3) & (gallery_camids[ranked] == 2))
        pids = gallery_pids[ranked][keep]
        match = (pids == query_pids[q]).astype(np.int64)
        if not match.any():
            continue
        _, first = np.unique(pids, return_index=True)
        distinct = pids[np.sort(first)]
        curve = np.cumsum(distinct == query_pids[q])[:max_rank]
        curves.append(np.minimum(curve, 1))
        hits = np.cumsum(match) / (np.arange(len(match)) + 1.0)
        precisions.append((hits * match).sum() / match.sum())
    return np.mean(np.asarray(curves, np.float64), axis=0), float(np.mean(precisions))
