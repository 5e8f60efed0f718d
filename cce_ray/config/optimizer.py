"""Optimiser, learning-rate schedule and the size of the training job."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from cce_ray.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import nn


class OptimizerSettings(Settings):
    """How the network's parameters are optimised."""

    name: Literal["sgd", "adam", "adamw"] = "adam"
    """sgd (the paper's Table 2) or adam (its Table 3); adamw decouples the weight decay."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate of the head (the last linear layer), and of the backbone unless that has its own."""
    backbone_learning_rate: float | None = Field(default=None, ge=0)
    """Learning rate of everything before the head; empty: `learning_rate`; 0: frozen."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of sgd."""
    weight_decay: float = Field(default=0.0, ge=0)
    """L2 weight decay (decoupled for adamw)."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Course of the learning rates after the warm-up: constant, or down to zero at the last step."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of all steps in which the learning rates rise linearly from zero."""
    clip_norm: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; empty: no clipping."""
    epochs: int = Field(default=10, ge=1)
    """Passes over the training samples."""
    batch_size: int = Field(default=250, ge=2)
    """Samples of one step; an epoch is cut into ceil(N / batch_size) batches of nearly equal size."""

    @model_validator(mode="after")
    def _momentum_has_a_reader(self) -> OptimizerSettings:
        if self.momentum and self.name != "sgd":
            raise ValueError(
                f"momentum: {self.name} does not read it; set optimizer.name=sgd or leave it out"
            )
        return self

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser, with one parameter group for `model.backbone` and one for the rest (the head)."""
        import torch

        backbone = list(model.get_submodule("backbone").parameters())
        known = {id(parameter) for parameter in backbone}
        head = [parameter for parameter in model.parameters() if id(parameter) not in known]
        rate = self.learning_rate if self.backbone_learning_rate is None else self.backbone_learning_rate
        groups = [{"params": head, "lr": self.learning_rate}, {"params": backbone, "lr": rate}]
        groups = [group for group in groups if group["params"]]
        if self.name == "sgd":
            return torch.optim.SGD(groups, momentum=self.momentum, weight_decay=self.weight_decay)
        kind = torch.optim.Adam if self.name == "adam" else torch.optim.AdamW
        return kind(groups, weight_decay=self.weight_decay)

    def factor(self, step: int, total_steps: int) -> float:
        """Factor on the learning rates in step `step` = 0, 1, ... of `total_steps`."""
        warmup_steps = round(self.warmup * total_steps)
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        if self.schedule == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * progress))
        return 1.0 - progress if self.schedule == "linear" else 1.0
