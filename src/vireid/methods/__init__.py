"""Methods: a network, its losses and everything that is trained, as one object."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
