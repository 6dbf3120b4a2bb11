"""Requests to stop, and what comes after one."""

from __future__ import annotations

import signal

import pytest

from vireid.runtime.signals import StopRequest, Terminated, sigterm_raises, stop_on_signals


def test_the_second_sigterm_ends_the_process_the_second_ctrl_c_raises() -> None:
    asked = StopRequest()
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    try:
        with sigterm_raises():
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
