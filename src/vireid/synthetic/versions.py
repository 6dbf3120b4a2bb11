"""Versions of the generator.

The same parameters give the same bytes in one version for ever. What changes an image (a garment, a
scene, a number) comes with a new version, appended to `VERSIONS`; entries of tables say in their
`since` which version they came with, and earlier ones never draw them.
"""

from __future__ import annotations

Version = int | str

VERSIONS: list[Version] = [1]
"""All versions, oldest first."""
GENERATOR_VERSION: Version = 1
"""The version that is drawn where none is named."""


def is_drawn(since: Version, version: Version) -> bool:
    """Whether images of `version` draw what came with the version `since`."""
    return VERSIONS.index(since) <= VERSIONS.index(version)
