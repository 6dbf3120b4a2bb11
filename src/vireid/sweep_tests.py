"""The tests of a sweep: read from its file, and looked at before the trainings that they follow."""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.config import convert, hints_of, to_plain
from vireid.console import count_text, say
from vireid.problems import Problems
from vireid.sweep_file import allowed_code
from vireid.testing import TestOptions
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset
    from vireid.testing.searches import Asked
    from vireid.training.options import TrainOptions

# Flags of `vireid test` that a sweep gives by itself.
OF_SWEEP = ("resume", "out", "gpu", "device", "method", "arch")


@dataclass(frozen=True)
class SweepTest:
    """A `vireid test` that is made of each run.

    Attributes:
        options: what it asks.
        epoch: whose checkpoint it takes, if not the run's weights.
        words: of the command, but for those of `OF_SWEEP`.
        table: of the file that asks for it.
    """

    options: TestOptions
    epoch: int | None
    words: list[str]
    table: str = "[test]"

    @classmethod
    def of(cls, values: Mapping[str, Any], **more: Any) -> SweepTest:
        """From values by the names of flags, with underscores.

        Raises:
            InputError: an unknown name, or a value that can't be.
        """
        from vireid.training.flat import with_values

        if given := [name for name in OF_SWEEP if name in values]:
            raise InputError(f"the sweep itself gives '{given[0]}'. Leave it out.")
        rest = dict(values)
        epoch = convert(int | None, rest.pop("epoch", None), "epoch")
        options = with_values(TestOptions(), rest, besides=("epoch",))
        words: list[str] = []
        for name, value in values.items():
            if value is None or value is False or value == []:
                continue
            several = value if isinstance(value, list) else [value]
            words += [f"--{name.replace('_', '-')}"]
            words += [] if value is True else map(str, several)
        return cls(options, epoch, words, **more)


def read_tests(
    asked: Mapping[str, Any] | Sequence[Mapping[str, Any]],
    runs: Sequence[tuple[str, TrainOptions]],
    code: Sequence[str],
    where: str,
) -> list[SweepTest]:
    """The tests that a sweep's file asks for; a list of values stands for one test each, but where
    the option takes a list.

    Args:
        runs: row and options of each.
        code: files of the user's own that may be named.
        where: names the file.

    Raises:
        InputError: what `vireid test` would refuse of one of the runs, as far as that is known
            before there are runs and data.
    """
    of_lists = [n for n, hint in hints_of(TestOptions).items() if typing.get_origin(hint) is tuple]
    tables = {"[test]": asked} if isinstance(asked, Mapping) else {
        f"test {number}": one for number, one in enumerate(asked, 1)
    }  # fmt: skip
    tests, problems = list[SweepTest](), Problems()
    for table, given in tables.items():
        values = {"figure_queries": 0, **given}
        lists = [
            value if isinstance(value, list) and name not in of_lists else [value]
            for name, value in values.items()
        ]
        place = f"{where}, {table.strip('[]')}"
        for chosen in itertools.product(*lists):
            with problems:
                tests.append(_read_test(dict(zip(values, chosen)), table, runs, code, place))
    problems.tell()
    return tests


def _read_test(
    values: Mapping[str, Any], table: str, runs: Sequence[tuple[str, TrainOptions]],
    code: Sequence[str], where: str,
) -> SweepTest:  # fmt: skip
    from vireid.data.registry import resolve_dataset

    try:
        test = SweepTest.of(values, table=table)
        if (dataset := test.options.dataset) is not None:
            dataset = resolve_dataset(allowed_code(dataset, code, "dataset", "it"))
            options = dataclasses.replace(test.options, dataset=dataset)
            test = dataclasses.replace(test, options=options)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    for row, run in runs:
        try:
            _check_asked(test, run)
        except InputError as error:
            raise InputError(f"{where} of row {shown(row)}: {error}") from error
    return test


def _check_asked(test: SweepTest, run: TrainOptions) -> None:
    """Refuse what can't be asked of a run, whatever its data are."""
    dataset, _ = _asked(test, run)
    if dataset == run.dataset and test.options.part == "val":
        from vireid.training.seen import refuse_fitted_part

        refuse_fitted_part(run.part, test.options.part)
    if test.epoch is not None:
        _check_kept(test.epoch, run)


def _asked(test: SweepTest, run: TrainOptions) -> tuple[str, Asked]:
    """The data set of a test of a run, and what is asked of it."""
    from vireid.testing.searches import asked_of

    dataset = test.options.dataset or run.dataset
    trial = int(run.trial) if dataset == run.dataset else None
    return dataset, asked_of(dataset, test.options, trial, known=True)


def _check_kept(epoch: int, run: TrainOptions) -> None:
    """Refuse an epoch whose checkpoint won't be there when the run has ended."""
    last, every = run.last_epoch, run.checkpoint_every
    written = sorted({*range(every, last + 1, every), last})
    if epoch not in written:
        when = "" if every == 1 else f" and writes a checkpoint every {every} and after the last"
        raise InputError(
            f"`epoch` is {epoch}, but the run has {count_text(last, 'epoch', 'epochs')}{when}."
        )
    needed = sum(one >= epoch for one in written)
    if needed > run.keep:
        raise InputError(
            f"`epoch` is {epoch}, but a run of {last} epochs keeps its last "
            f"{count_text(run.keep, 'checkpoint', 'checkpoints')} only. Give it `keep` {needed}."
        )


# Of the data -------------------------------------------------------------------------------------


def check_data(
    tests: Sequence[SweepTest], runs: Sequence[tuple[str, TrainOptions, Dataset | None]]
) -> dict[str, list[str]]:
    """What `vireid test` would refuse after a training, once it has listed its data: each sentence
    with the tests that it is about. No image is decoded.

    Args:
        runs: row and options of each; and what it is trained on, unless it was begun before, with
            data that may be elsewhere than the options say.
    """
    look = _Look()
    rows = {row for row, *_ in runs}
    found: dict[str, dict[str, dict[str, None]]] = {}  # sentence → table → rows
    for test in tests:
        for row, run, data in runs:
            for sentence in look.at(test, run, data):
                found.setdefault(sentence, {}).setdefault(test.table, {})[row] = None
    return {
        sentence: [
            table if of_rows.keys() == rows else f"{table} of row {', '.join(map(shown, of_rows))}"
            for table, of_rows in tables.items()
        ]
        for sentence, tables in found.items()
    }


class _Look:
    """Lists data that several tests share once, as it does their comparison with the same people
    of several trainings."""

    def __init__(self) -> None:
        self._lists: dict[str, Dataset | InputError] = {}
        self._seen: dict[str, list[str]] = {}

    def at(self, test: SweepTest, run: TrainOptions, data: Dataset | None) -> list[str]:
        """What is wrong with the test of a run; `data` as in `check_data`."""
        from vireid.testing.beforehand import names_of_data

        dataset, asked = _asked(test, run)
        if data is None and dataset == run.dataset and test.options.data_root is None:
            return []
        names = names_of_data(dataset, test.options, asked.trial, to_plain(run))
        key = repr((names, asked, id(data), run.part, run.model.pretrained))
        if key not in self._seen:
            problems = Problems()
            with problems:
                self._compare(names, asked, run, data)
            self._seen[key] = problems.sentences()
        return self._seen[key]

    def _compare(
        self, names: dict[str, Any], asked: Asked, run: TrainOptions, data: Dataset | None
    ) -> None:
        from vireid.data import load_dataset
        from vireid.testing.beforehand import check_searches
        from vireid.training.seen import refuse_seen_people

        if (key := repr(names)) not in self._lists:
            try:
                self._lists[key] = load_dataset(**names)
            except InputError as error:
                self._lists[key] = error
        listed = self._lists[key]
        if isinstance(listed, InputError):
            raise listed
        own = names["name"] == run.dataset
        refuse_seen_people(_facts(run, data), listed, asked.searches[0].part, own=own)
        check_searches(listed, asked.searches)


def _facts(run: TrainOptions, data: Dataset | None) -> dict[str, Any]:
    """What the weights of a run will say of their training."""
    from vireid.training.run_state import trained_identities

    facts = {**to_plain(run), "part": run.part}
    if data is not None:
        people = trained_identities(data, run, None, Path(), say)
        facts |= {"data_root": str(data.root), "synthetic": data.synthetic, "identities": people}
    return facts
