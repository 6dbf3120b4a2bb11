"""From a few choices (method, network, recipe, file) to all options of a run.

The file goes before the recipe, the recipe before the method's defaults. Nothing here imports
PyTorch for the methods of this package.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from vireid.config import (
    Options,
    check_sections,
    convert,
    flatten,
    from_plain,
    hints_of,
    overlay,
    plain_values,
    read_plain,
    to_plain,
)
from vireid.console import choose, folded
from vireid.data.registry import DEFAULT_DATASET, resolve_dataset
from vireid.methods.options import MethodOptions, owners_of_options
from vireid.methods.recipe import OptimiserName, Recipe
from vireid.methods.recipes import AUGMENTATIONS, RECIPES, STARTS
from vireid.methods.registry import options_class, recipes_of, resolve_method
from vireid.models.families import is_usual
from vireid.models.options import ModelOptions, start_meant
from vireid.models.shipped import network_of_start
from vireid.own_code import CODE, code_of, is_code, place_of_field, same_code, whole_code_name
from vireid.problems import Problems
from vireid.training.flat import flat_name, flat_names, with_values
from vireid.training.options import (
    TrainOptions,
    check_config,
    usual_eval_every,
    with_named_code,
)
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from vireid.data import Dataset

ADAM_LR = 0.00035
_NO_BEST = (
    "There is no recipe 'best' any more; the method halo took its place. It was scratch with 16 "
    "identities a batch: give `recipe` scratch and `pids_per_batch` 16 for the same."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What decides the defaults of everything else; None: as the file says, or the default.

    Attributes:
        dataset, method, arch, pretrained, optim: as in `TrainOptions` and its parts.
        recipe: name of one of the method's recipes, of which some differ between data sets.
        augment: name of a preset of augmentation, or a user's own ("file.py:Class"), which comes
            on top of the recipe's.
        lr: whether a learning rate is given besides, so that Adam's own isn't needed.
    """

    dataset: str | None = None
    method: str | None = None
    arch: str | None = None
    pretrained: str | None = None
    optim: str | None = None
    recipe: str | None = None
    augment: str | None = None
    sampler: str | None = None
    callback: tuple[str, ...] = ()
    lr: bool = False


def defaults(file: str | Path | None = None, choices: Choices | None = None) -> TrainOptions:
    """All options of a run where nothing but `file` and `choices` is given.

    Args:
        file: a run's config.json, or any part of one, JSON or TOML.

    Raises:
        InputError: an unknown name (the nearest valid one is named), or a value that can't be.
    """
    plain = {} if file is None else read_plain(file)
    return resolve(plain, choices or Choices(), str(file))


def resolve(plain: Any, choices: Choices, where: str) -> TrainOptions:
    """As `defaults`, from plain values; `where` names them in messages."""
    plain = check_config(plain, where)
    later = ("method", "dataset")  # of which another one than the file's may be chosen
    named = {name: getattr(choices, name) for name in CODE if name not in later}
    if choices.arch is not None and "arch" in plain.get("model", {}):
        plain = {**plain, "model": {**plain["model"], "arch": choices.arch}}
    plain = {
        **plain,
        **with_named_code({n: v for n, v in plain.items() if n not in later}, named, where),
    }
    problems, plain = Problems(), copy.deepcopy(plain)
    method_of_file, method, dataset = _names(plain, choices, where, problems)
    known, own_options = not problems, options_class(method)
    if is_code(method):
        check_own_names(own_options, (*_names_of_others(), "config", "max_steps"))
    with problems:
        keys = _sections(TrainOptions, own_options)
        check_sections(_tables(plain, keys), keys, where)
    parts = {name: dict(plain.get(name, {})) for name in ("recipe", "model", "method_options")}
    if method_of_file is not None and not same_code(method_of_file, method):
        # what the file says is about another method's parts
        network = {k: v for k, v in parts["model"].items() if k in ("arch", "pretrained")}
        parts |= {"method_options": {}, "model": network}
    start_of_file = start_meant(parts["model"].get("pretrained", "imagenet"))
    pretrained = start_of_file if choices.pretrained is None else start_meant(choices.pretrained)
    recipe_of_file = parts["recipe"].get("name")
    keeps_recipe = (
        not recipe_of_file
        or choices.recipe is None
        or folded(choices.recipe) == folded(str(recipe_of_file))
    )
    recipes = {name: one.on(dataset) for name, one in recipes_of(method).items()}
    recipe = next(iter(recipes.values()))  # where that of the file can't be
    with problems:
        of_file = parts["recipe"] if keeps_recipe else {}
        recipe = _recipe(choices, of_file, recipes, method, pretrained, where)

    def merged(of_recipe: dict[str, Any], of_file: dict[str, Any]) -> dict[str, Any]:
        """The file goes before the recipe, unless another recipe than the file's was chosen."""
        return {**of_recipe, **of_file} if keeps_recipe else {**of_file, **of_recipe}

    if (pretrained == "none") != (start_of_file == "none"):
        parts["model"].pop("backbone_scale", None)  # another start needs another rate
    model = merged(recipe.model_options, parts["model"])
    of_start: dict[str, Any] = {}
    with problems:
        wanted = model.get("arch") if choices.arch is None else choices.arch
        of_start = _of_start(pretrained, wanted)
    model = {**own_options.network, **of_start, **model}
    arch = model.get("arch", "resnet50") if choices.arch is None else choices.arch
    if (arch, pretrained) != (model.get("arch", arch), start_of_file):
        for name in ("input_mean", "input_std"):  # are those of the file's weights
            model.pop(name, None)
    model |= {"pretrained": pretrained, "arch": arch}
    names = {field.name for field in dataclasses.fields(own_options)}
    of_recipe = {k: v for k, v in recipe.method_options.items() if k in names}
    values = {
        "size": own_options.input_size, **plain,
        "method": method, "dataset": dataset, "recipe": recipe,
    }  # fmt: skip
    for part, cls, given, name in (
        ("method_options", own_options, merged(of_recipe, parts["method_options"]),
         f"options of method {method}"),
        ("model", ModelOptions, model, "model"),
    ):  # fmt: skip
        values.pop(part, None)
        with problems:
            values[part] = from_plain(cls, given, f"{where}: {name}")
    with problems:
        if known:
            options = from_plain(TrainOptions, values, where)
        else:  # what stands for wrong names says nothing of the other values together
            plain_values(TrainOptions, values, where)
    problems.tell()
    return options


def _of_start(pretrained: str, wanted: str | None) -> dict[str, Any]:
    """What a network takes over from the weights that it starts from; {} where `wanted` is another
    one, whose stages are its own.

    Raises:
        UnnamedCode: the weights state code for a network that the user didn't name.
    """
    found = network_of_start(pretrained, wanted)
    if not found:
        return {}
    if wanted is None:
        code_of(found["arch"], None, what="arch", where=shown(pretrained))
    elif folded(str(wanted)) != folded(found["arch"]) and not same_code(str(wanted), found["arch"]):
        return {}
    return found


def check_own_names(own: type[Options], taken: Collection[str]) -> None:
    """Refuse options of a user's own that are named like others, whose flags would be theirs.

    Args:
        taken: names of the others, with underscores.

    Raises:
        InputError: there are some.
    """
    problems = Problems()
    for one in dataclasses.fields(own):
        name = one.metadata.get("flag", one.name).replace("-", "_")
        with problems:
            if name in taken:
                flag = name.replace("_", "-")
                raise InputError(
                    f"Your option '{one.name}' ({place_of_field(own, one.name)}) has the name of "
                    f"another one, --{flag}. Rename it, such as 'my_{one.name}'."
                )
    problems.tell()


def _names_of_others() -> set[str]:
    """The names of all options but the method's."""
    usual = TrainOptions(method="base", recipe=next(iter(recipes_of("base").values())))
    found = {name for name, way in flat_names(usual).items() if way[0] != "method_options"}
    return found | {field.name for field in dataclasses.fields(Choices)}


def _sections(
    cls: type[Options], own: type[Options], section: str = ""
) -> dict[str, Sequence[str]]:
    """Section of a configuration ("recipe.augment"; "" for the top) → its keys.

    Args:
        own: the options of the method.
    """
    names = [one.name for one in dataclasses.fields(cls)]
    found: dict[str, Sequence[str]] = {section: names}
    for name in names:
        kind = hints_of(cls)[name]
        if isinstance(kind, type) and issubclass(kind, Options):
            inner = f"{section}.{name}".lstrip(".")
            found |= _sections(own if inner == "method_options" else kind, own, inner)
    return found


def section_names() -> set[str]:
    """The names of a configuration's sections: recipe, augment, …"""
    return {name.rsplit(".")[-1] for name in _sections(TrainOptions, MethodOptions)} - {""}


def _tables(plain: dict[str, Any], sections: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sections that a configuration has, with what stands in them."""
    for section in sections:
        table: Any = plain
        for name in filter(None, section.split(".")):
            table = table.get(name) if isinstance(table, dict) else None
        if isinstance(table, dict):
            yield section, table


def _names(
    plain: dict[str, Any], choices: Choices, where: str, problems: Problems
) -> tuple[str | None, str, str]:
    """The method that the file states, or None; the method and the data set of the run.

    `problems` keeps that there is no such method or data set, nor such a network besides, and that
    the user didn't name code of the file's. The defaults then stand for them, and what the file
    says of the method's own options, which aren't known, is taken out.
    """
    of_file, method, dataset = None, "mcl", DEFAULT_DATASET
    with problems:
        of_file = resolve_method(plain["method"]) if "method" in plain else None
        chosen = choices.method  # also "", which is no name
        if chosen is None:
            chosen = code_of(of_file or "mcl", None, what="method", where=where)
        method = resolve_method(chosen)
    if problems:
        plain.pop("method_options", None)
    with problems:
        stated = choices.dataset
        if stated is None:
            stated = plain.get("dataset", DEFAULT_DATASET)
            stated = code_of(stated, None, what="dataset", where=where)
        dataset = resolve_dataset(stated)
    if problems:  # else it is checked where PyTorch is needed anyway, which timm imports
        with problems:
            arch = choices.arch or plain.get("model", {}).get("arch", ModelOptions.arch)
            if not is_usual(arch):
                from vireid.models.backbone import resolve_arch

                resolve_arch(arch)
    return of_file, method, dataset


def _recipe_named(name: str, recipes: Mapping[str, Recipe], method: str) -> str:
    if folded(name) == "best" and "best" not in recipes:
        raise InputError(_NO_BEST)
    of_others = {folded(one): one for others in RECIPES.values() for one in others}
    if (one := of_others.get(folded(name))) and one not in recipes:
        having = ", ".join(other for other, theirs in RECIPES.items() if one in theirs)
        why = ", as no training of it is published" if one == "published" else ""
        raise InputError(
            f"The method {shown(method)} has no recipe '{one}'{why}. Its recipes: "
            f"{', '.join(recipes)}. Methods with a recipe '{one}' are {having}."
        )
    return choose("recipe", name, tuple(recipes))


def _recipe(
    choices: Choices,
    of_file: dict[str, Any],
    recipes: dict[str, Recipe],
    method: str,
    pretrained: str,
    where: str,
) -> Recipe:
    name = of_file.get("name") or None
    problems = Problems()
    recipe = next(iter(recipes.values()))  # where that which is asked for can't be
    with problems:
        whole = {"lr", "epochs", "schedule", "augment"} <= of_file.keys()  # as in a run's config
        if name is None or name in recipes or not whole:
            meant = (one for one in recipes if STARTS.get(one) == pretrained)
            default = next(meant, "clean")
            asked = name or default if choices.recipe is None else choices.recipe
            try:
                chosen = _recipe_named(str(asked), recipes, method)
            except InputError as error:
                with problems:
                    plain_values(Recipe, of_file, f"{where}: recipe")
                if asked == name and choices.recipe is None:
                    raise InputError(f"{where}: {error}") from None
                raise
            spelled = {"name": chosen} if name else {}
            of_file = overlay(to_plain(recipes[chosen]), {**of_file, **spelled})
        recipe = from_plain(Recipe, of_file, f"{where}: recipe")
    changes: dict[str, Any] = {}
    with problems:
        if choices.augment is not None and is_code(choices.augment):
            own = whole_code_name(choices.augment)
            changes["augment"] = dataclasses.replace(recipe.augment, own=own)
        elif choices.augment is not None:
            preset = choose("augmentation", choices.augment, tuple(AUGMENTATIONS))
            changes["augment"] = AUGMENTATIONS[preset]
    with problems:
        if choices.optim is not None:
            names = get_args(OptimiserName)
            changes["optim"] = choose("optim", choices.optim, names, option=True)
            if changes["optim"] != "sgd" == recipe.optim and not choices.lr:
                changes["lr"] = ADAM_LR
            if changes["optim"] == "sgd" != recipe.optim and not choices.lr:
                changes["lr"] = RECIPES["base"]["scratch"].lr
    problems.tell()
    return dataclasses.replace(recipe, **changes)


def train_options(file: str | Path | None = None, **options: Any) -> TrainOptions:
    """Options of a run from Python, named as the flags of `vireid train` with underscores.

    Args:
        file: a configuration file, JSON or TOML.
        options: for example `method="agw", recipe="scratch", lr=0.05, hidden=64`.

    Raises:
        InputError: an unknown name (the nearest valid one is named), or a value that can't be.
    """
    return options_of(file, options)


def options_of(
    file: str | Path | None, values: Mapping[str, Any], *, besides: Sequence[str] = ()
) -> TrainOptions:
    """As `train_options`, from a mapping.

    Args:
        besides: as in `with_values`.
    """
    names = {field.name for field in dataclasses.fields(Choices)} - {"lr"}
    sections = section_names()
    nested = {n: v for n, v in values.items() if n in sections and isinstance(v, Mapping)}
    plain = {name: value for name, value in values.items() if name not in nested}
    hints = hints_of(Choices)
    decide_nothing = ("sampler", "callback")  # but which code of the file may be run
    rest = {n: value for n, value in plain.items() if n not in names or n in decide_nothing}
    chosen, problems = dict[str, Any](), Problems()
    for name in [name for name in plain if name in names]:
        with problems:
            chosen[name] = convert(hints[name], plain[name], name)
    choices = Choices(**chosen, lr="lr" in rest)
    options, known = options_despite(file, choices, problems)
    with problems:
        _refuse_sections(options, nested)
    if not known:  # nor are the method's own options
        others = owners_of_options().keys() - flat_names(options).keys()
        rest = {name: value for name, value in rest.items() if name not in others}
        besides = (*besides, *others)
    with problems:
        options = with_values(options, rest, besides=besides, each_alone=bool(problems))
    problems.tell()
    return options


def options_despite(
    file: str | Path | None, choices: Choices, problems: Problems
) -> tuple[TrainOptions, bool]:
    """`defaults`; or, where `problems` then keeps what is wrong with them, options that the other
    values of the run can be checked by. And whether their method is the run's."""
    with problems:
        return defaults(file, choices), True
    method = choices.method
    with contextlib.suppress(InputError):
        if method is None and file is not None:
            stated = check_config(read_plain(file), str(file)).get("method", "mcl")
            method = code_of(stated, None, what="method", where=str(file))
        return defaults(None, Choices(method=method)), True
    return defaults(), False


def _refuse_sections(options: Options, values: Mapping[str, Any]) -> None:
    """Say how options are named that are given within their sections."""
    given = flatten(values)
    if told := [f"{shown(flat_name(options, name))} for {shown(name)}" for name in given]:
        raise InputError(f"Options are named without a section here: {', '.join(told)}.")


def for_steps(options: TrainOptions, data: Dataset, max_steps: int) -> TrainOptions:
    """Options whose run has about `max_steps` steps, in whole epochs of equal length."""
    epochs = -(-max_steps // whole_epoch(options, data))
    usual = options.eval_every == usual_eval_every(options.recipe.epochs)
    return dataclasses.replace(
        options,
        eval_every=0 if usual and options.select == "val" else options.eval_every,  # made anew
        steps_per_epoch=-(-max_steps // epochs),
        recipe=dataclasses.replace(options.recipe, epochs=epochs),
    )


def whole_epoch(options: TrainOptions, data: Dataset) -> int:
    """Steps of a whole epoch."""
    import numpy as np

    recipe = options.recipe
    counts = np.bincount(data.modality[data.parts[options.part]], minlength=2)
    return int(counts.max()) // (recipe.pids_per_batch * recipe.images_per_pid) + 1
