"""Odd files for every reader: mutations, targets, and what counts as a finding."""
