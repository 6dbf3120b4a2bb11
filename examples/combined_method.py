"""Parts of several papers in one method, without a fork.

    vireid train --method examples/combined_method.py:Combined --dataset sysu --data-root DIR

AGW with the circle loss and MCJA's retrieval loss on the neck's output, and MCJA's modality gate
after stages 2 and 3:

    L = L_id + L_wrt + 0.1 · L_circle + 0.5 · L_retrieval

The network's options, the augmentation and the schedule combine with it by flags: --stripes 3,
--private-stages 1, --radical 0.5, --augment caj.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from vireid.config import option
from vireid.losses import CircleLoss, CrossModalityRetrievalLoss
from vireid.methods import Sizes
from vireid.methods.agw import AGW
from vireid.methods.options import AGWOptions
from vireid.models import ModalityGate, ModelOptions, TwoStream
from vireid.models.splitting import Backbone
from vireid.types import Batch, Output


@dataclass(frozen=True, kw_only=True)
class CombinedOptions(AGWOptions):
    """AGW's options, and the weights of the new terms."""

    circle_weight: float = option(0.1, at_least=0)
    """Weight of the circle loss."""
    retrieval_weight: float = option(0.5, at_least=0)
    """Weight of the cross-modality retrieval loss."""


class GatedNetwork(TwoStream):
    """A modality gate after stages 2 and 3."""

    def __init__(self, backbone: Backbone, options: ModelOptions, num_pids: int) -> None:
        super().__init__(backbone, options, num_pids)
        self.gates = nn.ModuleDict({str(n): ModalityGate(self.dims[n - 1]) for n in (2, 3)})

    def after_stage(self, number: int, x: Tensor, before: Tensor) -> Tensor:
        return self.gates[str(number)](x) if str(number) in self.gates else x


class Combined(AGW):
    """AGW, modality gates, circle loss and retrieval loss."""

    name = "combined"
    Options = CombinedOptions
    Network = GatedNetwork

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: CombinedOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        self.circle, self.retrieval = CircleLoss(), CrossModalityRetrievalLoss()

    def terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        terms, options = super().terms(output, batch), self.options
        circle = self.on_all_ranks(self.circle, output.embedding, batch.pid_label)
        retrieval = self.retrieval(output.embedding, batch.pid_label, batch.modality)
        terms["circle"] = options.circle_weight * circle
        terms["retrieval"] = options.retrieval_weight * retrieval
        return terms
