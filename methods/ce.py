"""Plain cross-entropy, the baseline: instance-uniform sampling, no re-weighting."""

from __future__ import annotations

from ltbench.api import Method


class CrossEntropy(Method):
    """Plain cross-entropy; every other method is its difference from this one."""

    paper = "Cao, Wei, Gaidon, Arechiga, Ma. Learning Imbalanced Datasets with LDAM. NeurIPS 2019 (the ERM rows)."
    defaults_from = "LDAM-DRW (the classic recipe is the suite's, not the method's)"
