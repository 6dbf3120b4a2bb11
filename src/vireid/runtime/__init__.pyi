from .background import BackgroundWriter as BackgroundWriter
from .device import resolve_device as resolve_device
from .heartbeat import RankLost as RankLost
from .precision import Precision as Precision
from .precision import choose_precision as choose_precision
from .ranks import World as World
from .ranks import join as join
