"""An index in a folder: a catalog in SQLite, vectors in append-only files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
