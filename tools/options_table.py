"""Write docs/options.md: every option of a training run, from the dataclasses.

python tools/options_table.py            # writes it
python tools/options_table.py --check    # exits with 1 where it is stale
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path

from vireid.config import Options, choices_of, hints_of, meanings
from vireid.data.options import AugmentOptions
from vireid.methods.options import OPTIONS, MethodOptions
from vireid.methods.recipe import Recipe, Schedule
from vireid.models.options import ModelOptions
from vireid.training.defaults import train_options
from vireid.training.options import MAY_CHANGE, TrainOptions

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"
HEAD = """# Options of a training run
Made by `python tools/options_table.py` from the option dataclasses; don't edit it by hand.

Each option is a flag of `vireid train`, a key of its `--config FILE` (JSON or TOML) and a keyword
of `vireid.training.train_options`. A key stands in its group: `{"recipe": {"schedule":
{"warmup_steps": 9}}}`. Defaults are those of the dataclasses; a recipe and a method may have
others: `vireid train --print-config` shows what a run gets.
"""


NAMES = {str: "text", int: "whole number", float: "number", bool: "on or off", Path: "path"}


def kind_of(hint: typing.Any) -> str:
    """A type in words."""
    if hint in NAMES:
        return NAMES[hint]
    inner = [one for one in typing.get_args(hint) if one not in (type(None), Ellipsis)]
    if choices_of(hint) and len(inner) > 1 and all(isinstance(one, str) for one in inner):
        return ", ".join(inner)
    if typing.get_origin(hint) is tuple:
        count = "some" if Ellipsis in typing.get_args(hint) else str(len(inner))
        return f"{count} {kind_of(inner[0])}s"
    return " or ".join(one if isinstance(one, str) else kind_of(one) for one in inner)


def shown_default(value: typing.Any) -> str:
    """A default as it would be typed."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def table(title: str, group: str, cls: type[Options], leave_out: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    """One group of options as Markdown."""
    lines = [f"## {title}", "", f"`{group}`" if group else "top level", ""]
    lines += ["| flag | values | default | meaning |", "|---|---|---|---|"]
    hints, texts = hints_of(cls), meanings(cls)
    default = train_options() if cls is TrainOptions else cls()
    for field in dataclasses.fields(cls):
        value = getattr(default, field.name)
        if (
            isinstance(value, Options)
            or field.metadata.get("flag") == ""
            or field.name in leave_out
        ):
            continue
        name = field.metadata.get("flag", field.name)
        flag = f"`--{name.replace('_', '-')}`"
        if name != field.name:
            flag += f" (key `{field.name}`)"
        shown = shown_default(value)
        note = "" if group or field.name not in MAY_CHANGE else " *May change on resume.*"
        text = texts[field.name].replace("|", "\\|")
        lines.append(f"| {flag} | {kind_of(hints[field.name])} | {shown} | {text}{note} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page."""
    parts = [
        HEAD,
        table("Run", "", TrainOptions),
        table("Recipe", "recipe", Recipe),
        table("Schedule", "recipe.schedule", Schedule),
        table("Augmentation", "recipe.augment", AugmentOptions),
        table("Network", "model", ModelOptions),
        table("Every method", "method_options", MethodOptions),
    ]
    shared = {field.name for field in dataclasses.fields(MethodOptions)}
    for name, cls in OPTIONS.items():
        parts.append(table(f"Method {name}", "method_options", cls, shared))
    return "\n".join(parts)


if __name__ == "__main__":
    text = page()
    if "--check" in sys.argv[1:]:
        sys.exit(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
