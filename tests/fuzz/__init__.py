"""Inputs that people did not mean: good files, changed by chance, read by what reads them in earnest.

`python -m tests.fuzz --inputs 100000` (`make fuzz`) reads many; the ordinary tests read 2,000 of them. An input is made
from its number, so `python -m tests.fuzz scores --first 8123 --inputs 1` reads that one again.

What must hold of every input: it is accepted or refused with a UserError, nothing else is raised; it takes no more than
ten seconds and 4 GB; and what was accepted is computed once more here, by plain means, and must be equal.
"""
