"""`ddag`: dynamic dual-attentive aggregation.

    L = L_id + L_tri + L_part + λ · L_graph

L_id and L_tri are those of `base`. L_part is the cross-entropy of the same classifier on the
part feature, which part attention makes of the last map and the neck's output. L_graph is the
negative log-likelihood of graph attention over the batch, in training only. λ is 0 in the first
epoch, then 1 / (1 + m) with m the mean, over the epoch before, of the first three terms' sum.

Average pooling, no non-local blocks. Tested on the neck's output (`embedding`) and on the part
feature (`part`); `pooled` is for comparison.

Source: Ye, Shen, Crandall, Shao, Luo, "Dynamic Dual-Attentive Aggregation Learning for
Visible-Infrared Person Re-Identification" (ECCV 2020), and the published code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vireid.losses.full_precision import no_autocast
from vireid.losses.triplet import HardTripletLoss
from vireid.methods.base import Method, Sizes
from vireid.methods.options import DDAGOptions
from vireid.methods.recipes import RECIPES
from vireid.models.attention import BatchGraph, PartAttention
from vireid.models.layers import unit
from vireid.models.options import ModelOptions
from vireid.types import Batch, Output

_BEFORE_GRAPH = ("identity", "triplet", "part")


class DDAG(Method):
    """Baseline losses, part attention and graph attention."""

    name = "ddag"
    Options = DDAGOptions
    test_embeddings: ClassVar[tuple[str, ...]] = ("embedding", "part", "pooled")
    recipes = RECIPES["ddag"]
    graph_scale: Tensor

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: DDAGOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        chosen, dim = self.options, self.model.dim
        self.triplet = HardTripletLoss(chosen.margin)
        self.part = PartAttention(dim, chosen.parts) if chosen.part else None
        self.graph = (
            BatchGraph(dim, sizes.num_pids, chosen.heads, chosen.head_dim, chosen.dropout)
            if chosen.graph
            else None
        )
        # λ lives on the device, so that a captured step sees it change.
        self.register_buffer("graph_scale", torch.zeros(()))
        if not chosen.part:  # instance attribute: this network has one embedding less
            self.test_embeddings = ("embedding", "pooled")  # type: ignore[misc]

    def terms(self, output: Output, batch: Batch) -> dict:
        options, labels = self.options, batch.pid_label
        identity = self.identity_loss(output.logits, labels)
        triplet = self.on_all_ranks(self.triplet, output.pooled, labels)
        terms = {
            "identity": options.identity_weight * identity,
            "triplet": options.triplet_weight * triplet,
        }
        if self.part is not None:
            part = self.part(output.feature_map, output.embedding)
            part_loss = self.identity_loss(self.model.classifier(part), labels)
            terms["part"] = options.part_weight * part_loss
        if self.graph is not None:
            graph_loss = F.nll_loss(self.graph(output.pooled, labels), labels)
            terms["graph"] = options.graph_weight * self.graph_scale * graph_loss
        return terms

    def epoch_started(self, epoch: int, means: dict[str, float] | None) -> None:
        """Set λ from the means of the epoch before; without means it stays as it is."""
        if epoch == 0:
            self.graph_scale.fill_(0.0)
        elif means is not None:
            before = sum(means.get(term, 0.0) for term in _BEFORE_GRAPH)
            self.graph_scale.fill_(1 / (1 + before))

    def embed(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        if self.part is None:
            return self.model.embed(image, num_visible)
        output = self.model(image, num_visible)
        with no_autocast(image):
            part = self.part(output.feature_map, output.embedding)
            return {
                "embedding": unit(output.embedding),
                "part": unit(part),
                "pooled": unit(output.pooled),
            }
