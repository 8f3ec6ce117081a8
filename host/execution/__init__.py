"""Executing an assignment, timing it and checking every bit."""
