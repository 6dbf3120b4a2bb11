"""Writes in the background happen in order, wait within bounds, and stop after an error."""

from __future__ import annotations

import threading

import pytest

from vireid.runtime.background import BackgroundWriter
from vireid.types import InputError


def fail() -> None:
    raise InputError("The disk is full.")


def test_in_order_until_an_error() -> None:
    written: list[int] = []
    with BackgroundWriter() as writer:
        for number in range(5):
            writer.submit(written.append, number)
        writer.finish()
        assert written == [0, 1, 2, 3, 4]
        gate = threading.Event()
        writer.submit(gate.wait)
        writer.submit(fail)
        gate.set()
        with pytest.raises(InputError, match="disk is full"):
            for number in range(5, 9):
                writer.submit(written.append, number)
    assert written == [0, 1, 2, 3, 4]


def test_few_wait() -> None:
    gate, submitted = threading.Event(), threading.Event()
    with BackgroundWriter(waiting=2) as writer:
        for _ in range(2):
            writer.submit(gate.wait)

        def third() -> None:
            writer.submit(gate.wait)
            submitted.set()

        thread = threading.Thread(target=third)
        thread.start()
        assert not submitted.wait(0.1)
        gate.set()
        thread.join()
        assert submitted.is_set()
