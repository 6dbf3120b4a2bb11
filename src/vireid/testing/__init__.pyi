from .options import TestOptions as TestOptions
from .places import TRIALS as TRIALS
from .places import reports_of as reports_of
from .places import run_of as run_of
from .run import Opened as Opened
from .run import evaluate as evaluate
from .run import open_test as open_test
from .run import run_protocol as run_protocol
