"""Problem sets of the hub, one file each: a file that is put here is a task under its name."""
