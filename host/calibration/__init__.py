"""Fitting a platform's CPU model to measured times."""
