"""Synthetic people: folders in the layouts of the real data sets, made from a seed."""

import lazy_loader

from vireid.extras import require

require("synthetic")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
