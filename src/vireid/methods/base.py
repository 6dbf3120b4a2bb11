"""What a method is: a network, its losses, and every parameter that is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.methods.options import MethodOptions
from vireid.methods.recipe import OptimiserName, Recipe
from vireid.methods.recipes import RECIPES
from vireid.models.backbone import Statistics
from vireid.models.options import ModelOptions
from vireid.models.two_stream import TwoStream, build_model, resolved
from vireid.types import Batch, Output


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a method must know about the training data.

    Attributes:
        num_pids: training identities.
        num_cameras: cameras of both modalities together; 0 where camids are unknown.
    """

    num_pids: int
    num_cameras: int = 0


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """Parameters that are trained alike. What is None is as the recipe says.

    Attributes:
        name: in checkpoints and messages; no two groups of a method share one.
        parameters: each trainable parameter of a method is in exactly one group.
        lr: base learning rate.
        lr_scale: factor of the base learning rate.
        scheduled: the learning rate follows the recipe's schedule; otherwise it is constant.
        optimiser: gives the group an optimiser of its own, of this kind. Groups without one
            share the main optimiser.
        momentum: of SGD (Nesterov where above 0).
        weight_decay: as PyTorch's optimisers define it.
        freezes: is held still in the recipe's first `freeze_epochs`.
        early_term: name of a loss term. The group, which needs an optimiser of its own, takes its
            step on that term alone, before the backward pass of the others: what they computed
            stands, but where they read the group's weights as `.data` their gradient goes through
            the new ones. The term must depend on no other group (detach what it is given), and
            be computed outside compiled code (`torch.compiler.disable`).
    """

    name: str
    parameters: list[nn.Parameter]
    lr: float | None = None
    lr_scale: float = 1.0
    scheduled: bool = True
    optimiser: OptimiserName | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    freezes: bool = False
    early_term: str | None = None


class Method(nn.Module):
    """The contract of a method. A new one overrides `terms`, and whatever else it needs.

    `forward(batch)` maps a training batch to its named loss terms: 0-d tensors, already
    weighted. One backward of their sum trains everything. Nothing in it may wait for the device
    or make shapes depend on values, so that a step can be compiled and captured as one graph.

    Class attributes:
        name: in reports and names of runs; the class's own in lower case if it has none.
        Options: frozen dataclass of the method's own options (extends `MethodOptions`).
        Network: its network; another than `TwoStream` extends it.
        test_embeddings: names of what `embed` returns; reports show the first one first.
        recipes: name → how to train it.

    Attributes:
        gather: where set, joins the rows of all ranks, (B, …) → (ranks · B, …), so that the
            triplet loss sees them all. It must pass gradients.
    """

    name: ClassVar[str]
    Options: ClassVar[type[MethodOptions]] = MethodOptions
    Network: ClassVar[type[TwoStream]] = TwoStream
    test_embeddings: ClassVar[tuple[str, ...]] = ("pooled", "embedding")
    recipes: ClassVar[dict[str, Recipe]] = RECIPES["base"]

    def __init_subclass__(cls, **more: Any) -> None:
        """A class without a name of its own is named after itself, not after its parent."""
        super().__init_subclass__(**more)
        cls.name = vars(cls).get("name", cls.__name__.lower())

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: Any | None = None
    ) -> None:
        super().__init__()
        self.model_options = resolved(model_options)
        self.sizes = sizes
        self.options: Any = self.Options() if options is None else options
        self.model = build_model(self.model_options, sizes.num_pids, self.Network)
        self.gather: Callable[[Tensor], Tensor] | None = None

    @property
    def input_statistics(self) -> tuple[Statistics, Statistics]:
        """Mean and deviation of the input's channels, of values from 0 to 1."""
        options = self.model_options
        assert options.input_mean and options.input_std  # `resolved` fills them in
        return options.input_mean, options.input_std

    @property
    def architecture(self) -> str:
        """What the network is, as it says of itself: its `arch`, or the name of its class where it
        is one of the user's own."""
        return str(getattr(self.model, "arch", type(self.model).__name__))

    @classmethod
    def model_defaults(
        cls, arch: str = "resnet50", pretrained: str = "imagenet", **changes: Any
    ) -> ModelOptions:
        """Options of this method's network.

        Its network may differ from the defaults as `Options.network` says.
        """
        values = {"arch": arch, "pretrained": pretrained, **cls.Options.network, **changes}
        return ModelOptions(**values)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named loss terms of a training batch, 0-d and weighted."""
        output = self.model(batch.image, batch.num_visible)
        with no_autocast(batch.image):
            terms = dict(self.terms(output, batch))
            for name, value in self.stripe_terms(output, batch).items():
                terms[name] = terms[name] + value if name in terms else value
            return terms

    def terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """The loss terms, from the network's output for the batch. Runs without autocast."""
        raise NotImplementedError(f"{type(self).__name__} has no `terms`.")

    def stripe_terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """What stripes add to the terms `identity` and `triplet`: the means over stripes of their
        cross-entropies and, where the method has a `triplet`, of that loss."""
        stripes, options = output.stripes, self.options
        if not stripes:
            return {}
        labels = labels_of_rows(output.pooled, batch)
        identity = [self.identity_loss(stripe.logits, labels) for stripe in stripes]
        terms = {"identity": options.identity_weight * torch.stack(identity).mean()}
        if (loss := getattr(self, "triplet", None)) is not None:
            triplet = [self.on_all_ranks(loss, stripe.pooled, labels) for stripe in stripes]
            terms["triplet"] = options.triplet_weight * torch.stack(triplet).mean()
        return terms

    def identity_loss(self, logits: Tensor, pid_label: Tensor) -> Tensor:
        """Cross-entropy of `logits` (B, num_pids), with the options' label smoothing."""
        smoothing = self.options.label_smoothing
        return F.cross_entropy(full(logits), pid_label, label_smoothing=smoothing)

    def on_all_ranks(
        self, loss: Callable[[Tensor, Tensor], Tensor], features: Tensor, labels: Tensor
    ) -> Tensor:
        """`loss(features, labels)`, over the rows of all ranks where `gather` is set."""
        if self.gather is not None:
            features, labels = self.gather(features), self.gather(labels)
        return loss(features, labels)

    def groups(self) -> list[ParameterGroup]:
        """Every trainable parameter exactly once: head and additions at the full rate, stems,
        stages and non-local blocks at `backbone_scale` of it, and stages with a factor in
        `stage_factors` at that factor of the rest."""
        head = [p for part in self.model.head() for p in part.parameters()]
        heads = {id(parameter) for parameter in head}
        body = [p for p in self.model.parameters() if id(p) not in heads]
        apart = self.separate_groups()
        taken = heads | {id(p) for p in body} | {id(p) for g in apart for p in g.parameters}
        more = [p for p in self.parameters() if id(p) not in taken]
        scale = self.model_options.backbone_scale or 1.0
        stages = [
            ParameterGroup(
                name=f"stage {number}",
                parameters=trainable(self._stage_parameters(number)),
                lr_scale=scale * factor,
                freezes=True,
            )
            for number, factor in enumerate(self.model_options.stage_factors, 1)
            if factor != 1
        ]
        of_stages = {id(p) for group in stages for p in group.parameters}
        body = [p for p in body if id(p) not in of_stages]
        groups = [
            ParameterGroup(
                name="backbone", parameters=trainable(body), lr_scale=scale, freezes=True
            ),
            *stages,
            ParameterGroup(name="head", parameters=trainable(head)),
            ParameterGroup(name="additions", parameters=trainable(more)),
            *apart,
        ]
        return [group for group in groups if group.parameters]

    def _stage_parameters(self, number: int) -> list[nn.Parameter]:
        """Those of a stage's blocks, in all streams, without what stands between them."""
        starts = (f"layer{number}.", f"layer{number}_")
        return [p for name, p in self.model.named_parameters() if name.startswith(starts)]

    def separate_groups(self) -> list[ParameterGroup]:
        """Groups for parameters outside `model` that are not trained like the head."""
        return []

    def epoch_started(self, epoch: int, means: dict[str, float] | None) -> None:
        """Called on the host before each epoch.

        Args:
            epoch: from 0.
            means: mean of each term over the epoch before; None in the first one and where
                they are unknown.
        """

    def trouble(self, means: dict[str, float]) -> str:
        """A sentence for the user where an epoch's mean losses show that a term has stopped to
        train anything; "" where they don't. Called on the host after each epoch."""
        return ""

    def embed(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        """The test embeddings of normalised images (B, 3, H, W), visible rows first.

        Returns:
            (B, D) tensors, rows of length 1, named as in `test_embeddings`. Put the method in
            evaluation mode first.
        """
        return self.model.embed(image, num_visible)


def labels_of_rows(features: Tensor, batch: Batch) -> Tensor:
    """Identities (N,) of `features` (N, …): N is B, or a multiple of it where a network generates
    more rows, batch after batch."""
    return batch.pid_label.repeat(len(features) // len(batch.pid_label))


def combined(pooled: Tensor, embedding: Tensor, share: float) -> Tensor:
    """One vector whose similarities are (1 − share) times those of `pooled`, (N, D) rows of length
    1, and `share` times those of `embedding`: (N, 2 D), rows of length 1."""
    return torch.cat([math.sqrt(1 - share) * pooled, math.sqrt(share) * embedding], dim=1)


def trainable(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those of `parameters` that have a gradient."""
    return [parameter for parameter in parameters if parameter.requires_grad]
