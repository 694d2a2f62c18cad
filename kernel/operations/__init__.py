"""What each task does, without Invoke and without printing."""
