"""How a run is trained, as one frozen object. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from vireid.methods.recipe import Recipe
from vireid.types import InputError

ENGINES = ("auto", "eager", "compiled", "graph")
PRECISIONS = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Everything that decides a run's numbers, and where and how it is run.

    The first group is compared on `--resume`: a run goes on only as what it was. The second
    may change from one start to the next.

    Attributes:
        dataset, data_root, trial: what is trained on; `trial` matters for RegDB.
        part: rows that are trained on: "train" (published) or "fit" (leaves the validation
            identities out, so that epochs can be chosen on them).
        method, method_options: a name of `vireid.methods.METHODS` or "path/to/my.py:MyMethod".
        model: options of the network as plain values (`vireid.models.options.ModelOptions`).
        recipe: learning rates, schedule, batch and augmentation. Its batch is the total over
            all ranks.
        size: (height, width) of the input.
        camera_pattern: how a folder data set reads camera numbers from file names.
        seed: of weights, batches, augmentation and dropout.
        precision: "auto" is bfloat16 where the GPU has it, float16 with loss scaling on other
            GPUs, float32 on a CPU.
        deterministic: only algorithms that give the same bits each time (slower on a GPU).
        sync_bn: batch norm over the batches of all ranks.
        gather: the triplet loss sees the features of all ranks.
        max_steps: shorten every epoch to this many steps (0: whole epochs).
        choose: whose weights are kept: "last" epoch's, or "validation": the epoch with the best
            mAP on validation identities (needs part "fit" and eval_every).
        epochs_from: how the number of epochs was found, in words, where another run found it.

        engine: see `vireid.training`.
        device: "auto", "cpu", "cuda:N" or "mps".
        eval_every: epochs between evaluations on validation identities (0: never).
        keep: checkpoints that stay on the disk.
        checkpoint_every: epochs between checkpoints; checkpoint_steps: also every so many steps
            inside an epoch (0: only at epochs' ends).
        log_every: steps between lines of `log.jsonl` inside an epoch.
        store: where the images are kept: on the "device", on the "host", or "auto" (device if
            they fit).
        skip_broken: leave out images that can't be decoded.
        tensorboard: also write TensorBoard's event files (needs the extra `logging`).
    """

    dataset: str = "sysu"
    data_root: str | None = None
    trial: int = 1
    part: Literal["train", "fit"] = "train"
    method: str = "mcl"
    method_options: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe
    size: tuple[int, int] = (288, 144)
    camera_pattern: str | None = None
    seed: int = 0
    precision: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    deterministic: bool = False
    sync_bn: bool = False
    gather: bool = False
    max_steps: int = 0
    choose: Literal["last", "validation"] = "last"
    epochs_from: str = ""

    engine: Literal["auto", "eager", "compiled", "graph"] = "auto"
    device: str = "auto"
    eval_every: int = 0
    keep: int = 2
    checkpoint_every: int = 1
    checkpoint_steps: int = 0
    log_every: int = 50
    store: Literal["auto", "device", "host"] = "auto"
    tensorboard: bool = False
    skip_broken: bool = False

    def __post_init__(self) -> None:
        for name, least in (
            ("keep", 1),
            ("checkpoint_every", 1),
            ("checkpoint_steps", 0),
            ("eval_every", 0),
            ("max_steps", 0),
            ("log_every", 1),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                shown = name if name in ("checkpoint_every", "log_every") else flag  # files only
                raise InputError(
                    f"{shown} is {getattr(self, name)}; at least {least} was expected."
                )
        if self.choose == "validation" and (self.part != "fit" or not self.eval_every):
            raise InputError(
                "Choosing an epoch on validation identities needs a run that trains "
                "without them (part 'fit') and evaluates them (--eval-every)."
            )
        if self.recipe.pids_per_batch < 2:
            raise InputError("--pids-per-batch is 1; a triplet needs at least 2 identities.")


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
    "skip_broken",
)
