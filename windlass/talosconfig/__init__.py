"""Secrets bundle, PKI, machine configs, schematics. Pure: entropy and time are arguments."""
