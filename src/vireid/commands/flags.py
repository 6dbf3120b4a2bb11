"""Flags from functions and option dataclasses, by tyro.

With `cli`, the only module that knows the command-line library. A command is a function whose
keyword parameters are its flags; a parameter that is a dataclass of options gives one flag for
each of its fields, and nested options theirs, all of them flat.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import io
import itertools
import os
import re
import shlex
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from vireid.commands.values import WrongWord, primitive
from vireid.commands.words import counts_of_values, flag_of, without_place
from vireid.config import Options, checked_values, hints_of, meanings
from vireid.console import count_text, did_you_mean, say, spelling
from vireid.own_code import UnnamedCode
from vireid.problems import Problems
from vireid.types import InputError

_UNREAD = object()  # for a value that the user is told of
_OF_PLACES = ("data-root", "run", "resume", "weights", "file", "folder")  # flags of other commands
HELP = ("--help", "-h", "--help-all")


class Flags:
    """The flags of one command.

    Args:
        prog: the command, as in the help ("vireid train").
        function: what it does. Parameters that are option dataclasses have their own defaults;
            with `prepare(words, problems) -> dict` as an attribute, that gives them, where words
            decide.
        words: what was typed after the command.
    """

    def __init__(
        self, prog: str, function: Callable[..., int | None], words: Sequence[str]
    ) -> None:
        self.prog, self.function = prog, function
        self.problems = Problems()  # of values
        self.everything = "--help-all" in words
        self.words = ["--help" if word == "--help-all" else word for word in words]
        self._use(self._defaults([]))
        try:
            self._use(self._defaults(self.words))
        except InputError as error:
            raise InputError(self._sentence(error)) from error

    def _use(self, defaults: dict[str, Options]) -> None:
        self.defaults = defaults
        self.names = self._flag_names()
        self.renamed = dict(itertools.chain(*map(renamed_fields, defaults.values())))

    def _defaults(self, words: Sequence[str]) -> dict[str, Options]:
        """Each parameter that is an option dataclass → its default."""
        if prepare := getattr(self.function, "prepare", None):
            return prepare(words, self.problems)
        hints = typing.get_type_hints(self.function)
        return {
            name: hint()
            for name, hint in hints.items()
            if isinstance(hint, type) and issubclass(hint, Options)
        }

    def call(self) -> int:
        """Run the command.

        Raises:
            InputError: a flag that there isn't, or a value that can't be.
        """
        try:
            with self.problems:
                if self._check():
                    args, kwargs = self._parsed()
            self.problems.tell()
            with spelling(self.with_dashes):
                return self.function(*args, **kwargs) or 0
        except InputError as error:
            raise InputError(self._sentence(error)) from error

    def _parsed(self) -> tuple[Sequence[Any], dict[str, Any]]:
        """What the function is called with; for help, the process ends."""
        shown, complaint = _Captured(), _Captured()
        try:
            with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(complaint):
                return tyro.cli(
                    self._described(), prog=self.prog, args=self.words, registry=self._registry(),
                    config=(tyro.conf.OmitArgPrefixes,),
                )  # fmt: skip
        except SystemExit as ended:
            if not ended.code:
                raise
            sentence, complaint = self._framed(complaint.getvalue()), _Captured()
            raise InputError(sentence) from None
        finally:
            sys.stdout.write(self._titled(shown.getvalue()))
            if said := complaint.getvalue():  # by code of the user's own
                say(said.rstrip("\n"))

    def _framed(self, text: str) -> str:
        """The sentence in a frame of tyro's, such as that a value is missing."""
        lines = [line.strip("│|+ ") for line in text.splitlines()[1:]]
        inside = itertools.takewhile(lambda line: line and line.strip("─-"), lines)
        sentence = " ".join(inside).replace(" 1 values", " 1 value").rstrip(".")
        return f"{sentence}. `{self.prog} --help` explains its flags."

    def _help(self) -> bool:
        return bool(set(HELP) & set(self.words))

    def _titled(self, text: str) -> str:
        """The help, with the options' own titles over groups; tyro names them by fields."""
        for field, title in _titles("", self.defaults):
            heading = f" {field} options "
            for fill in "─ ":  # with a frame, and without where the terminal has no such signs
                padded = f" {title} ".ljust(len(heading), fill)
                text = text.replace(heading + fill, padded + fill)
        return text

    def _sentence(self, error: InputError) -> str:
        """What the user is told; the whole command where one flag is missing from it."""
        text = self.with_dashes(str(error))
        if isinstance(error, UnnamedCode) and error.name.isprintable():
            whole = [*self.prog.split(), *self.words, f"--{error.option}", error.name]
            text += f" Then: {shlex.join(whole)}"
        return text

    def with_dashes(self, sentence: str) -> str:
        """A sentence about options, in which those that are flags here are named as flags:
        `lr` becomes --lr, "turn `confusion` off" becomes --no-confusion."""

        def flag(match: re.Match[str]) -> str:
            off, on = match.groups()
            name = (off or on).rsplit(".", 1)[-1]
            name = self.renamed.get(name, name)
            if name not in self.names:
                return match.group(0)
            return f"{'--no-' if off else '--'}{name.replace('_', '-')}"

        return re.sub(r"turn `([a-z_.]+)` off|`([a-z_.]+)`", flag, sentence)

    # What the flags are ------------------------------------------------------------------------

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters

    def _flag_names(self) -> dict[str, bool]:
        """Name with underscores → whether it is a switch that is on."""
        names: dict[str, bool] = {}
        for name, parameter in self._parameters().items():
            if name in self.defaults:
                names |= option_flags(self.defaults[name])
            elif parameter.kind is parameter.KEYWORD_ONLY:
                names[flag_of(name)] = parameter.default is True
        return names

    def _flags_of(self, word: str) -> list[str]:
        """The flags that a word was typed after: one, unless it was typed twice."""
        found, flag = [], ""
        for typed in self.words:
            name, _, value = typed.partition("=") if typed.startswith("--") else (flag, "", typed)
            flag = name
            if value == word and flag:
                found.append(flag)
        return list(dict.fromkeys(found))

    def _check(self) -> bool:
        """Answer a mistyped, a foreign or a forgotten flag or word with a sentence.

        Returns:
            Whether the words can be parsed, which they can't where `problems` keeps what hides
            whether there is a flag.
        """
        flags = {f"--{name.replace('_', '-')}": on for name, on in self.names.items()}
        valid = [*HELP, *flags, *(f"--no-{flag[2:]}" for flag, on in flags.items() if on)]
        typed = [word.split("=", 1)[0] for word in self.words if word.startswith("--")]
        see = f"`{self.prog} --help` explains its flags."
        if len(flags) > 40:
            see = f"`{self.prog} --help-all` explains all its flags."
        foreign: Mapping[str, str] = getattr(self.function, "foreign", {})
        refuse: Callable[[str, Sequence[str]], str | None] | None = getattr(
            self.function, "refuse", None
        )
        told: dict[str, None] = {}  # sentences on all flags that there aren't, each once
        unexplained = unsure = False
        for word in typed:
            flag = word.replace("_", "-")
            if flag in valid or flag.startswith("--tyro-"):  # tyro's own, for shells
                continue
            if answer := foreign.get(flag.lower()):
                told[f"`{self.prog}` has no flag '{word}'. {self.with_dashes(answer)}"] = None
            elif whole := self._without_flag(word):
                told[
                    f"`{self.prog}` has no flag '{word}': what it works on stands without one. "
                    f"Write `{whole}`."
                ] = None
            elif refuse and (sentence := refuse(flag[2:], self.words)) is not None:
                told |= {sentence: None} if sentence else {}
                unsure |= not sentence
            else:
                hint = did_you_mean(flag.lower(), valid)
                told[f"`{self.prog}` has no flag '{word}'.{hint}"] = None
                unexplained = True
        if told:
            raise InputError(" ".join([*told, *([see] if unexplained else [])]))
        hints = typing.get_type_hints(self.function)
        for name in self._parameters():
            flag = f"--{name.replace('_', '-')}"
            # the command-line library would silently take the last one
            again = [word.replace("_", "-") for word in typed].count(flag) > 1
            if again and typing.get_origin(hints.get(name)) is tuple:
                raise InputError(f"{flag} was given twice. Give all its values after one {flag}.")
        missing = [
            f"--{flag_of(name).replace('_', '-')}"
            for name, parameter in self._parameters().items()
            if parameter.kind is parameter.KEYWORD_ONLY
            and parameter.default is parameter.empty
            and name not in self.defaults
        ]
        typed = [word.replace("_", "-") for word in typed]
        missing = [flag for flag in missing if flag not in typed]
        if unsure or (self._help() and self.problems):
            return False
        if self._help():
            return True
        positional = self._positional()
        alone, surplus = without_place(self.words, counts_of_values(self.function, self.defaults))
        bare = alone[0] if alone and self.words[0] == alone[0] else None  # before all flags
        stray = bare if not positional else None
        if missing:
            meant = f" Did you mean {missing[0]} {shlex.quote(stray)}?" if stray else ""
            raise InputError(
                f"`{self.prog}` needs {' and '.join(missing)}, not given here.{meant} {see}"
            )
        if stray:
            raise InputError(f"`{self.prog}` takes flags only, and '{stray}' is none. {see}")
        one = [p for p in positional if typing.get_origin(hints[p.name]) is not tuple]
        if surplus and (not positional or (bare and positional != one)):
            raise InputError(f"{' '.join(surplus)} {see}")
        if positional == one and len(alone) > len(one) > 0:
            whole = " ".join(alone[len(one) - 1 :])
            hint = f"A name with spaces needs quotation marks: {shlex.quote(whole)}."
            if all(map(os.path.exists, alone)) and not os.path.exists(whole):
                hint = "Name one at a time."  # such as a shell makes of runs/*
            raise InputError(
                f"`{self.prog}` works on {count_text(len(one), 'name', 'names')}, and "
                f"{len(alone)} were given: {', '.join(map(repr, alone))}. {hint} {see}"
            )
        if not self.words and any(p.default is p.empty for p in one):  # commands ask for several
            raise InputError(
                f"`{self.prog}` was given nothing to work on. `{self.prog} --help` says what it "
                "takes."
            )
        return True

    def _positional(self) -> list[inspect.Parameter]:
        """What is typed without a flag."""
        return [
            parameter
            for parameter in self._parameters().values()
            if parameter.kind is not parameter.KEYWORD_ONLY and parameter.name not in self.defaults
        ]

    def _without_flag(self, flag: str) -> str:
        """The whole command where a flag names what this one takes without; "" for other flags."""
        names = [one.name for one in self._positional()]
        if not names or flag[2:].replace("_", "-") not in (*_OF_PLACES, *names):
            return ""
        words = self.prog.split()
        for word in self.words:
            name, _, value = word.partition("=")
            words += [value] * bool(value) if name == flag else [word]
        return shlex.join(words)

    # What tyro is told of them -----------------------------------------------------------------

    def _described(self) -> Callable[..., tuple[Sequence[Any], dict[str, Any]]]:
        """What takes the function's arguments, with its option dataclasses' defaults and a
        docstring for the terminal."""
        function, defaults = self.function, self.defaults

        def called(*args: Any, **kwargs: Any) -> tuple[Sequence[Any], dict[str, Any]]:
            return args, kwargs

        hints = typing.get_type_hints(function)
        parameters = []
        for name, parameter in self._parameters().items():
            if name in defaults:
                parameter = parameter.replace(default=defaults[name])
                hints[name] = type(defaults[name])
            elif name in hints:
                flag = {"flag": flag_of(name)} if flag_of(name) != name else {}
                hints[name] = marked(hints[name], parameter.default, flag)
            parameters.append(parameter)
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = hints
        called.__name__ = function.__name__
        # arguments on one line each, for the terminal to wrap
        text = re.sub(r"\n {8,}", " ", inspect.getdoc(function) or "")
        choices: Mapping[str, Callable[[], str]] = getattr(function, "choices", {})
        for name, words in choices.items():
            text = text.replace(f"{{{name}}}", words())
        called.__doc__ = self.with_dashes(text)
        return called

    def _registry(self) -> ConstructorRegistry:
        registry = ConstructorRegistry()
        registry.primitive_rule(self._primitive)

        @registry.struct_rule
        def options(info: StructTypeInfo) -> StructConstructorSpec | None:
            if not (isinstance(info.type, type) and issubclass(info.type, Options)):
                return None
            return self._fields(info.type, info.default)

        return registry

    def _primitive(self, info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        """As `primitive`; wrong words are told later, all at once."""
        spec = primitive(info)
        if spec is None:
            return None
        read = spec.instance_from_str

        def parse(typed: list[str]) -> Any:
            with self.problems:
                try:
                    return read(typed)
                except WrongWord as error:
                    named = " or ".join(self._flags_of(error.word))
                    raise InputError(f"{named}: {error}" if named else str(error)) from error
            return _UNREAD

        return dataclasses.replace(spec, instance_from_str=parse)

    def _fields(self, cls: type[Options], default: Any) -> StructConstructorSpec:
        hints, texts, fields, fixed = hints_of(cls), meanings(cls), [], {}
        for one in dataclasses.fields(cls):
            value = getattr(default, one.name)
            if isinstance(value, Options):
                fields.append(StructFieldSpec(one.name, type(value), value, _summary(type(value))))
                continue
            if one.metadata.get("flag") == "":
                fixed[one.name] = value
                continue
            kind = marked(hints[one.name], value, one.metadata)
            if one.metadata.get("rare") and self._help() and not self.everything:
                kind = Annotated[kind, tyro.conf.Suppress]
            text = self.with_dashes(texts.get(one.name, ""))
            fields.append(StructFieldSpec(one.name, kind, value, text))

        def build(**values: Any) -> Any:
            values = {name: value for name, value in values.items() if value is not _UNREAD}
            with self.problems:
                if not self.problems:
                    return dataclasses.replace(default, **fixed, **values)
                checked_values(cls, values)
            return default

        return StructConstructorSpec(instantiate=build, fields=tuple(fields))


class _Captured(io.StringIO):
    """Text for standard output, in its encoding: tyro draws its frames only where it can."""

    encoding = sys.__stdout__.encoding if sys.__stdout__ else "utf-8"  # type: ignore[assignment]


def option_flags(options: Options) -> dict[str, bool]:
    """Flag of each option, nested ones too, with underscores → whether it is a switch that is
    on."""
    names: dict[str, bool] = {}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if isinstance(value, Options):
            names |= option_flags(value)
        elif one.metadata.get("flag") != "":
            names[one.metadata.get("flag", one.name).replace("-", "_")] = value is True
    return names


def renamed_fields(options: Options) -> Iterator[tuple[str, str]]:
    """Field → flag, with underscores, where the flag has another name; nested ones too."""
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if isinstance(value, Options):
            yield from renamed_fields(value)
        elif flag := one.metadata.get("flag"):
            yield one.name, flag.replace("-", "_")


def _titles(before: str, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """tyro's name of each group of flags → its title."""
    for name, value in options.items():
        if isinstance(value, Options):
            yield f"{before}{name}".replace("_", "-"), value.title or name.replace("_", " ")
            inner = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
            yield from _titles(f"{before}{name}.", inner)


def _summary(cls: type) -> str:
    text = inspect.getdoc(cls) or ""
    if text.startswith(f"{cls.__name__}("):  # a dataclass without words of its own
        return ""
    return text.split("\n\n")[0].replace("\n", " ")


def marked(hint: Any, default: Any, metadata: Mapping[str, Any]) -> Any:
    """A flag's type with what tyro should show of it."""
    name = metadata.get("flag")
    nothing = default is inspect.Parameter.empty or default in (None, "", ())
    if hint is bool:
        shown = f"(default: {'on' if default else 'off'})"
        argument = tyro.conf.arg(name=name, help_behavior_hint=shown)
        if default:
            return Annotated[hint, argument]
        return Annotated[hint, tyro.conf.FlagCreatePairsOff, argument]  # off needs no second flag
    hints: dict[str, Any] = {"help_behavior_hint": ""} if nothing else {}
    return Annotated[hint, tyro.conf.arg(name=name, **hints)] if name or hints else hint
