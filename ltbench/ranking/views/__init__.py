"""Other views of results: two rows in full, two sets side by side, other test distributions, other conventions."""
