from .machine import measure as measure
from .published_style import PublishedStyle as PublishedStyle
from .published_style import loop_evaluation as loop_evaluation
from .workload import StepBench as StepBench
from .workload import random_data as random_data
from .workload import time_extraction as time_extraction
