"""What a test asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vireid.config import Options, option
from vireid.data import known
from vireid.types import PRECISION_ALIASES, PrecisionName, TtaName


@dataclass(frozen=True, kw_only=True)
class TestOptions(Options):
    """Which people are searched for, and how."""

    __test__: ClassVar[bool] = False  # no class of tests, whatever pytest thinks of the name
    title: ClassVar[str] = "search"

    dataset: str | None = option(None, choices=known.datasets)
    """Data set: {dataset} (default: the run's)."""
    data_root: str | None = None
    """The data set's folder (default: the run's)."""
    camera_pattern: str | None = None
    """With `dataset` folder: regular expression that finds the camera number in a file name
    (default: the run's)."""
    intensity_range: str | None = None
    """Values that are black and white in images with more than 8 bits per channel: LOW:HIGH, or
    minmax, which changes contrast from frame to frame (default: the run's)."""
    junk: tuple[str, ...] = ()
    """With `dataset` folder: identities, such as 0000, of nobody: their images are left out and
    counted, as those of -1 always are (default: the run's)."""
    sensor_cameras: bool = False
    """With `dataset` folder: each sensor's camera numbers are its own, so that camera 1 of visible
    images and camera 1 of infrared ones are two cameras; on for a run that was trained so."""
    scope: str | None = option(None, flag="mode", choices=known.scopes)
    """Which cameras are searched (default: the data set's first): {scope}."""
    shots: int | None = option(None, choices=known.shots)
    """Gallery images of each identity by each camera (default: the data set's first): {shots}."""
    draw: str = option("seeded", choices=known.draws)
    """How the gallery is drawn: {draw}; official reads the data set's own permutation file."""
    direction: str | None = option(None, choices=known.usual_directions)
    """Modality of the queries and of the gallery: infrared-to-visible, visible-to-infrared or both.
    Default: {direction}."""
    variant: str = option("standard", flag="protocol", choices=known.variants)
    """Variant of the protocol: {variant}; docs/protocols.md explains them, reports mark them."""
    part: Literal["test", "val"] = "test"
    """Identities to test on: test, or val for the validation identities."""
    trial: int | None = option(None, choices=known.splits)
    """Split of the identities, where a data set has several (default: the run's; another one is
    refused, because the model has seen those people): {trial}."""
    num_trials: int = option(10, flag="trials", at_least=1)
    """Gallery draws to average over."""
    rerank: bool = False
    """Report the numbers after k-reciprocal re-ranking too."""
    tta: TtaName = "none"
    """Test-time augmentation with an image's mirror image: flip compares the sums of both
    embeddings, flip-mean the means, brought to length 1 again."""
    figure_queries: int = option(8, at_least=0)
    """Queries in the figure of ranked results; 0 draws no figures."""
    precision: PrecisionName = option("auto", aliases=PRECISION_ALIASES)
    """Number format the network computes in; auto is float16 on a GPU, float32 on a CPU."""
    skip_broken: bool = False
    """Leave out images that can't be decoded, and list them."""
