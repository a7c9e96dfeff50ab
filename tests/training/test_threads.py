"""Calls in several threads of one process, as a script makes them that trains several suites."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ltbench.spec import Record, TrialSpec
from ltbench.training.limited import Limits, run_limited
from ltbench.training.site import Site
from ltbench.training.trial import run_trial


def test_trials_of_two_threads_take_turns(make_spec: Callable[..., TrialSpec], site: Site) -> None:
    """Torch's random numbers are the process's: side by side, each trial would have numbers of the other."""
    first, second = (make_spec("mixup", recipe={"backbone": "mlp"}, seed=seed) for seed in (0, 1))
    expected = [run_trial(spec, site).numbers() for spec in (first, second)]
    other = list[Record]()
    thread = threading.Thread(target=lambda: other.append(run_limited(second, site, Limits())))

    def stop() -> bool:
        if thread.ident is None:
            thread.start()
            thread.join(0.3)
        return False

    one = run_limited(first, site, Limits(), stop=stop)
    assert not other, "the second trial ran within the first"
    thread.join()
    assert [one.numbers(), other[0].numbers()] == expected
