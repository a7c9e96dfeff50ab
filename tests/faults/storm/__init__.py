"""A storm: two drivers run one suite at a time, into one tracking server, while their workers, Rays, nodes and the
drivers themselves are killed, the server goes away and the clock is set. `python -m tests.faults.storm`, or
`make storm`."""
