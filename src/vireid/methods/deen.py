"""`deen`: diverse embedding expansion.

    L = L_id + L_tri + 0.8 · Σ_k L_pair(f⁰, fᵏ) + 0.01 · L_overlap(f¹, f²)

After each of stages 1 to 3 its input is brought in again by two attentions, between channels and
between places. After stage 3, two branches of dilated convolutions generate a second and a third
map of every image, so that stage 4, neck and classifier see three times the rows. f⁰ are the pooled
features of the images, f¹ and f² the generated ones. L_id and L_tri are those of `base`, on all
rows; L_pair pulls a generated center towards the other modality's center of its identity;
L_overlap is the mean dot product of f¹ and f². `vireid.losses.CenterPairLoss` spells it out.

Tested on the three pooled features as one vector (`pooled`), on the three after the neck
(`embedding`), on the sum of both similarities (`sum`), and on a tenth of the first plus nine tenths
of the second (`weighted`). With `last_stage` 3 it is the network published for RegDB: everything
one stage earlier.

Source: Zhang, Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality Benchmark for
Visible-Infrared Person Re-Identification" (CVPR 2023), and its code.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from vireid.losses.generated import CenterPairLoss, branch_overlap
from vireid.losses.triplet import HardTripletLoss
from vireid.methods.base import Method, Sizes, combined, labels_of_rows
from vireid.methods.options import DEENOptions
from vireid.methods.recipes import RECIPES
from vireid.models.expansion import DiverseExpansion, FeatureAggregation
from vireid.models.options import ModelOptions
from vireid.models.splitting import Backbone
from vireid.models.two_stream import TwoStream
from vireid.types import Batch, InputError, Output

BRANCHES = 3  # the images, and two generated ones
_EMBEDDING_SHARE = 0.9  # of the published weighted similarity


class DEENNetwork(TwoStream):
    """Aggregation after all stages but the last, and expansion before the last."""

    def __init__(self, backbone: Backbone, options: ModelOptions, num_pids: int) -> None:
        super().__init__(backbone, options, num_pids)
        self.expanded = len(self.dims) - 1
        if self.expanded < 1 or self.private_stages > self.expanded:
            raise InputError(
                "The method deen expands the map before its last stage, which all rows share: "
                f"`last_stage` is {len(self.dims)} and `private_stages` {self.private_stages}; "
                "`last_stage` must be at least 2, and `private_stages` lower."
            )
        dims, strides = (backbone.stem_dim, *self.dims), self.strides
        self.aggregations = nn.ModuleDict(
            {
                str(number): FeatureAggregation(
                    dims[number], dims[number - 1], strides[number] // strides[number - 1]
                )
                for number in range(1, self.expanded + 1)
            }
        )
        self.expansion = DiverseExpansion(dims[self.expanded])

    def after_stage(self, number: int, x: Tensor, before: Tensor) -> Tensor:
        if number > self.expanded:
            return x
        x = self.aggregations[str(number)](x, before)
        return self.expansion(x) if number == self.expanded else x


class DEEN(Method):
    """Baseline losses on images and generated branches, and losses between these."""

    name = "deen"
    Options = DEENOptions
    Network = DEENNetwork
    test_embeddings: ClassVar[tuple[str, ...]] = ("sum", "weighted", "pooled", "embedding")
    recipes = RECIPES["deen"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: DEENOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        self.triplet = HardTripletLoss(self.options.margin)
        self.pairs = CenterPairLoss()

    def terms(self, output: Output, batch: Batch) -> dict:
        options, labels = self.options, labels_of_rows(output.pooled, batch)
        identity = self.identity_loss(output.logits, labels)
        triplet = self.on_all_ranks(self.triplet, output.pooled, labels)
        images, first, second = output.pooled.chunk(BRANCHES)
        pairs = [
            self.pairs(images, branch, batch.pid_label, batch.num_visible)
            for branch in (first, second)
        ]
        return {
            "identity": options.identity_weight * identity,
            "triplet": options.triplet_weight * triplet,
            "pairs": options.pair_weight * torch.stack(pairs).sum(),
            "overlap": options.overlap_weight * branch_overlap(first, second),
        }

    def embed(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        found = {
            name: rows.unflatten(0, (BRANCHES, -1)).transpose(0, 1).flatten(1) / math.sqrt(BRANCHES)
            for name, rows in self.model.embed(image, num_visible).items()
        }
        pooled, embedding = found["pooled"], found["embedding"]
        return {
            "sum": combined(pooled, embedding, 0.5),
            "weighted": combined(pooled, embedding, _EMBEDDING_SHARE),
            **found,
        }
