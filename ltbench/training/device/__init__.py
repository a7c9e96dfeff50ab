"""What torch is told about the device, and what it is asked."""
