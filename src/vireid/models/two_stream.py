"""The network of all four methods: a stem for each modality, one shared body, one head."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vireid.losses.full_precision import no_autocast
from vireid.models import pretrained
from vireid.models.backbone import Backbone, create, resolve_arch, split
from vireid.models.layers import (
    AveragePool,
    GeneralisedMean,
    NonLocal,
    make_classifier,
    make_neck,
    unit,
)
from vireid.models.options import ModelOptions
from vireid.types import InputError, Output

_NONLOCAL_LAST = {2: 2, 3: 3}  # stage → non-local blocks after its last so many blocks


class TwoStream(nn.Module):
    """Two stems (conv, batch norm, ReLU, max pool) and shared stages 1 to 4, last stride 1.

    Non-local blocks, if any, follow the last 2 blocks of stage 2 and the last 3 of stage 3 (or
    all, where a stage has fewer). Then pooling, neck and classifier, in float32.

    Attributes:
        arch: the timm network that it was made of.
        dim: length of `pooled` and `embedding`.
    """

    def __init__(self, backbone: Backbone, options: ModelOptions, num_pids: int) -> None:
        super().__init__()
        if num_pids < 2:
            raise InputError(
                f"A network was asked for {num_pids} training identities; at least 2 are needed."
            )
        self.stem_visible = backbone.stem
        self.stem_infrared = copy.deepcopy(backbone.stem)
        for number, stage in enumerate(backbone.stages, 1):
            self.add_module(f"layer{number}", stage)
            last = _NONLOCAL_LAST.get(number) if options.nonlocal_channels else None
            if last:
                dim, blocks = backbone.dims[number - 1], min(last, len(self._stage(number)))
                self.add_module(
                    f"nonlocal{number}",
                    nn.ModuleList(NonLocal(dim, options.nonlocal_channels) for _ in range(blocks)),  # type: ignore[arg-type]
                )
        self.arch = backbone.arch
        self.dim = backbone.dims[-1]
        self.pool = GeneralisedMean() if options.pooling == "gem" else AveragePool()
        self.neck = make_neck(self.dim)
        self.classifier = make_classifier(self.dim, num_pids)

    def _stage(self, number: int) -> nn.Sequential:
        return self.get_submodule(f"layer{number}")  # type: ignore[return-value]

    def feature_map(self, image: Tensor, num_visible: int) -> Tensor:
        """Images (B, 3, H, W), visible rows first → map (B, dim, H/16, W/16)."""
        streams = []
        if num_visible > 0:
            streams.append(self.stem_visible(image[:num_visible]))
        if num_visible < len(image):
            streams.append(self.stem_infrared(image[num_visible:]))
        x = torch.cat(streams) if len(streams) > 1 else streams[0]
        for number in range(1, 5):
            stage = self._stage(number)
            extra = getattr(self, f"nonlocal{number}", ())
            for position, block in enumerate(stage, len(extra) - len(stage)):
                x = block(x)
                if position >= 0:
                    x = extra[position](x)
        return x

    def forward(self, image: Tensor, num_visible: int) -> Output:
        """See a batch.

        Args:
            image: (B, 3, H, W) normalised; rows [0, num_visible) visible, the rest infrared.
            num_visible: 0 to B; a host number.
        """
        feature_map = self.feature_map(image, num_visible)
        with no_autocast(image):
            pooled = self.pool(feature_map)
            embedding = self.neck(pooled)
            return Output(pooled, embedding, self.classifier(embedding), feature_map)

    def embed(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        """The two test embeddings of every network, rows of length 1, without the classifier."""
        feature_map = self.feature_map(image, num_visible)
        with no_autocast(image):
            pooled = self.pool(feature_map)
            return {"pooled": unit(pooled), "embedding": unit(self.neck(pooled))}


def build_model(options: ModelOptions, num_pids: int) -> TwoStream:
    """Build a network and load its pretrained weights.

    Raises:
        InputError: the arch is unknown or does not split, or the weights cannot be had or
            belong to another arch.
    """
    arch = resolve_arch(options.arch)
    network = create(arch)
    source = pretrained.find(options.pretrained, arch)
    if source is not None and not source.of_ours:
        pretrained.load_backbone(network, source, arch)
    model = TwoStream(split(network, arch), options, num_pids)
    if source is not None and source.of_ours:
        pretrained.load_ours(model, source, arch)
    return model
