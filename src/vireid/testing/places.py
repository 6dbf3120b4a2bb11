"""Where reports lie: of one test each, none overwritten by that of another question."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.console import say
from vireid.testing.options import TestOptions
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset, SearchOptions
    from vireid.evaluation import Report

TRIALS = "trials.json"  # in the folder of all splits' runs: what each is trained with


def run_of(source: str | Path, checkpoint: Path | None = None) -> Path:
    """The folder of the run that weights stand in, or one named after their file or repository;
    the reports on them are in its folder `test`.

    Args:
        checkpoint: of the run, where they are of one.
    """
    from vireid.models.hub import on_hub, repository_of
    from vireid.runtime import checkpoints

    if on_hub(source):
        return Path(repository_of(str(source))[0].rsplit("/", 1)[1])
    weights = Path(source)
    if weights.is_dir():
        return weights
    if checkpoint is not None:
        return checkpoints.run_of(checkpoint)
    if (weights.parent / "config.json").is_file() and weights.stem == "weights":
        return weights.parent
    return weights.parent / weights.stem


def report_files(run: Path) -> list[Path]:
    """The reports in a run's folder, also of tests with a folder for each direction, by name."""
    return sorted(run.glob("test/**/report.json"))


def reports_of(run: Path) -> list[Report]:
    """`report_files`, read."""
    from vireid.evaluation import Report

    return [Report.load(file) for file in report_files(run)]


def folder_name(
    data: Dataset, search: SearchOptions, options: TestOptions, checkpoint: Path | None
) -> str:
    """What tells one test of a run from the others, for the report's folder: everything that was
    asked where it isn't the default."""
    from vireid.data.gallery import searches_whole_gallery
    from vireid.runtime.checkpoints import position

    facts = data.facts
    words = [facts.name] if search.part == "test" else [facts.name, search.part]
    choices = [
        text
        for text, count in (
            (search.scope, len(facts.scopes)),
            (f"{search.shots}shot", len(facts.shots)),
            (search.draw, len(facts.draws)),
            (f"trial{data.trial}", facts.splits),
        )
        if count > 1
    ]
    usual = facts.tested_directions == (search.direction,)
    if not (choices and usual):
        choices.append(search.direction.replace("_", "-"))
    default = TestOptions()
    if search.variant != "standard":
        choices.append(search.variant)
    drawn = not searches_whole_gallery(data, search)
    if drawn and search.num_trials != default.num_trials:
        choices.append(f"{search.num_trials}trials")
    choices += [str(getattr(options, name)) for name in ("tta", "precision")
                if getattr(options, name) != getattr(default, name)]  # fmt: skip
    if options.rerank:
        choices.append("reranked")
    if checkpoint is not None:
        done, step = position(checkpoint)
        choices.append(f"epoch{done}" + (f"-step{step}" if step else ""))
    return "-".join([*words, *choices])


def free_place(folder: Path, question: dict[str, Any], *, rerank: bool, chosen: bool) -> Path:
    """A folder whose report, if it has one, answers the same question: `folder`, or the same with
    a number where the user didn't choose it.

    Raises:
        InputError: the user chose it, and it has the report of another question.
    """
    from vireid.evaluation import Report
    from vireid.evaluation.protocol import PROTOCOL_WORDS
    from vireid.evaluation.unlike import joined

    place, number, of = folder, 1, ""
    while (place / "report.json").is_file():
        there = Report.load(place / "report.json")
        other = [
            name
            for name, value in question.items()
            if getattr(there.protocol, name) != value
            and not (name == "data_hash" and there.protocol.data_hash is None)  # an older report
        ]
        if (there.protocol.reranking != "none") != rerank:
            other.append("reranking")
        if there.averaged:
            other.append("average")
        if not other:
            return place
        things = {"weights_hash": "other weights", "data_hash": "other data"}
        asked = not things.keys() >= {*other}
        of = of or ("another question" if asked else joined([things[name] for name in other]))
        if chosen:
            words = {**PROTOCOL_WORDS, "average": "being an average"}
            why = f": {joined([words[name].lower() for name in other])} differ" if asked else ""
            raise InputError(
                f"'{place}' holds the report of {of}{why}. It is kept; name another folder by "
                "`out`."
            )
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    if number > 1:
        say(f"'{folder}' holds the report of {of}, which is kept.")
    return place
