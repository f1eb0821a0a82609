"""What both sides call, and nothing else."""
