"""What the diagnosis says of its variants, by a rule that was written before the first run.

Numbers are of `embedding`, means over the starts of a variant. Its τ is the leaderboard's, between
Rank-1 here and the published one.
1. `standard` has to show what v1 shows: τ below GOAL, and `agw + erasing` below `agw` in Rank-1.
   Otherwise so few images and steps say nothing about v1, and nothing is proposed.
2. A variant counts if the Rank-1 of all six ranked rows lies between LOW and HIGH.
3. Of those with a τ of GOAL or more, the one with the fewest knobs turned is proposed for v2; of
   several, the one with the highest τ, then the one in which erasing gains most mAP.
4. If none reaches GOAL, the one with the highest τ is a direction if it is at least STEP above
   `standard`. If none is, the order doesn't depend on these knobs, and no v2 is proposed.
5. Several variants are tried, so one start only proposes; STARTS starts confirm. The proposal
   stands if its τ is then still GOAL or more, and v2 isn't built before.
6. The guess that erasing is to blame holds if variants rank alike by τ and by what erasing adds to
   `agw`'s mAP (Kendall, p < LEVEL).
Before all variants have all their rows, nothing is said.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _runs import METRICS, Runs, Unlike
from knobs import VARIANTS
from leaderboard import JUDGED, LEVEL, PUBLISHED, agrees

from vireid.evaluation.significance import kendall
from vireid.sweep import Sweep

STANDARD, PLAIN, ERASING = "standard", "agw", "agw + erasing"
GOAL = 0.8
STEP = 4 / 15  # two of the 15 pairs of six rows, turned round
LOW, HIGH = 5.0, 95.0  # %; guessing reaches under 2
STARTS = 3
Found = Mapping[str, Mapping[str, Any]]  # by variant


@dataclass
class Part:
    """One variant.

    Attributes:
        runs: its table.
        sweep: its jobs; None where earlier runs are only shown.
        gap: its modalities in the features of the start, in percent; None where nobody looked.
    """

    variant: str
    runs: Runs
    sweep: Sweep | None = None
    gap: Mapping[str, float] | None = None


def findings(part: Part) -> dict[str, Any]:
    """The numbers of a variant, in percent and points."""
    runs, known = part.runs, VARIANTS[part.variant]
    found: dict[str, Any] = {
        "words": known.words, "knobs": known.knobs, "tau": None, "tau_of_seeds": [], "seeds": [],
        "rows": {row: {m: statistics.mean(runs.values(row, JUDGED, m)) for m in METRICS}
                 for row in runs.made()},
        "erasing": {}, "gap": part.gap,
    }  # fmt: skip
    for metric in METRICS:
        if (d := runs.difference(ERASING, PLAIN, JUDGED, metric)) is not None:
            found["erasing"][metric] = 100 * d.mean
    try:
        agreed = agrees(runs)
    except Unlike:  # rows are missing
        return found
    if not math.isnan(agreed.found.tau):
        found |= {"tau": agreed.found.tau, "seeds": agreed.seeds}
        found["tau_of_seeds"] = [*agreed.found.of_seeds]
    return found


def concluded(found: Found) -> dict[str, Any]:
    """What follows from the numbers of all variants, by the rule above."""
    out: dict[str, Any] = {"proposal": None, "direction": None, "confirmed": False,
                           "not_counted": []}  # fmt: skip
    known = {name: one for name, one in found.items()
             if one["tau"] is not None and one["erasing"]}  # fmt: skip
    if len(known) < len(found):
        words = f"{len(known)} of {len(found)} variants have all rows: nothing is concluded yet."
        return {**out, "sentence": words}
    if STANDARD not in known:
        return {**out, "sentence": f"Nothing: `{STANDARD}` was not made."}
    usual = known[STANDARD]
    if usual["tau"] >= GOAL or usual["erasing"]["rank1"] >= 0:
        words = (
            f"`{STANDARD}` doesn't show what v1 shows (τ {usual['tau']:.2f}, erasing "
            f"{usual['erasing']['rank1']:+.1f} Rank-1): nothing is proposed."
        )
        return {**out, "sentence": words}
    out["erasing_and_tau"] = guess(known)
    able = {}
    for name, one in known.items():
        if all(LOW <= one["rows"][row]["rank1"] <= HIGH for row in PUBLISHED):
            able[name] = one
        else:
            out["not_counted"].append(name)
    able.pop(STANDARD, None)
    good = [name for name in able if able[name]["tau"] >= GOAL]
    best = max(able, key=lambda name: able[name]["tau"], default=None)
    if good:
        name = min(good, key=lambda name: (able[name]["knobs"], -able[name]["tau"],
                                           -able[name]["erasing"]["mean_ap"]))  # fmt: skip
        count = len(able[name]["seeds"])
        out |= {"proposal": name, "confirmed": count >= STARTS}
        rest = "" if count >= STARTS else f", from {count} of the {STARTS} starts that confirm it"
        words = f"`{name}` is proposed for v2: τ {able[name]['tau']:.2f}{rest}."
    elif best is not None and able[best]["tau"] >= usual["tau"] + STEP - 1e-9:
        out["direction"] = best
        words = (
            f"No variant reaches a τ of {GOAL}. `{best}` is a direction: {able[best]['tau']:.2f} "
            f"instead of {usual['tau']:.2f}."
        )
    else:
        words = "The order doesn't depend on these knobs: no v2 is proposed."
    return {**out, "sentence": words}


def guess(known: Found) -> dict[str, Any] | None:
    """Whether variants rank alike by τ and by what erasing adds; None of fewer than three."""
    if len(known) < 3:
        return None
    adds = [one["erasing"]["mean_ap"] for one in known.values()]
    tau, p = kendall([one["tau"] for one in known.values()], adds)
    return {"kendall": None if math.isnan(tau) else tau, "p": p, "holds": tau > 0 and p < LEVEL}


def lines(found: Found, rows: Sequence[str]) -> list[dict[str, Any]]:
    """The table: one line a variant."""
    out = []
    for name, one in found.items():
        line = {"variant": name, "τ": "" if one["tau"] is None else f"{one['tau']:.2f}"}
        for row in rows:
            line[row] = " / ".join(f"{value:.1f}" for value in one["rows"].get(row, {}).values())
        line["erasing adds"] = " / ".join(f"{value:+.1f}" for value in one["erasing"].values())
        gap = one["gap"]
        line["probe (grey)"] = f"{gap['probe']:.1f} ({gap['probe_grey']:.1f})" if gap else ""
        line["start"] = f"{gap['rank1']:.1f} / {gap['mean_ap']:.1f}" if gap else ""
        out.append(line)
    return out


def notes(found: Found, end: Mapping[str, Any]) -> list[str]:
    """What follows, and what the table's numbers are of."""
    said = [end["sentence"]]
    if (alike := end.get("erasing_and_tau")) and alike["kendall"] is not None:
        said.append(
            f"Variants ranked by τ and by what erasing adds in mAP: Kendall {alike['kendall']:.2f},"
            f" p = {alike['p']:.2g}; the guess that erasing is to blame "
            f"{'holds' if alike['holds'] else 'does not hold'}."
        )
    if end["not_counted"]:
        said.append(
            f"Not counted, as the Rank-1 of a ranked row isn't within {LOW:.0f} and {HIGH:.0f} %: "
            f"{', '.join(end['not_counted'])}."
        )
    return [
        *said,
        f"Rank-1 / mAP in %, {JUDGED}, means over starts; validation identities of synthetic "
        "people, infrared to visible, single-shot, seeded draw, 10 trials, last epoch.",
        "probe: how often a linear probe tells the modality from pooled features of the start, in "
        "% (50 is guessing; in brackets of images without colour), on people it wasn't fitted on. "
        "start: what these features reach without training.",
        *(f"{name}: {one['words']}." for name, one in found.items()),
    ]
