"""Decisions: from observed and wanted to a plan. No I/O, no clock, no Prefect."""
