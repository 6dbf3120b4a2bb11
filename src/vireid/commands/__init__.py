"""What each command does: plain functions whose parameters are the flags.

Modules here import PyTorch and the rooms only inside functions, so that `--help` stays quick.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

COMMANDS: dict[str, str] = {
    "demo": "vireid.commands.demo:demo",
    "synthesize": "vireid.commands.data:synthesize",
    "prepare": "vireid.commands.data:prepare",
    "info": "vireid.commands.data:info",
    "train": "vireid.commands.train:train",
    "test": "vireid.commands.test:test",
    "sweep": "vireid.commands.sweep:sweep",
    "report": "vireid.commands.report:report",
    "compare": "vireid.commands.compare:compare",
    "plot": "vireid.commands.plot:plot",
    "embed": "vireid.commands.search:embed",
    "index": "index",
    "search": "vireid.commands.search:search",
    "serve": "vireid.commands.search:serve",
    "import-weights": "vireid.commands.weights:import_weights",
    "export-weights": "vireid.commands.weights:export_weights",
    "card": "vireid.commands.weights:card",
    "bench": "vireid.commands.machine:bench",
    "doctor": "vireid.commands.machine:doctor",
}

INDEX_COMMANDS: dict[str, str] = {
    "create": "vireid.commands.index:create",
    "add": "vireid.commands.index:add",
    "update": "vireid.commands.index:update",
    "remove": "vireid.commands.index:remove",
    "info": "vireid.commands.index:info",
    "verify": "vireid.commands.index:verify",
    "compact": "vireid.commands.index:compact",
}


def load(target: str) -> Callable[..., int | None]:
    """The function that "module:name" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
