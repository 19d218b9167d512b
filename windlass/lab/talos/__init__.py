"""Simulated Talos machines: what boots in the lab's VMs and answers the Talos API."""

from windlass.lab.talos.guests import TalosGuests

__all__ = ["TalosGuests"]
