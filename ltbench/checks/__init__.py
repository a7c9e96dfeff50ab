"""What is promised, tried: a method's contract, a rehearsal for GPUs, records run again."""
