"""The three figures beside a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vireid.evaluation.report import Report, title
from vireid.figures.charts import cmc_curve, similarity_histogram
from vireid.figures.ranked import Load, ranked_results
from vireid.figures.style import save_figure

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore
    from vireid.data.protocol import Dataset
    from vireid.evaluation.search import Search


def write_figures(
    folder: str | Path,
    report: Report,
    dataset: Dataset,
    images: PixelStore | Load,
    search: Search,
    *,
    count: int = 8,
) -> list[Path]:
    """Write ranks.jpg (see `ranked_results`), cmc.png (mean over the report's trials) and
    similarity.png (of the search) beside a report; returns their paths.

    Args:
        search: of one trial; `vireid.evaluation.evaluate` hands one to its `keep`.
        count: queries in ranks.jpg.
    """
    folder, heading = Path(folder), title(report)
    return [
        ranked_results(folder / "ranks.jpg", dataset, images, search, count=count),
        save_figure(cmc_curve(report.curves, heading), folder / "cmc.png"),
        save_figure(
            similarity_histogram({search.name: search.similarity}, *search.labels[:2], heading),
            folder / "similarity.png",
        ),
    ]
