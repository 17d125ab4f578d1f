"""Running: a plan is carried out, and its run folder is written."""
