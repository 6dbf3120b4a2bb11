"""Folders on disk as samples, protocols, decoded pixels and training batches."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
