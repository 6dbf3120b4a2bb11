"""Indexes of embeddings and how to search them: one folder on a laptop, Milvus on a cluster."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
