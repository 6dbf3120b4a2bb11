"""How a run is trained, as one frozen object. Nothing here imports PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypedDict

from vireid.config import Options, convert, from_plain, hints_of, option
from vireid.data import known
from vireid.data.facts import Decoding
from vireid.data.registry import DEFAULT_DATASET, check_trial, facts_of, resolve_dataset
from vireid.methods.options import MethodOptions
from vireid.methods.recipe import Recipe
from vireid.methods.registry import method_choices, options_class, resolve_method
from vireid.models.options import ModelOptions
from vireid.own_code import CODE, code_in, code_of, is_code, same_code, whole_code_name
from vireid.problems import Problems
from vireid.types import InputError, shown

KernelsName = Literal["auto", "own", "mixed", "compiled", "eager"]


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Options):
    """Everything that decides a run's numbers, and where and how it is run.

    A run is resumed only as what it was; what `MAY_CHANGE` names may differ from one start to
    the next.
    """

    title: ClassVar[str] = "run"

    dataset: str = option(DEFAULT_DATASET, choices=known.datasets)
    """Data set: {dataset}."""
    data_root: str | None = None
    """The data set's folder (default: $VIREID_DATA/NAME)."""
    method: str = option("mcl", choices=method_choices)
    """Method: {method}."""
    trial: int | Literal["all"] = option(1, choices=known.splits)
    """Split of the identities, where a data set has several: {trial}; or all: train and test a
    model for each split, and average them."""
    camera_pattern: str | None = option(None, rare=True)
    """With `dataset` folder: regular expression that finds the camera number in a file name, such
    as 'c(\\d+)_'."""
    intensity_range: str | None = option(None, rare=True)
    """Values that are black and white in images with more than 8 bits per channel, as thermal
    cameras write them: LOW:HIGH, or minmax, which takes them from each image, so that contrast
    changes from frame to frame (default: such images are refused)."""
    junk: tuple[str, ...] = option((), rare=True)
    """With `dataset` folder: identities, such as 0000, of nobody: their images are left out and
    counted, as those of -1 always are."""
    sensor_cameras: bool = option(False, rare=True)
    """With `dataset` folder: each sensor's camera numbers are its own, so that camera 1 of visible
    images and camera 1 of infrared ones are two cameras."""
    size: tuple[int, int] = option((288, 144), at_least=1, at_most=8192)
    """Height and width of the input, in pixels; a method's default is as it was published."""
    select: Literal["last", "val", "held-out"] = "last"
    """Which weights are kept. last: those of the last epoch, trained on all training identities;
    val: those of the epoch that does best on the validation identities, trained without them;
    held-out: those of the last epoch, trained without the validation identities."""
    method_options: MethodOptions = option(MethodOptions())
    """The method's own options (default: those of the method)."""
    model: ModelOptions = option(ModelOptions())
    """The network."""
    sampler: str = option("identity", rare=True)
    """How batches are composed: identity (P identities, and of each K visible and K infrared
    images), or path/to/my.py:MySampler."""
    recipe: Recipe
    """Learning rates, schedule, batch, precision and augmentation; the batch is the total over all
    ranks."""
    seed: int = option(0, at_least=0)
    """One seed fixes weights, batches, augmentation and dropout."""
    deterministic: bool = option(False, rare=True)
    """Make repeats bit-equal on CUDA too; slower."""
    sync_bn: bool = option(False, rare=True)
    """With several GPUs: compute batch norm over all of them."""
    gather: bool = option(False, rare=True)
    """With several GPUs: let the triplet loss see the embeddings of all of them."""
    steps_per_epoch: int = option(0, at_least=0, rare=True)
    """Shorten every epoch to this many steps (0: whole epochs)."""

    stop_epoch: int = option(0, at_least=0, rare=True)
    """End the run after so many epochs of its schedule, as --refit does (0: after all)."""
    criterion: str = option("embedding_mean_ap", rare=True)
    """With `select` val: the test embedding and the metric that choose the epoch, named as in
    log.jsonl: embedding_mean_ap, pooled_rank1 …"""

    epochs_from: str = option("", flag="")
    """How the number of epochs was found, in words, where another run found it."""
    engine: Literal["auto", "eager", "compiled", "graph"] = "auto"
    """How a step is run; docs/engine.md compares them."""
    kernels: KernelsName = "auto"
    """What a captured step consists of. own: our kernels between convolutions, ready in seconds.
    mixed: those inside residual blocks, everything else compiled. compiled: everything. eager:
    PyTorch's kernels."""
    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps."""
    eval_every: int = option(0, at_least=0)
    """Epochs between tests on the validation identities (0: never; with `select` val, a twentieth
    of the epochs)."""
    keep: int = option(2, at_least=1, rare=True)
    """Number of checkpoints to keep."""
    checkpoint_every: int = option(1, at_least=1, rare=True)
    """Epochs between checkpoints."""
    checkpoint_steps: int = option(0, at_least=0, rare=True)
    """Also save every so many steps inside an epoch (0: only at epochs' ends)."""
    log_every: int = option(50, at_least=1, rare=True)
    """Steps between lines of log.jsonl inside an epoch."""
    store: Literal["auto", "device", "host"] = option("auto", rare=True)
    """Where the images are kept; auto: on the device if they fit."""
    tensorboard: bool = option(False, rare=True)
    """Also write TensorBoard files: losses, rates, metrics, configuration and images (needs
    vireid[logging])."""
    callbacks: tuple[str, ...] = option((), rare=True, flag="callback")
    """Your own code that is told what a run does, such as a tracker:
    path/to/my.py:MyCallback, one or several."""
    skip_broken: bool = option(False, rare=True)
    """Leave out images that can't be decoded, and list them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = Problems()
        for field, resolved in (
            ("method", resolve_method),
            ("dataset", resolve_dataset),
            ("sampler", lambda name: _own(name, "sampler", "identity")),
            ("callbacks", lambda names: tuple(_own(name, "callbacks") for name in names)),
        ):
            with problems:
                object.__setattr__(self, field, resolved(getattr(self, field)))
        problems.tell()
        own = options_class(self.method)
        if type(self.method_options) is MethodOptions:
            object.__setattr__(self, "method_options", own())
        elif not isinstance(self.method_options, own):
            raise InputError(
                f"`method_options` is a {type(self.method_options).__name__}; the method "
                f"'{self.method}' takes {own.__name__}."
            )
        decoding = Decoding(intensity_range=self.intensity_range)
        object.__setattr__(self, "intensity_range", decoding.intensity_range)
        facts = facts_of(self.dataset)
        if self.trial != "all":
            check_trial(facts, self.trial)
        elif facts.splits == 1:
            raise InputError(f"`trial` is all; {facts.title} has one split only. Leave it out.")
        if self.select == "val" and not self.eval_every:
            object.__setattr__(self, "eval_every", usual_eval_every(self.recipe.epochs))
        if self.stop_epoch > self.recipe.epochs:
            raise InputError(
                f"`stop_epoch` is {self.stop_epoch}, but the run has {self.recipe.epochs} `epochs`."
            )
        if self.recipe.pids_per_batch < 2:
            raise InputError("`pids_per_batch` is 1; a triplet needs at least 2 identities.")

    @property
    def last_epoch(self) -> int:
        """Epochs that are trained; the schedule is that of `recipe.epochs`."""
        return self.stop_epoch or self.recipe.epochs

    @property
    def part(self) -> Literal["train", "fit"]:
        """The rows that are trained on: all training identities, or those without validation."""
        return "train" if self.select == "last" else "fit"

    @classmethod
    def read(cls, plain: Any, where: str, named: Mapping[str, Any] | None = None) -> TrainOptions:
        """Options from the plain values of a run's config.json.

        Args:
            named: what the user names, by the words of `CODE`; needed where it is the user's own
                code.

        Raises:
            InputError: an unknown key, a value that can't be, or code that the user didn't name.
        """
        values = with_named_code(check_config(plain, where), named or {}, where)
        own = options_class(values.get("method", "mcl"))
        values["method_options"] = from_plain(
            own, values.get("method_options", {}), f"{where}: method_options"
        )
        return from_plain(cls, values, where)


def _own(name: str, field: str, *known: str) -> str:
    """A known word, or the whole name of a user's own code.

    Raises:
        InputError: it is neither.
    """
    if is_code(name):
        return whole_code_name(name)
    if name.strip().lower() in known:
        return name.strip().lower()
    words = "".join(f"{word} or " for word in known)
    raise InputError(f"`{field}` is '{name}'; {words}path/to/my.py:MyName was expected.")


def usual_eval_every(epochs: int) -> int:
    """Epochs between tests where the epoch is chosen by them: about twenty tests a run."""
    return max(1, epochs // 20)


class _Named(TypedDict, total=False):
    name: str


class _Network(TypedDict, total=False):
    arch: str
    pretrained: str


class _Config(TypedDict, total=False):
    """What decides how the rest of a configuration is read."""

    dataset: str
    method: str
    method_options: dict[str, Any]
    model: _Network
    recipe: _Named


def check_config(plain: Any, where: str) -> dict[str, Any]:
    """A configuration whose values of `_Config` have the right types; the others are checked when
    options are made of them.

    Raises:
        InputError: they have not, or there are keys of an earlier version.
    """
    if isinstance(plain, Mapping) and isinstance(name := plain.get("recipe"), str):
        raise InputError(
            f"{where}: recipe is {shown(name)}; the name of a recipe belongs under [recipe], as "
            f"name = {shown(name)}."
        )
    if isinstance(plain, Mapping):
        _refuse_titles(plain, where)
    values = convert(_Config, plain, where)
    refuse_old_keys(values, where)
    return values


def _refuse_titles(plain: Mapping[str, Any], where: str) -> None:
    """Say how the sections are called that are named as their groups in `vireid train --help`."""
    for title, section in (*_titles(TrainOptions), *_titles(Recipe, "recipe.")):
        if title != section and isinstance(plain.get(title), Mapping):
            raise InputError(
                f"{where} has the section [{title}], which is the name of a group in `vireid train "
                f"--help`. Here it is [{section}]."
            )


def _titles(cls: type[Options], before: str = "") -> Iterator[tuple[str, str]]:
    for one in fields(cls):
        kind = hints_of(cls)[one.name]
        if isinstance(kind, type) and issubclass(kind, Options):
            yield kind.title, f"{before}{one.name}"


def with_named_code(
    plain: Mapping[str, Any], named: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Plain options of a file, with the user's own code as the user names it.

    Args:
        named: the flag's word → what the user gave: a name, several, or None.

    Raises:
        UnnamedCode: the file states code that the user didn't name.
    """
    values = dict(plain)
    for what, names in code_in(plain).items():
        given = named.get(what)
        several = list(given) if isinstance(given, (list, tuple)) else [given]
        own = [
            code_of(
                name,
                next((one for one in several if same_code(name, str(one))), (*several, None)[0]),
                what=what,
                where=where,
            )
            for name in names
        ]
        inner, way = values, CODE[what]
        for part in way[:-1]:
            inner[part] = dict(inner[part])
            inner = inner[part]
        inner[way[-1]] = own if what == "callback" else own[0]
    return values


# Options of the published codes, of DEEN and of other programs → what to give here.
FOREIGN = {
    "batch_size": "P is `pids_per_batch`, K is `images_per_pid`; a batch has 2 x P x K images.",
    "num_pos": "Here it is `images_per_pid`: images of each modality for each identity.",
    "img_h": "Here it is `size`, height and width.",
    "img_w": "Here it is `size`, height and width.",
    "test_batch": "Testing picks its batch by itself; leave it out.",
    "workers": "Images are decoded once, by `vireid prepare` or the first run; leave it out.",
    "erasing_p": "Here it is `erase`.",
    "save_epoch": "Here it is `checkpoint_every`; `keep` says how many checkpoints stay.",
    "tvsearch": "Training has no direction; `vireid test` takes one.",
    "learning_rate": "Here it is `lr`.",
    "num_epochs": "Here it is `epochs`.",
    "max_epochs": "Here it is `epochs`.",
    "optimizer": "Here it is `optim`.",
    "optimiser": "Here it is `optim`.",
    "backbone": "Here it is `arch`.",
    "network": "Here it is `arch`.",
}

OLD_KEYS = {
    "max_steps": "steps_per_epoch",
    "choose": "select",
    "part": "select",
    "precision": "recipe.precision",
}


def refuse_old_keys(plain: Mapping[str, Any], where: str) -> None:
    """Name the keys of a configuration that an earlier version wrote.

    Raises:
        InputError: it has some.
    """
    if old := [key for key in OLD_KEYS if key in plain]:
        renamed = ", ".join(f"'{key}' is now '{OLD_KEYS[key]}'" for key in old)
        raise InputError(
            f"{where} has keys of an earlier version of vireid: {renamed}. Rename them to start a "
            "new run from the file; an earlier version's run can be tested, but not resumed."
        )


MAY_CHANGE = (
    "data_root",
    "epochs_from",
    "engine",
    "kernels",
    "device",
    "eval_every",
    "keep",
    "checkpoint_every",
    "checkpoint_steps",
    "log_every",
    "store",
    "tensorboard",
    "callbacks",
    "skip_broken",
)
