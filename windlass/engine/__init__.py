"""Runs a plan: steps, journal, fenced lock, guards, executors. Knows neither Prefect nor any remote API."""
