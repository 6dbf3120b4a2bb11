"""An index in Milvus: a server, a cluster, or a Milvus Lite file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
