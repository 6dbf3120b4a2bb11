"""The weights to start from and code of the user's own, tried before there are data: what is wrong
with them is told before the images of a run are decoded, and before the first of many runs
begins."""

from __future__ import annotations

import dataclasses
import warnings
from contextlib import nullcontext
from functools import cache

import torch

from vireid.data.own_augment import load_own
from vireid.data.sampler import count_visible, sampler_class
from vireid.methods import Method, Sizes, build_method
from vireid.methods.checks import try_method
from vireid.methods.options import MethodOptions
from vireid.models.backbone import resolve_arch
from vireid.models.hub import on_hub
from vireid.models.options import ModelOptions
from vireid.models.pretrained import locate, name_in_timm, weights_file
from vireid.own_code import import_class, is_code
from vireid.problems import Problems
from vireid.training.callbacks import Callback
from vireid.training.options import TrainOptions
from vireid.types import InputError

SIZES = Sizes(num_pids=395, num_cameras=6)  # of SYSU-MM01; those of the run aren't known yet


def check_own(options: TrainOptions, device: str, *, batch: bool = False) -> None:
    """Import, and where that is cheap make, whatever of a run is the user's own.

    Args:
        device: of the run.
        batch: also run the method on a batch.

    Raises:
        InputError: all that fails.
    """
    problems = Problems()
    with problems:
        if is_code(options.method) or is_code(options.model.arch):
            _build_somewhere(options, ("meta", "cpu", device))
            if batch:
                _run_somewhere(options, device)
    with problems:
        if options.recipe.augment.own:
            load_own(options.recipe.augment.own, options.size)
    with problems:
        sampler_class(options.sampler)
    for name in options.callbacks:
        with problems:
            import_class(name, Callback, "callback")
    problems.tell()


@cache  # rows and seeds of a sweep share many
def check_network(method: str, model: ModelOptions, method_options: MethodOptions) -> None:
    """Refuse a network that can't be built, or weights to start from that aren't its own. Weights
    that have to be fetched are left to `check_fetched`, but for the names of timm's; code of the
    user's own is left to `check_own`.

    Raises:
        InputError: they can't, or aren't.
    """
    if is_code(method) or is_code(model.arch):
        return
    if _is_fetched(model):
        if not on_hub(model.pretrained):
            name_in_timm(model.pretrained, resolve_arch(model.arch))
        model = dataclasses.replace(model, pretrained="none")
    _build_known(method, model, method_options)


def check_fetched(options: TrainOptions) -> None:
    """Refuse weights to start from that have to be fetched, once, from timm or the hub, and can't
    be had or aren't the network's own. It may take minutes, so it comes after all other checks,
    but before images are decoded.

    Raises:
        InputError: they can't, or aren't.
    """
    model = options.model
    if is_code(model.arch) or not _is_fetched(model):
        return
    if is_code(options.method):
        locate(model.pretrained, resolve_arch(model.arch))
    else:
        _build_known(options.method, model, options.method_options)


def _is_fetched(model: ModelOptions) -> bool:
    start = model.pretrained
    return start != "none" and (on_hub(start) or weights_file(start, model.arch) is None)


def _build_known(method: str, model: ModelOptions, method_options: MethodOptions) -> None:
    """Build a method of ours. On "meta" that costs no memory and hardly any time; not all networks
    can be built there, so the sentence is that of the CPU."""
    for place in ("meta", "cpu"):
        try:
            with warnings.catch_warnings(), torch.random.fork_rng([]), torch.device(place):
                warnings.simplefilter("ignore")  # that tensors without memory keep no values
                build_method(method, model, SIZES, method_options)
            return
        except Exception:
            if place == "cpu":
                raise


def _build_somewhere(options: TrainOptions, devices: tuple[str, ...]) -> None:
    """Build the method without weights. On "meta" that costs no memory and hardly any time, but
    not all code can be run there, nor all on a CPU; so the sentence is that of the last device."""
    for place in dict.fromkeys(devices):
        try:
            with torch.random.fork_rng([]), torch.device(place):
                _build(options)
            return
        except InputError:
            if place == devices[-1]:
                raise


def _run_somewhere(options: TrainOptions, device: str) -> None:
    """Run the method on a batch of the run's composition: of small images on the CPU, and where
    that fails, which may be for that reason, of its own images, at last on its own device."""
    small = (max(32, options.size[0] // 3), max(32, options.size[1] // 3))
    places = dict.fromkeys([("cpu", small), ("cpu", options.size), (device, options.size)])
    for number, (place, size) in enumerate(places, 1):
        try:
            with torch.random.fork_rng([]):
                _run(options, torch.device(place), size)
            return
        except InputError:
            if number == len(places):
                raise


def _run(options: TrainOptions, device: torch.device, size: tuple[int, int]) -> None:
    recipe = options.recipe
    pids, views = recipe.pids_per_batch, recipe.augment.visible_views
    pid = torch.arange(pids).repeat_interleave(recipe.images_per_pid)
    modality = torch.arange(2).repeat_interleave(len(pid))
    modality = torch.cat([modality[:1].expand(len(pid) * (views - 1)), modality])
    camera = torch.arange(len(modality)) % (SIZES.num_cameras // 2)
    camera += modality * (SIZES.num_cameras // 2)
    labels = (pid.repeat(views + 1), camera, modality)
    method = _build(options).to(device).train()
    pid, camera, modality = (column.to(device) for column in labels)
    try_method(method, (pid, camera, modality), size, nullcontext(), count_visible(len(pid), views))


def _build(options: TrainOptions) -> Method:
    model = dataclasses.replace(options.model, pretrained="none")
    return build_method(options.method, model, SIZES, options.method_options)
