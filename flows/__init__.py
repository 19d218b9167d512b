"""What can be run: one verb a file, readable as the runbook it replaces."""
