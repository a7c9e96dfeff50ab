"""What is shown of a run while it goes on: a line per running trial, here and from another terminal."""
