"""A data set's splits (RegDB's ten trials): a model each, tested, and their averages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from vireid.commands.common import going_on, next_step
from vireid.config import convert, to_plain
from vireid.console import quoted, results, say, typed
from vireid.data.registry import facts_of
from vireid.files import read_json, write_json
from vireid.testing import TRIALS, TestOptions, evaluate
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.evaluation import Report
    from vireid.training.options import TrainOptions


def train_all_trials(
    options: TrainOptions,
    folder: Path,
    *,
    device: str,
    max_steps: int | None = None,
    other_code: bool = False,
) -> int:
    """Train and test a model for each split, skipping what is done, and average the reports.

    Raises:
        InputError: `folder` holds something else, or trials of other options.
    """
    from vireid.own_code import named_again
    from vireid.training.run_state import compare_options, tell_changes

    facts = facts_of(options.dataset)
    asked = {"options": to_plain(options), "max_steps": max_steps}
    if (folder / TRIALS).is_file():
        begun = read_trials(folder)
        if begun["max_steps"] != max_steps:
            was, now = (
                "without --max-steps" if steps is None else f"with --max-steps {steps}"
                for steps in (begun["max_steps"], max_steps)
            )
            raise InputError(
                f"The trials in '{folder}' were begun {was}, not {now}; all are averaged, so they "
                f"have as many. Go on with them by --resume {folder} alone, or give another --run."
            )
        changes = compare_options(begun["options"], asked["options"], folder)
        if text := changes.get("recipe.epochs"):
            raise InputError(
                f"{text}, but all trials in '{folder}' are averaged, so they have as many. Leave "
                "it out, or give another --run."
            )
        tell_changes(changes, say)
    elif (folder / "config.json").exists():
        raise InputError(f"'{folder}' holds another run. Give another --run.")
    else:
        _check(options, device, facts.splits)
        write_json(folder / TRIALS, asked)
    reports: dict[str, list[Report]] = {name: [] for name in facts.tested_directions}
    problems: list[str] = []
    again = f"vireid train --resume {quoted(folder)}{named_again(options)}"
    with going_on(f"The trials go on with: {typed(again)}", always=True):
        for trial in range(1, facts.splits + 1):
            one = dataclasses.replace(options, trial=trial)
            place = folder / f"trial{trial}"
            _train(one, place, device, max_steps, other_code=other_code)
            try:
                found = _test(one, place, device)
            except InputError as error:  # the other models are trained all the same
                problems.append(f"Trial {trial} can't be tested: {error}")
                say(problems[-1])
                continue
            for report in found:
                reports[report.protocol.direction].append(report)
    if problems:
        raise InputError(
            f"All trials are trained, but {len(problems)} of {facts.splits} can't be tested, so "
            f"there is no average. {problems[0]}"
        )
    return _average(reports, folder)


def _check(options: TrainOptions, device: str, splits: int) -> None:
    """Refuse trials of which one can't be trained or tested, before anything is written.

    Raises:
        InputError: what is wrong with the first of these.
    """
    from vireid.testing.beforehand import check_searches
    from vireid.testing.searches import searches_of
    from vireid.training.own_ahead import check_fetched
    from vireid.training.run import checked_data

    searches = searches_of(facts_of(options.dataset), TestOptions())
    for trial in range(1, splits + 1):
        one = dataclasses.replace(options, trial=trial, device=device)
        data = checked_data(one)
        try:
            check_searches(data, searches)
        except InputError as error:
            raise InputError(f"Trial {trial} can't be tested: {error}") from error
    check_fetched(one)


class Trials(TypedDict):
    """What trials.json says: options and --max-steps of all trials."""

    options: dict[str, Any]
    max_steps: int | None


def read_trials(folder: Path) -> Trials:
    """What trials of `folder` are trained with.

    Raises:
        InputError: its trials.json says something else.
    """
    return convert(Trials, read_json(folder / TRIALS), str(folder / TRIALS))


def _train(
    options: TrainOptions, folder: Path, device: str, max_steps: int | None, *, other_code: bool
) -> None:
    """Train one model, unless that is done."""
    from vireid.training.run import SUMMARY, train

    if not (folder / SUMMARY).is_file():
        say(f"Trial {options.trial} of {facts_of(options.dataset).splits}")
        resume = (folder / "config.json").is_file()
        one = dataclasses.replace(options, device=device)
        train(one, folder, max_steps=max_steps, resume=resume, other_code=other_code)


def _test(options: TrainOptions, folder: Path, device: str) -> list[Report]:
    """Test one model, unless that is done; its reports, one a direction."""
    from vireid.evaluation import Report

    facts = facts_of(options.dataset)
    places = [_place(folder, direction) for direction in facts.tested_directions]
    if all((place / "report.json").is_file() for place in places):
        return [Report.load(place / "report.json") for place in places]
    search = TestOptions(dataset=options.dataset, data_root=options.data_root)
    out = folder / "test" if len(places) > 1 else places[0]
    return evaluate(folder, search, method=options.method, device=device, out=out)


def _place(folder: Path, direction: str) -> Path:
    """The folder of a direction's report, as `evaluate` names it where there are several."""
    return folder / "test" / direction.replace("_", "-")


def _average(reports: dict[str, list[Report]], folder: Path) -> int:
    from vireid.evaluation import average_reports

    for direction, found in reports.items():
        mean = average_reports(found)
        mean.write(_place(folder, direction))
        results.print(mean.to_table())
    next_step(folder / "test", f"vireid report {quoted(folder)}")
    return 0
