"""Networks: timm backbones split in two streams, the layers on top of them, and their weights."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
