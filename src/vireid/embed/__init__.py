"""From weights and images to embeddings: in memory, or as a file, on one or many ranks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
