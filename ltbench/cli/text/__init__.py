"""What commands print, made from what they found: lines of text, nothing else."""
