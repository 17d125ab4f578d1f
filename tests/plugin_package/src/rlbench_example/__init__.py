"""Regression on what turned out well: a plug-in of four parts."""
