"""Runs of rows and seeds as a result file keeps them: read, merged, checked, counted, written."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from _common import BUSY, hardware_line, record, result_path, write_result

from vireid.evaluation.difference import Difference
from vireid.evaluation.significance import FEWEST_PAIRS, over_identities
from vireid.own_code import is_code
from vireid.runtime.record import hash_of

METRICS = {"rank1": "Rank-1", "mean_ap": "mAP"}
EMBEDDINGS = ("pooled", "embedding")  # that every method has
FAILED = "failed: "  # how the state of a run that failed begins
Run = dict[str, Any]


class Unlike(ValueError):
    """A result, or a run of one, that can't stand beside others; the text says why."""


class Runs:
    """Runs of one setting, made now or taken from earlier results.

    Attributes:
        setting: what has to be equal for runs to stand in one table.
        rows: name of each row → the hash of its options; None of those where any will do.
        baseline: the row that the others are compared with, or "": then row "X (word)" is compared
            with "mcl (word)".
        found: facts of each run by row and seed.
        starts: of each seed the hash of its start and what is known of its making.
        configurations: by their hash, the options that runs were trained with.
        queries: AP of each query by "ROW|SEED|EMBEDDING", and its `pids` and `camids`.
        missing: sentences on runs that were not made; `left_out` on those that were not taken.
        failed: name of a run → how it failed in an earlier result.
    """

    def __init__(
        self, name: str, setting: dict[str, Any], rows: Mapping[str, str | None], baseline: str = ""
    ) -> None:
        self.name, self.setting, self.rows, self.baseline = name, setting, {**rows}, baseline
        self.found: dict[tuple[str, int], Run] = {}
        self.starts: dict[int, dict[str, Any]] = {}
        self.configurations: dict[str, Any] = {}
        self.queries: dict[str, np.ndarray] = {}
        self.missing: list[str] = []
        self.failed: dict[str, str] = {}
        self.left_out: list[str] = []
        self.merged: list[str] = []

    def start(self, seed: int, facts: dict[str, Any]) -> None:
        """Note the start of a seed.

        Raises:
            Unlike: its rows would come from two starts.
        """
        known = self.starts.setdefault(seed, facts)
        if known["start_hash"] != facts["start_hash"]:
            raise Unlike(
                f"The rows of seed {seed} would come from two starts, {known['start_hash']} "
                f"and {facts['start_hash']}. Rows of one seed are compared with each other: "
                "make all of them from one start."
            )

    def add(
        self, row: str, seed: int, facts: Run, options: Any, queries: Mapping[str, np.ndarray]
    ) -> None:
        """Take a run that was just made, and write what there is so far."""
        self.start(seed, {"start_hash": facts["start_hash"]})
        self.found[row, seed] = facts
        self.configurations[facts["config_hash"]] = options
        for name, values in queries.items():
            whose = name in ("pids", "camids")
            self.queries[name if whose else f"{row}|{seed}|{name}"] = values
        self.write()

    def merge(self, path: Path) -> int:
        """Take those runs of an earlier result that were trained with the options of a row, from
        the start of their seed; returns how many.

        Raises:
            Unlike: it is no such result, or one of another setting.
        """
        old, results = read(path)
        before = as_written_now(results["setting"])
        unlike = sorted(k for k in self.setting if before.get(k) != self.setting[k])
        if unlike:
            words = "; ".join(f"{k} was {before.get(k)} and is {self.setting[k]}" for k in unlike)
            raise Unlike(f"'{path}' can't stand in one table with these runs: {words}.")
        hashes, options = configurations_now(results)
        names = {known: row for row, known in self.rows.items() if known is not None}
        queries, taken = queries_of(path, results), 0
        for one in results["runs"]:
            seed, written = one["seed"], one.get("config_hash")
            now = hashes.get(written, written)
            row = names.get(now) or (one["row"] if self.rows.get(one["row"], "") is None else None)
            if row is None or (row, seed) in self.found:
                continue
            try:
                self.start(
                    seed, results["starts"].get(str(seed), {"start_hash": one["start_hash"]})
                )
            except Unlike as error:
                self.left_out.append(f"{row}, seed {seed} of {path.name}: {error}")
                continue
            facts = {k: v for k, v in one.items() if k not in ("row", "seed", "flags")}
            if now != written:
                facts |= {"config_hash": now, "config_hash_as_written": written}
            facts.setdefault("commit", old["commit"])
            facts.setdefault("date", old["date"])
            facts.setdefault("machine", hardware_line(old["hardware"]).split("; load")[0])
            self.found[row, seed] = facts
            self.configurations[now] = options[now]
            mine = f"{one['row']}|{seed}|"
            for name, values in queries.items():
                if name in ("pids", "camids"):
                    self.queries.setdefault(name, values)
                elif name.startswith(mine):
                    self.queries[f"{row}|{seed}|{name.removeprefix(mine)}"] = values
            taken += 1
        self.merged.append(path.name)
        for sentence in results["missing"]:
            name, _, how = sentence.partition(": ")
            if how.startswith(FAILED):
                self.failed[name] = how
        return taken

    def check(self) -> None:
        """See that every run has what makes it comparable.

        Raises:
            Unlike: a run without configuration hash, start hash or per-query AP, a seed with two
                starts, or a mean AP that isn't the mean of its queries' AP.
        """
        for (row, seed), facts in self.found.items():
            who = f"{row}, seed {seed}"
            if facts.get("config_hash") not in self.configurations:
                raise Unlike(f"{who} has no configuration hash, or none whose options are there.")
            if hash_of(self.configurations[facts["config_hash"]]) != facts["config_hash"]:
                raise Unlike(f"{who} has a configuration hash that isn't that of its options.")
            if not facts.get("start_hash"):
                raise Unlike(f"{who} has no start hash.")
            self.start(seed, {"start_hash": facts["start_hash"]})
            for which in EMBEDDINGS:
                if (values := self.queries.get(f"{row}|{seed}|{which}")) is None:
                    raise Unlike(f"{who} has no AP of each query ({which}).")
                stated, counted = facts[f"{self.scope}_{which}_mean_ap"], mean_of(values)
                if abs(stated - counted) > rounded(len(values)):
                    raise Unlike(
                        f"{who} states {stated} mAP ({which}), but the mean of its queries' AP is "
                        f"{counted:.2f}."
                    )

    @property
    def scope(self) -> str:
        """The search whose queries are kept; the first one."""
        return str(self.setting["modes"]).split(",")[0]

    def seeds(self, row: str) -> list[int]:
        return sorted(seed for name, seed in self.found if name == row)

    def made(self) -> list[str]:
        """Rows with a run, in their order."""
        return [row for row in self.rows if self.seeds(row)]

    def values(self, row: str, which: str, metric: str, mode: str = "") -> list[float]:
        """Numbers of a row in percent, by seed; none where the row lacks that embedding."""
        key = f"{mode or self.scope}_{which}_{metric}"
        runs = [self.found[row, seed] for seed in self.seeds(row)]
        return [run[key] for run in runs if key in run]

    def difference(self, row: str, other: str, which: str, metric: str) -> Difference | None:
        """A row minus another one, over the seeds of both; None where there is none."""
        seeds = [seed for seed in self.seeds(row) if (other, seed) in self.found]
        key = f"{self.scope}_{which}_{metric}"
        one, two = ([self.found[name, seed].get(key) for seed in seeds] for name in (row, other))
        if not seeds or None in one or None in two:
            return None
        return Difference(
            embedding=which, metric=metric, over="seeds",
            one=tuple(v / 100 for v in one), other=tuple(v / 100 for v in two),
            identities=self._over_identities(row, other, which, seeds) if metric == "mean_ap"
            else None,
        )  # fmt: skip

    def _over_identities(self, row: str, other: str, which: str, seeds: list[int]) -> Any:
        keys = [(f"{row}|{seed}|{which}", f"{other}|{seed}|{which}") for seed in seeds]
        if "pids" not in self.queries or any(k not in self.queries for pair in keys for k in pair):
            return None
        q, pids = self.queries, self.queries["pids"]
        gaps = np.concatenate([q[a].astype(np.float64) - q[b] for a, b in keys])
        interval = over_identities(gaps, np.ones(len(gaps)), np.tile(pids, len(seeds)))
        return interval, len(np.unique(pids))

    def reference(self, row: str) -> str:
        """The row that a row is compared with; "" where there is none."""
        other = self.baseline or f"mcl ({row.rsplit(' (', 1)[-1]}"
        return other if other in self.rows and other != row else ""

    def means(self) -> list[dict[str, Any]]:
        """Of each row, mean and sample deviation over its seeds, in percent."""
        found = []
        modes = str(self.setting["modes"]).split(",")
        for row, mode in product(self.made(), modes):
            for which, metric in product(self.embeddings(row), METRICS):
                if values := self.values(row, which, metric, mode):
                    deviation = statistics.stdev(values) if len(values) > 1 else None
                    found.append({"row": row, "mode": mode, "which": which, "metric": metric,
                                  "seeds": len(values), "mean": statistics.mean(values),
                                  "deviation": deviation})  # fmt: skip
        return found

    def embeddings(self, row: str) -> list[str]:
        """Test embeddings of a row, those that every method has first."""
        run, start, end = self.found[row, self.seeds(row)[0]], f"{self.scope}_", "_mean_ap"
        own = [key[len(start) : -len(end)] for key in run
               if key.startswith(start) and key.endswith(end)]  # fmt: skip
        return [*EMBEDDINGS, *(name for name in own if name not in EMBEDDINGS)]

    def differences(self, pairs: Iterable[tuple[str, str]] | None = None) -> list[dict[str, Any]]:
        """Of pairs of rows (each with its reference, unless given) with two seeds or more, how far
        the first is from the second, in points: mean over paired seeds, Student's 95 % interval,
        that over other people, and the sign-flip test's two-sided p."""
        chosen = [(row, self.reference(row)) for row in self.made()] if pairs is None else pairs
        found = []
        for (row, other), which, metric in product(chosen, EMBEDDINGS, METRICS):
            d = self.difference(row, other, which, metric) if other else None
            if d is not None and d.interval is not None:
                _, low, high = d.interval
                numbers = {"mean": d.mean, "low": low, "high": high}
                found.append({"row": row, "less": other, "which": which, "metric": metric,
                              "seeds": len(d.one), **{k: 100 * v for k, v in numbers.items()},
                              "p": d.p, "lower": sum(v < 0 for v in d.values),
                              "sentence": d.sentence()})  # fmt: skip
        return found

    def pairs(self) -> list[tuple[str, str]]:
        """Every two rows with a run."""
        return [*combinations(self.made(), 2)]

    def lines(self) -> list[dict[str, Any]]:
        """The table of the result's own page."""
        lines = []
        for row in self.made():
            line: dict[str, Any] = {"row": row, "seeds": len(self.seeds(row))}
            for mode in str(self.setting["modes"]).split(","):
                for which in EMBEDDINGS:
                    cells = [spread(self.values(row, which, m, mode)) for m in METRICS]
                    line[f"{mode} {which} R1 / mAP"] = " / ".join(filter(None, cells))
            own = [which for which in self.embeddings(row) if which not in EMBEDDINGS]
            line["own"] = "; ".join(
                f"{which} " + " / ".join(spread(self.values(row, which, m)) for m in METRICS)
                for which in own
            )
            runs = [self.found[row, seed] for seed in self.seeds(row)]
            line["s"] = round(
                statistics.mean(r.get("seconds_training", r["seconds"]) for r in runs)
            )
            lines.append(line)
        return lines or [{"row": "none"}]

    def notes(self) -> list[str]:
        """What the table's numbers are of."""
        notes = [f"missing: {sentence}" for sentence in self.missing]
        notes += [f"left out: {sentence}" for sentence in self.left_out]
        notes.append(
            f"{people_words(self.setting['data'])}. Rank-1 / mAP in %, mean ± sample deviation "
            "over seeds; infrared to visible, single-shot, seeded draw, 10 trials, no re-ranking, "
            f"no test-time augmentation; {self.setting['part']} identities; epoch: "
            f"{'; '.join(sorted(choices(self.found.values()))) or 'none'}. 'own': test embeddings "
            "that only some methods have."
        )
        few = sorted({len(self.seeds(row)) for row in self.made()})
        if few and few[0] < FEWEST_PAIRS:
            notes.append(
                f"Rows with fewer than {FEWEST_PAIRS} seeds are an indication at most, no result."
            )
        for d in self.differences():
            if d["which"] == "embedding" and d["metric"] == "mean_ap":
                notes.append(f"{d['row']} minus {d['less']}, embedding: {d['sentence']}.")
        if self.merged:
            commits, machines = (
                sorted({str(facts[key]) for facts in self.found.values() if key in facts})
                for key in ("commit", "machine")
            )
            notes.append(
                f"Taken over from {', '.join(self.merged)} (commits {', '.join(commits)}; "
                f"machines: {' | '.join(machines)}); the column s compares only runs of one "
                "machine."
            )
        return notes

    def write(self) -> Path:
        """The result file, with the table beside it."""
        file = result_path(self.name).with_suffix(".npz")
        save_queries(file, self.queries)
        results = {
            "setting": self.setting,
            "starts": self.starts,
            "configurations": self.configurations,
            "rows": self.rows,
            "baseline": self.baseline,
            "runs": [
                {"row": row, "seed": seed, **self.found[row, seed]}
                for row in self.rows for seed in self.seeds(row)
            ],
            "missing": self.missing,
            "left_out": self.left_out,
            "merged": self.merged,
            "per_query_ap": file.name,
            "means": self.means(),
            "differences": self.differences(),
        }  # fmt: skip
        return record(self.name, results, table=self.lines(), notes=self.notes())


def rounded(queries: int) -> float:
    """Points that may lie between a run's stated mAP and the mean of its queries' AP: six
    deviations of what rounding each to float16 and thousandths does, and half a digit."""
    return float(0.2 / np.sqrt(queries) + 0.005)


# Result files -----------------------------------------------------------------------------------


def load(path: Path) -> Runs:
    """All runs of a result file, checked.

    Raises:
        Unlike: it can't be read, or a run lacks what makes it comparable.
    """
    old, results = read(path)
    names = {one["row"]: None for one in results["runs"]}
    found = Runs(
        old["name"], as_written_now(results["setting"]), names, results.get("baseline", "")
    )
    found.merge(path)
    found.merged, found.missing = results["merged"], results["missing"]
    try:
        found.check()
        for one in results["means"]:
            words = [one[key] for key in ("row", "which", "metric")]
            counted = statistics.mean(found.values(*words, one.get("mode", "")))
            if abs(one["mean"] - counted) > 1e-6:
                raise Unlike(f"the mean of {', '.join(words)} is {counted}, not {one['mean']}.")
    except (Unlike, KeyError) as error:
        raise Unlike(f"'{path}': {error}") from error
    return found


def write_again(path: Path) -> None:
    """A result's numbers, table and notes once more, from its runs; everything else stays."""
    result = json.loads(path.read_text(encoding="utf-8"))
    found = load(path)
    result["results"] |= {"means": found.means(), "differences": found.differences()}
    kept = [note for note in result["notes"] if note.startswith(BUSY)]
    write_result(path, {**result, "notes": found.notes() + kept}, found.lines())


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A result file and its `results`.

    Raises:
        Unlike: it is no result of methods.py, or was written before results said what their runs
            were trained with.
    """
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        results = whole["results"]
        runs = results["runs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unlike(
            f"'{path}' is no result of methods.py ({type(error).__name__}: {error})."
        ) from None
    lacking = [
        k for k in ("setting", "starts", "configurations", "per_query_ap") if k not in results
    ]
    if lacking or not all("config_hash" in run and "start_hash" in run for run in runs):
        raise Unlike(
            f"'{path}' doesn't say with which options and from which start each of its runs was "
            f"trained, or has no AP of each query (it lacks {', '.join(lacking) or 'hashes'}). "
            "Make its runs again."
        )
    return whole, results


def save_queries(file: Path, queries: Mapping[str, np.ndarray]) -> None:
    """Write AP of queries, in thousandths. Their high and low bytes stand apart, as they then take
    a third less of a repository than numbers of 16 bits."""
    whose = {name: queries[name] for name in ("pids", "camids") if name in queries}
    runs = [name for name in queries if name not in whose]
    thousandths = np.rint([1000 * queries[name].astype(np.float64) for name in runs])
    high, low = np.divmod(thousandths.astype(np.uint16), 256)
    np.savez_compressed(
        file, runs=np.array(runs, dtype=str), ap=np.array([high, low], np.uint8), **whose
    )


def queries_of(path: Path, results: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What `save_queries` wrote beside a result file."""
    with np.load(path.with_name(results["per_query_ap"])) as file:
        high, low = file["ap"].astype(np.float64)
        whose = {name: file[name] for name in ("pids", "camids") if name in file}
        return whose | dict(zip(file["runs"].tolist(), (256 * high + low) / 1000, strict=True))


def as_written_now(before: Mapping[str, Any]) -> dict[str, Any]:
    """The setting of a result with today's keys: what isn't an option of the runs."""
    versions = before.get("versions", {})
    kept = {name: versions.get(name) for name in ("torch", "timm")}
    return {key: before.get(key) for key in ("data", "part", "modes")} | {"versions": kept}


def configurations_now(results: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Of the configurations of a result: hash as written → hash of the same options in today's
    keys, and that hash → those options."""
    hashes, options = {}, {}
    for written, then in results["configurations"].items():
        now = options_as_written_now(then)
        hashes[written] = written if now == then else hash_of(now)
        options[hashes[written]] = now
    return hashes, options


def options_as_written_now(before: dict[str, Any]) -> dict[str, Any]:
    """The options of an earlier run with today's keys; what was fixed then stands as an option."""
    from vireid.config import overlay, to_plain
    from vireid.data.augment import MEAN, STD
    from vireid.methods.recipe import Recipe
    from vireid.training.options import TrainOptions

    after = dict(before)
    if "max_steps" in before:  # up to commit 1cb04f5
        after["steps_per_epoch"] = after.pop("max_steps")
        words = {("last", "train"): "last", ("last", "fit"): "held-out"}
        after["select"] = words.get((after.pop("choose"), after.pop("part")), "val")
        if before["method"] == "mcl":
            after["method_options"] = {**before["method_options"], "discriminator_lr": 0.1}
    if "precision" in before:  # up to commit 81204fb, when `clean` was called `published`
        after["recipe"] = {**after["recipe"], "precision": after.pop("precision")}
        if before["method"] == "mcl":
            own = {**after["method_options"], "discriminator_step": "after"}
            if own["discriminator_lr"] == after["recipe"]["lr"]:
                own["discriminator_lr"] = None  # the recipe's
            after["method_options"] = own
    if "recipe" in after and not is_code(after["method"]):  # options that came later are off
        defaults = to_plain(TrainOptions(method=after["method"], recipe=Recipe()))
        after = overlay(decisive_options(defaults), after)
        if after["model"]["input_mean"] is None:  # up to commit c352aa5 every network had these
            after["model"] |= {"input_mean": [*MEAN], "input_std": [*STD]}
    return after


def decisive_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a run's numbers beside its seed, its start and its data."""
    from vireid.training.record import decisive

    return {name: value for name, value in decisive(options).items() if name != "seed"}


# Words ------------------------------------------------------------------------------------------


def mean_of(values: np.ndarray) -> float:
    """The mean of the queries' AP, in percent."""
    return 100 * float(values.astype(np.float64).mean())


def spread(values: list[float]) -> str:
    """Mean ± sample deviation."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


def choices(runs: Iterable[Run]) -> set[str]:
    """How runs chose their epochs, without each run's own number."""
    return {str(facts["epoch_choice"]).split(" (")[0] for facts in runs}


def people_words(data: Mapping[str, Any]) -> str:
    """What the data set is, in a sentence."""
    if not data["synthetic"]:
        return f"Data set {data['dataset']} in '{data['folder']}'"
    words = (
        f"Synthetic people, layout {data['layout']}: {data['identities']} identities, "
        f"{data['test_identities']} of them for testing, {data['images']} images of each by each "
        f"camera, preset {data['preset']}, seed {data['seed']}, generator {data['version']}"
    )
    return words + "".join(f", {key}" for key in ("masks", "without_person") if data.get(key))
