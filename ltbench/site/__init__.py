"""A site of results: static pages over any number of suites."""
