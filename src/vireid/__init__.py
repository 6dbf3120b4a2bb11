"""Visible-infrared person re-identification: train, test, index, search."""

from __future__ import annotations

__version__ = "0.1.0"
