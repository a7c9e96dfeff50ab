"""Other looks at results: two sets of them side by side, other test distributions, other conventions."""
