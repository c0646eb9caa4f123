"""What `dnalm doctor` looks at before a run."""
