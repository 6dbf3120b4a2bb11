"""How busy this machine is, moment by moment, as a process feels it that has nothing to do with the
server; run as a process of its own.

    python pace.py

Some times a second it does a small piece of work. For each it prints when it was due and done, and
how many times as long as its processor time that took: 1 on a free machine, 5 where five programs
share each core or where everything stood still for a moment.
"""

import sys
import time

WORK, PAUSE = 0.05, 0.1  # long enough that a scheduler doesn't favour it

while True:
    due = time.monotonic() + PAUSE
    time.sleep(PAUSE)
    end = time.thread_time() + WORK
    while time.thread_time() < end:
        pass
    done = time.monotonic()
    sys.stdout.write(f"{due} {done} {(done - due) / WORK}\n")
    sys.stdout.flush()
