"""Checks: functions that find one fault in one record."""
