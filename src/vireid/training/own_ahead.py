"""Code of the user's own, tried before there are data: its mistakes are told before the images of a
run are decoded, and before the first of many runs begins."""

from __future__ import annotations

import dataclasses

import torch

from vireid.data.own_augment import load_own
from vireid.data.sampler import sampler_class
from vireid.files import import_class, is_code
from vireid.methods import Sizes, build_method
from vireid.problems import Problems
from vireid.training.callbacks import Callback
from vireid.training.options import TrainOptions
from vireid.types import InputError

SIZES = Sizes(num_pids=395, num_cameras=6)  # of SYSU-MM01; the run's own aren't known yet


def check_own(options: TrainOptions, device: str) -> None:
    """Import, and where that is cheap make, whatever of a run is the user's own.

    Raises:
        InputError: all that fails.
    """
    problems = Problems()
    with problems:
        if is_code(options.method) or is_code(options.model.arch):
            _first_that_works(options, ("meta", "cpu", device))
    with problems:
        if options.recipe.augment.own:
            load_own(options.recipe.augment.own, options.size)
    with problems:
        sampler_class(options.sampler)
    for name in options.callbacks:
        with problems:
            import_class(name, Callback, "callback")
    problems.tell()


def _first_that_works(options: TrainOptions, devices: tuple[str, ...]) -> None:
    """Build the method without weights. On "meta" that costs no memory and hardly any time, but
    not all code can be run there, nor all on a CPU; so the sentence is that of the last device."""
    model = dataclasses.replace(options.model, pretrained="none")
    for place in dict.fromkeys(devices):
        try:
            with torch.random.fork_rng([]), torch.device(place):
                build_method(options.method, model, SIZES, options.method_options)
            return
        except InputError:
            if place == devices[-1]:
                raise
