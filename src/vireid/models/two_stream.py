"""The network of all methods: a stem for each modality, one shared body, one head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.models import pretrained
from vireid.models.backbone import create, resolve_arch
from vireid.models.gate import Stripes
from vireid.models.layers import (
    AveragePool,
    GeneralisedMean,
    NonLocal,
    make_classifier,
    make_neck,
    unit,
)
from vireid.models.layouts import Size, Tokens
from vireid.models.options import ModelOptions
from vireid.models.splitting import Backbone, split
from vireid.types import InputError, Output, Stripe

_NONLOCAL_LAST = {2: 2, 3: 3}  # stage → non-local blocks after its last so many blocks
_STREAMS = ("_visible", "_infrared")  # ends of the names of what a modality has for itself


class TwoStream(nn.Module):
    """A stem for each modality (of a ResNet: conv, batch norm, ReLU, max pool), and shared stages 1
    to 4, the last one without stride.

    The first `private_stages` are a modality's own like its stem, and stages after `last_stage`
    are left out. Non-local blocks, if any, follow the last 2 blocks of stage 2 and the last 3 of
    stage 3 (or all, where a stage has fewer). Then pooling, neck and classifier, in float32, and
    the same for each stripe, if there are stripes.

    A method with a network of its own extends this class and overrides `after_stage`.

    Attributes:
        extended_from: `after_stage` is called after this stage and those that follow it; a class
            attribute.
        arch: the timm network that it was made of.
        dim: length of `pooled` and `embedding`.
        dims: channels of the map after each stage.
        strides: pixels of the image for one place of the map, after the stem and each stage.
        layout: takes the map out of what stem and stages return.
        closed: the compiler doesn't look into stem, stages and pooling.
        side_by_side: in training, a GPU works on what each modality has for itself at once.
        extend: `after_stage`, compiled by itself, for a training whose body is closed.
    """

    extended_from: ClassVar[int] = 1
    closed: bool = False
    side_by_side: bool = False
    extend: Callable[..., Tensor] | None = None

    def __init__(self, backbone: Backbone, options: ModelOptions, num_pids: int) -> None:
        super().__init__()
        if num_pids < 2:
            raise InputError(
                f"A network was asked for {num_pids} training identities; at least 2 are needed."
            )
        self.stem_visible = backbone.stem
        self.stem_infrared = copy.deepcopy(backbone.stem)
        self.private_stages = options.private_stages
        self.dims = backbone.dims[: options.last_stage]
        self.strides = backbone.strides[: options.last_stage + 1]
        self.layout = backbone.layout
        for number, stage in enumerate(backbone.stages[: options.last_stage], 1):
            private = number <= options.private_stages
            for word in _STREAMS if private else ("",):
                # the infrared stream's stage starts as the visible one's
                own: nn.Sequential = copy.deepcopy(stage) if word == _STREAMS[1] else stage  # type: ignore[assignment]
                self.add_module(f"layer{number}{word}", own)
                last = _NONLOCAL_LAST.get(number) if options.nonlocal_channels else None
                if last:
                    blocks = [
                        NonLocal(self.dims[number - 1], options.nonlocal_channels)  # type: ignore[arg-type]
                        for _ in range(min(last, len(own)))
                    ]
                    self.add_module(f"nonlocal{number}{word}", nn.ModuleList(blocks))
        self.arch = backbone.arch
        self.dim, shift_trained = self.dims[-1], options.neck_shift_trained
        # A map may have values below 0 in its middle where it has none at its end.
        signed = backbone.signed or options.last_stage < len(backbone.stages)
        self.pool = GeneralisedMean(signed) if options.pooling == "gem" else AveragePool()
        self.by_token = options.pooling == "token"
        if self.by_token and not (isinstance(self.layout, Tokens) and self.layout.has_class):
            raise InputError(
                f"`pooling` is token, but the network {options.arch} has no class token; a vision "
                "transformer has. Set `pooling` to average or gem."
            )
        self.neck = make_neck(self.dim, shift_trained)
        self.classifier = make_classifier(self.dim, num_pids)
        count = options.stripes or 0
        self.stripes = Stripes(count) if count else None
        self.stripe_necks = nn.ModuleList(make_neck(self.dim, shift_trained) for _ in range(count))
        self.stripe_classifiers = nn.ModuleList(
            make_classifier(self.dim, num_pids) for _ in range(count)
        )

    def head(self) -> list[nn.Module]:
        """Necks and classifiers: what learns at the full rate."""
        return [self.neck, self.classifier, self.stripe_necks, self.stripe_classifiers]

    def feature_map(self, image: Tensor, num_visible: int) -> Tensor:
        """Images (B, 3, H, W), visible rows first → map (B, dim, H/16, W/16)."""
        return self.layout.map_of(self.body(image, num_visible), _size(image))

    def body(self, image: Tensor, num_visible: int) -> Tensor:
        """What the last stage returns of images (B, 3, H, W)."""
        run = TwoStream._body_closed if self.closed else TwoStream._body
        return run(self, image, num_visible)

    def _body(self, image: Tensor, num_visible: int) -> Tensor:
        size, layout = _size(image), self.layout
        has_more = type(self).after_stage is not TwoStream.after_stage
        extend = (self.training and self.extend) or type(self).after_stage
        # Rows are joined only where something sees them together: it takes a copy of the map.
        stages = len(self.dims)
        apart = min(self.private_stages, self.extended_from - 1 if has_more else stages, stages)

        def alone(rows: Tensor, word: str) -> Tensor:
            rows = self._part("stem", word)(rows)
            for number in range(1, apart + 1):
                rows = self._stage(number, size, rows, word)
            return rows

        x = self._by_stream(image, num_visible, alone)
        for number in range(apart + 1, stages + 1):
            before = x
            if number <= self.private_stages:
                x = self._by_stream(x, num_visible, partial(self._stage, number, size))
            else:
                x = self._stage(number, size, x)
            if has_more and number >= self.extended_from:
                maps = layout.map_of(x, size), layout.map_of(before, size)
                x = layout.with_map(x, extend(self, number, *maps))
        return x

    _body_closed = torch.compiler.disable(_body)

    def after_stage(self, number: int, x: Tensor, before: Tensor) -> Tensor:
        """What follows a stage in a method's own network; here nothing.

        Args:
            number: of the stage, from 1.
            x: its map (B, dims[number - 1], h, w).
            before: the map that it was given, twice as high and wide or of the same size, as
                `strides` say.
        """
        return x

    def _by_stream(
        self, x: Tensor, num_visible: int, run: Callable[[Tensor, str], Tensor]
    ) -> Tensor:
        """Visible rows through one stream, infrared rows through the other."""
        rows = {_STREAMS[0]: x[:num_visible], _STREAMS[1]: x[num_visible:]}
        # `len` would fix the number of rows where the network is exported.
        rows = {word: part for word, part in rows.items() if part.shape[0] > 0}
        if self.side_by_side and self.training and x.is_cuda and len(rows) > 1:
            parts = _at_once([partial(run, part, word) for word, part in rows.items()], x)
        else:
            parts = [run(part, word) for word, part in rows.items()]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def _part(self, name: str, word: str = "") -> nn.Module:
        return self.get_submodule(f"{name}{word}")

    def _stage(self, number: int, size: Size, x: Tensor, word: str = "") -> Tensor:
        """The blocks of a stage, with its non-local blocks; `size` is that of the images."""
        stage: nn.Sequential = self._part(f"layer{number}", word)  # type: ignore[assignment]
        extra = getattr(self, f"nonlocal{number}{word}", ())
        for position, block in enumerate(stage, len(extra) - len(stage)):
            x = block(x)
            if position >= 0:
                x = self.layout.with_map(x, extra[position](self.layout.map_of(x, size)))
        return x

    def forward(self, image: Tensor, num_visible: int) -> Output:
        """See a batch.

        Args:
            image: (B, 3, H, W) normalised; rows [0, num_visible) visible, the rest infrared.
            num_visible: 0 to B; a host number.
        """
        x = self.body(image, num_visible)
        feature_map = self.layout.map_of(x, _size(image))
        with no_autocast(image):
            pooled = self._pooled(x, feature_map)
            embedding = self.neck(pooled)
            stripes = [
                Stripe(part, feature, classifier(feature))
                for (part, feature), classifier in zip(
                    self._stripes(feature_map), self.stripe_classifiers
                )
            ]
            logits = self.classifier(embedding)
            return Output(pooled, embedding, logits, feature_map, tuple(stripes))

    def _pooled(self, x: Tensor, feature_map: Tensor) -> Tensor:
        """(B, dim) float32 of the last stage's values and the map in them."""
        if self.by_token:
            return full(x[:, 0])
        return self._pool_closed(feature_map) if self.closed else self.pool(feature_map)

    @torch.compiler.disable
    def _pool_closed(self, feature_map: Tensor) -> Tensor:
        return self.pool(feature_map)  # type: ignore[no-any-return]

    def _stripes(self, feature_map: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Pooled stripes, before and after their necks."""
        if self.stripes is None:
            return []
        parts = self.stripes(feature_map).unbind(1)
        return [(part, neck(part)) for part, neck in zip(parts, self.stripe_necks)]

    def embed(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        """The two test embeddings of every network, rows of length 1, without the classifier.

        With stripes, each is the features of all stripes and of the whole map, one after another.
        """
        x = self.body(image, num_visible)
        feature_map = self.layout.map_of(x, _size(image))
        with no_autocast(image):
            pooled = self._pooled(x, feature_map)
            parts = [*self._stripes(feature_map), (pooled, self.neck(pooled))]
            before, after = (torch.cat(features, dim=1) for features in zip(*parts))
            return {"pooled": unit(before), "embedding": unit(after)}


def _at_once(runs: list[Callable[[], Tensor]], x: Tensor) -> list[Tensor]:
    """What two functions of `x` return, whose kernels, and those of their gradients, a GPU may run
    beside each other: one alone leaves a part of it idle at its end."""
    main, side = torch.cuda.current_stream(x.device), _side_stream(x.device)
    side.wait_stream(main)
    first = runs[0]()
    with torch.cuda.stream(side):
        second = runs[1]()
    # Of what both streams see, only `x` was made on the main one and may be let go of while the
    # gradients of the side one still read it. PyTorch sees to all that autograd hands over.
    x.record_stream(side)
    main.wait_stream(side)
    return [first, second]


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def _size(image: Tensor) -> Size:
    return image.shape[2], image.shape[3]


def resolved(options: ModelOptions) -> ModelOptions:
    """`options` with the network's name as timm has it, and with the mean and deviation of its
    input.

    Raises:
        InputError: there is no such network.
    """
    mean, std = pretrained.input_statistics(options)
    arch = resolve_arch(options.arch)
    return replace(options, arch=arch, input_mean=mean, input_std=std)


def build_model(
    options: ModelOptions, num_pids: int, network_class: type[TwoStream] = TwoStream
) -> TwoStream:
    """Build a network and load its pretrained weights.

    Args:
        network_class: `TwoStream`, or a method's own network.

    Raises:
        InputError: the arch is unknown or does not split, or the weights cannot be had or
            belong to another arch.
    """
    arch = resolve_arch(options.arch)
    network = create(arch)
    source = pretrained.find(options.pretrained, arch)
    if source is not None and not source.of_ours:
        pretrained.load_backbone(network, source, arch)
    backbone = split(
        network, arch, last_stride=options.last_stride, patch_stride=options.patch_stride
    )
    model = network_class(backbone, options, num_pids)
    if source is not None and source.of_ours:
        pretrained.load_ours(model, source, arch)
    return model
