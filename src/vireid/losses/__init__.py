"""Losses: `loss(features, labels)` → 0-d tensor. Each stands alone, without a trainer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
