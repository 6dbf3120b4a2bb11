"""Code of others that is told what a run does: trackers, alarms, plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vireid.console import warn
from vireid.own_code import answering, import_class


class Callback:
    """Is told what a run does. Override what you need; `--callback path/to/my.py:MyCallback` names
    it, or `vireid.train(…, callbacks=[MyCallback()])` takes it.

    Everything is called on the host, on the first rank alone, between steps. A callback can't
    change a run, and its mistakes don't stop one: it is left out from then on, with a warning.
    """

    def on_start(self, run: Path, config: Mapping[str, Any]) -> None:
        """Training begins, or goes on.

        Args:
            run: the run's folder.
            config: all options, as config.json has them.
        """

    def on_step(self, line: Mapping[str, Any]) -> None:
        """Every `log_every` steps: a line of log.jsonl with epoch, step, global_step, losses (means
        since the epoch began), lr, images_per_second and seconds."""

    def on_evaluate(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """After a test on the validation identities.

        Args:
            epoch: epochs that are done.
            metrics: by name, such as "all/mean_ap"; fractions.
        """

    def on_epoch(self, line: Mapping[str, Any]) -> None:
        """After each epoch: its line of log.jsonl, as in `on_step`, with means of the whole epoch,
        and with metrics, {} where it was not tested."""

    def on_end(self, state: Literal["finished", "stopped", "failed"]) -> None:
        """Training ends: at its last epoch, by Ctrl-C, or by an error."""


def load_callbacks(names: Iterable[str]) -> list[Callback]:
    """Callbacks by "path/to/my.py:MyCallback", made without arguments.

    Raises:
        InputError: there is no such class, or it can't be made.
    """
    found = []
    for name in names:
        cls = import_class(name, Callback, "callback")
        with answering(f"Callback '{cls.__name__}' can't be made", name.rsplit(":", 1)[0]):
            found.append(cls())
    return found


class Callbacks:
    """Tells several callbacks, and leaves out one that fails.

    Args:
        callbacks: in the order in which they are told; none on ranks other than the first.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = list(callbacks)

    def tell(self, event: str, *facts: Any) -> None:
        """Call the method `event` of each."""
        for callback in list(self._callbacks):
            try:
                getattr(callback, event)(*facts)
            except Exception as error:  # whatever a user's code does
                self._callbacks.remove(callback)
                warn(
                    f"the callback '{type(callback).__name__}' failed in `{event}` and is left out "
                    f"from here on ({type(error).__name__}: {error})."
                )
