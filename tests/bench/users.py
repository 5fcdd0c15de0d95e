"""Users at work: each asks, reads and thinks for a while, as many at once as there are people at their desks."""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

# One thing that a user does; it takes the user's own random numbers.
Step = Callable[[random.Random], None]


@dataclass
class Times:
    """How long each kind of step took, in seconds, of all users together."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def percentile(self, kind: str, share: float) -> float:
        """In milliseconds."""
        return float(np.percentile(self.seconds[kind], share)) * 1000


def at_work(users: Sequence[Mapping[str, Step]], seconds: float, thinking: float = 1.0) -> Times:
    """All users at once: each takes its steps in turn, thinking before each for about `thinking` seconds.

    Thinking times are spread evenly over half to one and a half of it, so that users do not march in step.

    Raises:
        whatever a step raises, once all have stopped.
    """
    times, lock, failures = Times(), threading.Lock(), list[BaseException]()
    end = time.monotonic() + seconds

    def live(number: int, steps: Mapping[str, Step]) -> None:
        rng = random.Random(number)
        try:
            while time.monotonic() < end and not failures:
                for kind, step in steps.items():
                    time.sleep(thinking * rng.uniform(0.5, 1.5))
                    began = time.perf_counter()
                    step(rng)
                    took = time.perf_counter() - began
                    with lock:
                        times.seconds[kind].append(took)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=live, args=item, daemon=True) for item in enumerate(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return times
