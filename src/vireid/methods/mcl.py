"""`mcl`: MCLNet, modality confusion and center aggregation.

    L = L_id + L_wrt + L_conf + λ₁ · L_id-centers + λ₂ · L_camera-centers

with x the pooled feature, z the neck's output, y the identity, m the modality, c the camera:
L_id and L_wrt are those of `agw`. L_conf is the cross-entropy of a modality discriminator D(x) with
the target (½, ½), D held fixed; D itself learns the cross-entropy with m on x detached, in an
optimiser of its own, after the backward pass of the others or, as published, before it: then the
gradient of L_conf is that of the old logits sent back through D's new weights. The center losses,
each max(pull − σ, 0) + max(ρ − push, 0), act on z once by y and once by c; λ₁ = λ₂ = 0.0005.
`vireid.losses.CenterAggregationLoss` spells them out.

Source: Hao, Zhao, Ye, Shen, "Cross-Modality Person Re-Identification via Modality Confusion and
Center Aggregation" (ICCV 2021), and the published code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vireid.losses.center import CenterAggregationLoss
from vireid.losses.confusion import confusion_loss, discriminator_loss, frozen_logits
from vireid.methods.agw import AGW
from vireid.methods.base import ParameterGroup, Sizes, trainable
from vireid.methods.options import MCLOptions
from vireid.methods.recipes import RECIPES
from vireid.models.discriminator import ModalityDiscriminator
from vireid.models.options import ModelOptions
from vireid.types import Batch, InputError, Output


class MCL(AGW):
    """AGW's losses, modality confusion, and center aggregation by identity and by camera."""

    name = "mcl"
    Options = MCLOptions
    recipes = RECIPES["mcl"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: MCLOptions | None = None
    ) -> None:
        chosen = MCLOptions() if options is None else options
        if chosen.camera_centers and sizes.num_cameras < 2:
            problem = "has no camids" if sizes.num_cameras == 0 else "has one camera only"
            raise InputError(
                f"The method mcl gathers features by camera, but the training data {problem}. "
                "Give camids (for folders, a `camera_pattern`), or turn `camera_centers` off."
            )
        super().__init__(model_options, sizes, chosen)
        dim = self.model.dim

        def centers(number: int) -> CenterAggregationLoss:
            return CenterAggregationLoss(number, dim, chosen.rho, chosen.sigma, chosen.centers)

        self.discriminator = ModalityDiscriminator(dim, chosen.hidden) if chosen.confusion else None
        self.identity_centers = centers(sizes.num_pids) if chosen.identity_centers else None
        self.camera_centers = centers(sizes.num_cameras) if chosen.camera_centers else None

    def terms(self, output: Output, batch: Batch) -> dict:
        options = self.options
        terms = super().terms(output, batch)
        if self.discriminator is not None:
            early = options.discriminator_step == "before"
            adversarial = self._eager_adversarial if early else self._adversarial
            terms |= adversarial(self.discriminator, output.pooled, batch.modality)
        if self.identity_centers is not None:
            spread = self.identity_centers(output.embedding, batch.pid_label)
            terms["identity_centers"] = options.identity_center_weight * spread
        if self.camera_centers is not None:
            spread = self.camera_centers(output.embedding, batch.camera_label)
            terms["camera_centers"] = options.camera_center_weight * spread
        return terms

    def _adversarial(
        self, discriminator: ModalityDiscriminator, pooled: Tensor, modality: Tensor
    ) -> dict[str, Tensor]:
        """The losses of discriminator and encoder, from pooled features (B, D)."""
        early = self.options.discriminator_step == "before"
        seen = discriminator(pooled.detach())
        confusing = frozen_logits(discriminator, pooled, by_reference=early)
        return {
            "discriminator": discriminator_loss(seen, modality),
            "confusion": self.options.confusion_weight * confusion_loss(confusing),
        }

    # A compiler may keep products of weights for the backward pass, and so miss an early step.
    _eager_adversarial = torch.compiler.disable(_adversarial)

    def separate_groups(self) -> list[ParameterGroup]:
        """The discriminator has SGD of its own at a constant rate, as published."""
        options = self.options
        if self.discriminator is None:
            return []
        return [
            ParameterGroup(
                name="discriminator",
                parameters=trainable(self.discriminator.parameters()),
                lr=options.discriminator_lr,
                scheduled=False,
                optimiser="sgd",
                early_term="discriminator" if options.discriminator_step == "before" else None,
            )
        ]
