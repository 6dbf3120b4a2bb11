"""Measures this machine: training step, extraction, evaluation, beside the published way."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
