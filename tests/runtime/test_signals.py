"""Requests to stop, and what comes after one."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vireid.runtime.signals import StopRequest, Terminated, signals_raise, stop_on_signals


def test_the_second_sigterm_ends_the_process_the_second_ctrl_c_raises() -> None:
    asked = StopRequest()
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with signals_raise():
            before = signal.getsignal(signal.SIGTERM)
            with stop_on_signals(asked):
                signal.raise_signal(signal.SIGINT)
                assert isinstance(asked.interruption("how"), KeyboardInterrupt)
                signal.raise_signal(signal.SIGTERM)  # the first of its kind
                assert isinstance(asked.interruption("how"), Terminated)
                assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the next one kills
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGTERM) is before is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, ours)


SLOW = """
import signal, time
{signals}
until = time.monotonic() + {seconds}
while time.monotonic() < until:
    time.sleep(0.001)
done = True
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("signals", "ends"), [(1, True), (2, False)])
def test_an_import_ends_before_a_signal_raises_unless_it_comes_twice(
    number: int, signals: int, ends: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"slow_{number}_{signals}"
    raised = f"signal.raise_signal({number})\n" * signals
    module = SLOW.format(signals=raised, seconds=0.12 if ends else 20)
    (tmp_path / f"{name}.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with signals_raise(), pytest.raises(KeyboardInterrupt):
            importlib.import_module(name)
            signal.pause()
        assert (name in sys.modules) == ends
        assert not ends or sys.modules[name].done
    finally:
        signal.signal(signal.SIGINT, ours)
        sys.modules.pop(name, None)


ENDED = """
import atexit, signal, sys
from vireid.runtime.process import own_process

def main():
    atexit.register(print, "left")
    {how}

with own_process():
    main()
"""


@pytest.mark.parametrize(
    ("how", "code", "told"),
    [
        ("raise KeyboardInterrupt", 130, "vireid: interrupted.\n"),
        # Python itself would answer this one a second time, and end by the signal.
        (
            "try: exec('raise KeyboardInterrupt')\n    except KeyboardInterrupt: sys.exit(130)",
            130,
            "",
        ),
        # Once more, while what was registered for the exit is done.
        ("atexit.register(signal.raise_signal, signal.SIGINT); sys.exit(130)", 130, None),
        ("atexit.register(signal.raise_signal, signal.SIGINT); sys.exit(0)", 0, None),
        ("sys.exit(2)", 2, ""),
        ("sys.exit()", 0, ""),
    ],
)
def test_the_process_ends_with_the_code_of_its_command(
    how: str, code: int, told: str | None
) -> None:
    text = ENDED.format(how=how)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    left = "left\n" if told is not None else ""
    assert (done.returncode, done.stderr, done.stdout) == (code, told or "", left)
