"""From the flags of `vireid train` to the options of a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import dataset_name, precision_name
from vireid.console import choose, console
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.methods.recipe import Recipe
    from vireid.training.options import TrainOptions

METHOD_FLAGS = (
    "centers", "triplet", "confusion", "identity_centers", "camera_centers", "part", "graph",
    "identity_weight", "triplet_weight", "confusion_weight", "identity_center_weight",
    "camera_center_weight", "rho", "sigma", "margin", "label_smoothing",
)  # fmt: skip
CHOICES = {  # flag → what is chosen, in words, and the legal words
    "centers": ("kind of centers", ("learned", "frozen")),
    "triplet": ("arithmetic of the triplet", ("exact", "published")),
}
RECIPE_FLAGS = ("lr", "optim", "epochs", "pids_per_batch", "images_per_pid")
PLAIN_FLAGS = ("seed", "keep", "checkpoint_steps", "eval_every", "camera_pattern")
SWITCHES = ("deterministic", "sync_bn", "gather", "tensorboard", "skip_broken")
SELECTIONS = {  # --select → what is trained on, whose weights are kept
    "last": {"part": "train", "choose": "last"},
    "val": {"part": "fit", "choose": "validation"},
    "held-out": {"part": "fit", "choose": "last"},
}
ADAM_LR = 0.00035


def build_options(flags: dict[str, Any], file: Path | None = None) -> TrainOptions:
    """The run's options: what `file` (a config.json, or a part of one) says, then the flags."""
    from vireid import config
    from vireid.methods import method_class, recipes_of, resolve_method
    from vireid.training.options import ENGINES, TrainOptions

    if flags["epochs"] is not None and flags["max_steps"] is not None:
        raise InputError("--epochs and --max-steps contradict each other; give one.")
    plain: dict[str, Any] = {"method_options": {}, "model": {}, "recipe": {}}
    if file is not None:
        plain |= _read(file)
    of_file = resolve_method(plain["method"]) if "method" in plain else None
    method = resolve_method(flags["method"] or of_file or "mcl")
    cls = method_class(method)
    if of_file not in (None, method):  # what the file says is about another method's parts
        network = {k: v for k, v in plain["model"].items() if k in ("arch", "pretrained")}
        plain |= {"method_options": {}, "model": network}
    pretrained = flags["pretrained"] or plain["model"].get("pretrained", "imagenet")
    recipe = _recipe(flags, plain, recipes_of(method), pretrained.strip().lower())
    parts = [_known(recipe.method_options, cls), plain["method_options"]]
    if not _keeps_recipe(flags, plain):  # the flag's recipe goes before what the file's run had
        parts.reverse()
    method_options = {**parts[0], **parts[1], **_method_flags(flags, cls, method)}
    model = _model(flags, plain, cls, recipe.model_options, pretrained)
    config.from_plain(cls.Options, method_options, f"options of method {method}")
    values: dict[str, Any] = {
        **plain,
        "method": method,
        "method_options": method_options,
        "model": model,
        "recipe": config.to_plain(recipe),
    }
    values["dataset"] = dataset_name(flags["dataset"] or plain.get("dataset", "sysu"))
    if flags["data_root"] is not None:
        # whole, so that the run finds its data from every folder
        values["data_root"] = str(flags["data_root"].expanduser().absolute())
    if flags["select"] is not None:
        values |= SELECTIONS[choose("selection", flags["select"], tuple(SELECTIONS))]
    if flags["trial"] is not None and str(flags["trial"]).lower() != "all":
        values["trial"] = read_trial(flags["trial"], values["dataset"])
    if flags["engine"] is not None:
        values["engine"] = choose("engine", flags["engine"], ENGINES)
    if flags["precision"] is not None:
        values["precision"] = precision_name(flags["precision"])
    values.update({name: flags[name] for name in PLAIN_FLAGS if flags[name] is not None})
    values.update({name: True for name in SWITCHES if flags[name]})
    if values.get("choose") == "validation" and not values.get("eval_every"):
        values["eval_every"] = 1
    return config.from_plain(TrainOptions, values, "options")


def _read(file: Path) -> dict[str, Any]:
    """What a configuration file says; it may leave out anything.

    Raises:
        InputError: unknown names (the nearest legal one is named) or values of another type.
    """
    from vireid import config
    from vireid.files import read_json
    from vireid.training.options import TrainOptions

    plain = read_json(file)
    whole = plain
    if isinstance(plain, dict) and isinstance(plain.get("recipe", {}), dict):
        whole = {**plain, "recipe": {"name": "", **plain.get("recipe", {})}}
    config.from_plain(TrainOptions, whole, str(file))
    return plain


def _model(
    flags: dict[str, Any],
    plain: dict[str, Any],
    cls: Any,
    of_recipe: dict[str, Any],
    pretrained: str,
) -> dict[str, Any]:
    """Options of the network: the method's defaults, the file's, the recipe's, the flags'."""
    from vireid import config
    from vireid.models.backbone import resolve_arch
    from vireid.models.options import ModelOptions

    arch = resolve_arch(flags["arch"] or plain["model"].get("arch", "resnet50"))
    defaults = config.to_plain(cls.model_defaults(arch, pretrained))
    parts = [of_recipe, plain["model"]]
    if not _keeps_recipe(flags, plain):
        parts.reverse()
    model = {**defaults, **parts[0], **parts[1], "arch": arch}
    if model["pretrained"] != defaults["pretrained"]:  # another start needs another rate
        model |= {name: defaults[name] for name in ("pretrained", "backbone_scale")}
    if flags["nonlocal_channels"] is not None:
        model["nonlocal_channels"] = flags["nonlocal_channels"]
    return config.to_plain(config.from_plain(ModelOptions, model, "model"))


def _known(options: dict[str, Any], cls: Any) -> dict[str, Any]:
    """Those of a recipe's method options that this method has."""
    legal = {field.name for field in dataclasses.fields(cls.Options)}
    return {name: value for name, value in options.items() if name in legal}


def _keeps_recipe(flags: dict[str, Any], plain: dict[str, Any]) -> bool:
    """Whether the file speaks of no other recipe than the flag, so that its values hold."""
    named = plain["recipe"].get("name")
    return named is None or (flags["recipe"] or named).strip().lower() == named


def _recipe(
    flags: dict[str, Any], plain: dict[str, Any], recipes: dict[str, Recipe], pretrained: str
) -> Recipe:
    from vireid import config
    from vireid.methods.recipe import Recipe

    changes = {name: flags[name] for name in RECIPE_FLAGS if flags[name] is not None}
    if "optim" in changes:
        changes["optim"] = choose("optimiser", changes["optim"], ("sgd", "adam"))
    of_file = plain["recipe"] if _keeps_recipe(flags, plain) else {}
    name = of_file.get("name")
    if name is None or name in recipes:
        default = "scratch" if pretrained == "none" else "published"
        name = choose("recipe", flags["recipe"] or name or default, tuple(recipes))
        of_file = _overlaid(config.to_plain(recipes[name]), of_file)
    base: Recipe = config.from_plain(Recipe, of_file, "recipe")
    if name == "published" and pretrained == "none" and "name" not in plain["recipe"]:
        erased = f" and erasing up to {base.augment.erase_area[1]:g} of each picture"
        console.print(
            "[bold yellow]Warning:[/] the recipe 'published' is meant for ImageNet weights. Its "
            f"steps in the learning rate{erased if base.augment.erase else ''} keep a network "
            "that starts from nothing near chance; 'scratch' is made for that."
        )
    if flags["augment"] is not None:
        from vireid.methods.recipes import AUGMENTATIONS

        name = choose("augmentation", flags["augment"], tuple(AUGMENTATIONS))
        changes["augment"] = AUGMENTATIONS[name]
    if changes.get("optim") == "adam" != base.optim:
        changes.setdefault("lr", ADAM_LR)
    return dataclasses.replace(base, **changes)


def _overlaid(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`under` with the values of `over`, objects within objects too."""
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _overlaid(out[key], value) if both else value
    return out


def _method_flags(flags: dict[str, Any], cls: Any, method: str) -> dict[str, Any]:
    given = {
        name: flags[name]
        for name in METHOD_FLAGS
        if flags[name] is not None and flags[name] is not True
    }
    legal = {field.name for field in dataclasses.fields(cls.Options)}
    for name in given:
        if name not in legal:
            raise InputError(_no_such_option(name, method, legal))
        if name in CHOICES:
            given[name] = choose(CHOICES[name][0], given[name], CHOICES[name][1])
    return given


def _no_such_option(name: str, method: str, legal: set[str]) -> str:
    flags = ", ".join("--" + n.replace("_", "-") for n in METHOD_FLAGS if n in legal)
    text = f"The method '{method}' has no option --{name.replace('_', '-')}. It has: {flags}"
    others = sorted(legal.difference(METHOD_FLAGS))
    return text + (f"; and in a --config file: {', '.join(others)}." if others else ".")


def read_trial(given: str, dataset: str) -> int:
    """RegDB's split that `--trial` names.

    Raises:
        InputError: no number from 1 to 10, or another split than 1 of another data set.
    """
    if not str(given).isdigit() or not 1 <= int(given) <= 10:
        raise InputError(f"--trial is '{given}'; a number from 1 to 10, or all, was expected.")
    if dataset != "regdb" and int(given) != 1:
        raise InputError(
            f"--trial {given} belongs to RegDB; '{dataset}' has one split only. Leave the flag out."
        )
    return int(given)
