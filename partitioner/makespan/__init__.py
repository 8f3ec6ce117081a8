"""Schedules in which devices and transfers overlap."""
