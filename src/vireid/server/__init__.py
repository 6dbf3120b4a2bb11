"""The search server: endpoints over an index, what guards them, and the page."""

import lazy_loader

from vireid.extras import require

require("serve")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
