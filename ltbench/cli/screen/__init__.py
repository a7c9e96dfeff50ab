"""What commands say on the screen: a plan, the end of a run, what is on this machine."""
