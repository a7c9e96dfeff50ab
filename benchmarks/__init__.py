"""Speed, measured as ratios within one run: `make bench`. README.md says what was found."""
