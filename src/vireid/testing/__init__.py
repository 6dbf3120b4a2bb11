"""From weights and a data set to reports: what `vireid test` does, from Python too."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
