"""How a run is trained, as one frozen object. Nothing here imports PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vireid.config import Options, from_plain, option
from vireid.data import known
from vireid.data.facts import Decoding
from vireid.data.registry import DEFAULT_DATASET, check_trial, facts_of, resolve_dataset
from vireid.files import is_code, whole_code_name
from vireid.methods.options import MethodOptions
from vireid.methods.recipe import Recipe
from vireid.methods.registry import method_choices, options_class, resolve_method
from vireid.models.options import ModelOptions
from vireid.types import InputError


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
    size: tuple[int, int] = option((288, 144), at_least=1)
    """Height and width of the input, in pixels (default: as the method was published)."""
    select: Literal["last", "val", "held-out"] = "last"
    """Which weights are kept. last: those of the last epoch, trained on all training identities;
    val: those of the epoch that does best on the validation identities, trained without them; held-
    out: those of the last epoch, trained without the validation identities."""
    method: str = option("mcl", choices=method_choices)
    """Method: {method}."""
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

    epochs_from: str = option("", flag="")
    """How the number of epochs was found, in words, where another run found it."""
    engine: Literal["auto", "eager", "compiled", "graph"] = "auto"
    """How a step is run; docs/engine.md compares them."""
    device: str = "auto"
    """Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps."""
    eval_every: int = option(0, at_least=0)
    """Epochs between tests on the validation identities (0: never)."""
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
    """Code of one's own that is told what a run does, such as a tracker:
    path/to/my.py:MyCallback, one or several."""
    skip_broken: bool = option(False, rare=True)
    """Leave out images that can't be decoded, and list them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "method", resolve_method(self.method))
        own = options_class(self.method)
        if type(self.method_options) is MethodOptions:
            object.__setattr__(self, "method_options", own())
        elif not isinstance(self.method_options, own):
            raise InputError(
                f"`method_options` is a {type(self.method_options).__name__}; the method "
                f"'{self.method}' takes {own.__name__}."
            )
        object.__setattr__(self, "dataset", resolve_dataset(self.dataset))
        object.__setattr__(self, "sampler", _own(self.sampler, "sampler", "identity"))
        callbacks = tuple(_own(name, "callbacks") for name in self.callbacks)
        object.__setattr__(self, "callbacks", callbacks)
        decoding = Decoding(intensity_range=self.intensity_range)
        object.__setattr__(self, "intensity_range", decoding.intensity_range)
        facts = facts_of(self.dataset)
        if self.trial != "all":
            check_trial(facts, self.trial)
        elif facts.splits == 1:
            raise InputError(f"`trial` is all; {facts.title} has one split only. Leave it out.")
        if self.select == "val" and not self.eval_every:
            object.__setattr__(self, "eval_every", 1)
        if self.recipe.pids_per_batch < 2:
            raise InputError("`pids_per_batch` is 1; a triplet needs at least 2 identities.")

    @property
    def part(self) -> Literal["train", "fit"]:
        """The rows that are trained on: all training identities, or those without validation."""
        return "train" if self.select == "last" else "fit"

    @classmethod
    def read(cls, plain: dict[str, Any], where: str) -> TrainOptions:
        """Options from the plain values of a run's config.json.

        Raises:
            InputError: an unknown key, or a value that can't be.
        """
        refuse_old_keys(plain, where)
        values = dict(plain)
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
