"""From a few choices (method, network, recipe, file) to all options of a run.

The file goes before the recipe, the recipe before the method's defaults. Nothing here imports
PyTorch for the methods of this package.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

from vireid.config import (
    Options,
    check_sections,
    checked_values,
    convert,
    flatten,
    from_plain,
    hints_of,
    overlay,
    read_plain,
    to_plain,
)
from vireid.console import choose, folded, likeness, refusals
from vireid.data.registry import DEFAULT_DATASET, resolve_dataset
from vireid.files import code_of, is_code, same_code, whole_code_name
from vireid.methods.options import MethodOptions, owners_of_options
from vireid.methods.recipe import OptimiserName, Recipe
from vireid.methods.recipes import AUGMENTATIONS, RECIPES
from vireid.methods.registry import options_class, recipes_of, resolve_method
from vireid.models.options import ModelOptions, start_meant
from vireid.models.shipped import network_of_start
from vireid.own_code import place_of_field
from vireid.problems import Problems, each
from vireid.training.options import (
    CODE,
    FOREIGN,
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
Chosen = TypeVar("Chosen", bound=Options)


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
    method_of_file, method, dataset = _names(plain, choices, where)
    own_options = options_class(method)
    if is_code(method):
        check_own_names(own_options, (*_names_of_others(), "config", "max_steps"))
    problems, plain = Problems(), copy.deepcopy(plain)
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
        options = from_plain(TrainOptions, values, where)
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


def _names(plain: Mapping[str, Any], choices: Choices, where: str) -> tuple[str | None, str, str]:
    """The method that the file states, or None; the method and the data set of the run.

    Raises:
        InputError: there is no such method or data set, nor such a network besides; code of a
            user's own that the user didn't name.
    """
    of_file, method, dataset = None, "", ""
    problems = Problems()
    with problems:
        of_file = resolve_method(plain["method"]) if "method" in plain else None
        chosen = choices.method  # also "", which is no name
        if chosen is None:
            chosen = code_of(of_file or "mcl", None, what="method", where=where)
        method = resolve_method(chosen)
    with problems:
        dataset = choices.dataset or ""
        if choices.dataset is None:
            stated = plain.get("dataset", DEFAULT_DATASET)
            dataset = code_of(stated, None, what="dataset", where=where)
        dataset = resolve_dataset(dataset)
    if problems:  # else it is checked where PyTorch is needed anyway, which timm imports
        with problems:
            from vireid.models.backbone import resolve_arch

            resolve_arch(choices.arch or plain.get("model", {}).get("arch", ModelOptions.arch))
    problems.tell()
    return of_file, method, dataset


def _recipe_named(name: str, recipes: Mapping[str, Recipe], method: str) -> str:
    if folded(name) == "best" and "best" not in recipes:
        raise InputError(_NO_BEST)
    of_others = {folded(one): one for others in RECIPES.values() for one in others}
    if (one := of_others.get(folded(name))) and one not in recipes:
        having = ", ".join(other for other, theirs in RECIPES.items() if one in theirs)
        why = ", as no training of it is published" if one == "published" else ""
        raise InputError(
            f"The method {shown(method)} has no recipe '{one}'{why}; it takes "
            f"{' or '.join(recipes)}. Methods with a recipe '{one}' are {having}."
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
            default = "scratch" if pretrained == "none" else "clean"
            asked = name or default if choices.recipe is None else choices.recipe
            try:
                chosen = _recipe_named(str(asked), recipes, method)
            except InputError as error:
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
            changes["optim"] = choose("optimiser", choices.optim, get_args(OptimiserName))
            if changes["optim"] != "sgd" == recipe.optim and not choices.lr:
                changes["lr"] = ADAM_LR
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
    with problems:
        options = defaults(file, Choices(**chosen, lr="lr" in rest))
        with problems:
            _refuse_sections(options, nested)
        options = with_values(options, rest, besides=besides)
    problems.tell()
    return options


def _refuse_sections(options: Options, values: Mapping[str, Any]) -> None:
    """Say how options are named that are given within their sections."""
    given = flatten(values)
    if told := [f"{shown(flat_name(options, name))} for {shown(name)}" for name in given]:
        raise InputError(f"Options are named without a section here: {', '.join(told)}.")


def with_values(
    options: Chosen, values: Mapping[str, Any], *, besides: Sequence[str] = ()
) -> Chosen:
    """`options` with values given by their flat names, wherever they are kept.

    Args:
        besides: names that whoever calls takes besides, which an unknown one may mean.

    Raises:
        InputError: an unknown name, or a value that can't be.
    """
    places, problems = flat_names(options), Problems()
    nested: dict[str, Any] = {}
    wrong = [name for name in values if name not in places]
    foreign = [name for name in wrong if name in FOREIGN and isinstance(options, TrainOptions)]
    of_others = {
        name: of_other_methods(name, options, besides) for name in wrong if name not in foreign
    }
    unlike = [name for name, found in of_others.items() if found is None]
    sentence = "There is no option "
    refused = refusals(sentence, unlike, (*places, *besides)) if unlike else []
    refused += [InputError(f"{sentence}{shown(name)}.", f" {FOREIGN[name]}") for name in foreign]
    for name, found in of_others.items():
        if found:
            meant = "" if found.alike else f" Did you mean '{found.name}'?"
            hint = f"{meant} {found}; the method here is {shown(found.here)}."
            # A little less, so that a sweep names it of a row whose method has it, if there is one.
            near = 0.0 if found.alike else 0.99 * likeness(name, found.name)
            refused.append(InputError(f"{sentence}{shown(name)}.", hint, near))
    for error in refused:
        with problems:
            raise error
    known = {name: value for name, value in values.items() if name in places}
    for name, value in known.items():
        inner = nested
        for part in places[name][:-1]:
            inner = inner.setdefault(part, {})
        inner[places[name][-1]] = value
    try:
        made = _replaced(options, nested, each_alone=bool(wrong))
    except InputError as error:
        given = {f"`{places[name][-1]}`": f"`{name}`" for name in known}
        for one in each(error):
            with problems:
                fault, hint = (
                    re.sub(r"`\w+`", lambda word: given.get(word[0], word[0]), part)
                    for part in (one.fault, one.hint)
                )
                raise InputError(fault, hint, one.nearness) from error
    problems.tell()
    return made


class OfOthers(NamedTuple):
    """An option of other methods that a word names, or is nearest to.

    Attributes:
        methods: those that have it.
        here: the run's method, which hasn't.
        alike: the word names it.
    """

    name: str
    methods: tuple[str, ...]
    here: str
    alike: bool

    def __str__(self) -> str:
        return f"That is an option of {' and '.join(self.methods)}"


def of_other_methods(word: str, options: Options, besides: Iterable[str] = ()) -> OfOthers | None:
    """What a word that is no option of a run means, where that is an option of other methods.

    Args:
        options: of the run.
        besides: as in `with_values`.
    """
    if not isinstance(options, TrainOptions):
        return None
    owners = owners_of_options()
    others = owners.keys() - flat_names(options).keys()
    name = word.replace("-", "_")
    near = difflib.get_close_matches(name[:80], [*flat_names(options), *besides, *others], n=1)
    if not near or near[0] not in others:
        return None
    return OfOthers(near[0], tuple(owners[near[0]]), options.method, alike=name == near[0])


def flat_names(options: Options) -> dict[str, tuple[str, ...]]:
    """Flag name with underscores → the way to the field, through nested options."""
    out: dict[str, tuple[str, ...]] = {}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if isinstance(value, Options):
            out |= {name: (one.name, *way) for name, way in flat_names(value).items()}
        elif one.metadata.get("flag") != "":
            out[one.metadata.get("flag", one.name).replace("-", "_")] = (one.name,)
    return out


def flat_name(options: Options, within: str) -> str:
    """The flat name of an option that is named within its sections, "schedule.kind"."""
    ways = {f".{'.'.join(way)}": name for name, way in flat_names(options).items()}
    found = (name for way, name in ways.items() if way.endswith(f".{within}"))
    return next(found, within.rsplit(".")[-1])


def _replaced(options: Any, nested: Mapping[str, Any], *, each_alone: bool) -> Any:
    """Options with changes; with `each_alone`, the changes are only checked, each by itself."""
    changes, problems = {}, Problems()
    for name, value in nested.items():
        with problems:
            if isinstance(getattr(options, name), Options):
                inner = _replaced(getattr(options, name), value, each_alone=each_alone)
                changes[name] = inner
            else:
                changes |= checked_values(type(options), {name: value})
    problems.tell()
    return options if each_alone else dataclasses.replace(options, **changes)


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
