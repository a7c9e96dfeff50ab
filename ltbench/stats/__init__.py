"""What may be claimed: numbers in, intervals, tests and reasons out. numpy and scipy only.

A value that cannot be had is None together with a Reason; it is never 0, never NaN, never 1.
"""
