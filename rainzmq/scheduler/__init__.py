"""Scheduling policies and what they see. Pure: no messages, no clock, no I/O."""
