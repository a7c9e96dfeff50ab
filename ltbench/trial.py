"""`python -m ltbench.trial SPEC.json ...`: exported trials, where only torch, torchvision, numpy and scipy are.

The training itself is in training/trial.py; files in the wild name this path.
"""

import sys

if __name__ == "__main__":
    from ltbench.system.python_path import leave_out_working_folder

    leave_out_working_folder()

from ltbench.training.trial import run_trial

__all__ = ["run_trial"]

if __name__ == "__main__":
    from ltbench.execution.exported import main

    sys.exit(main())
