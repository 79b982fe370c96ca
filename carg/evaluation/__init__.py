"""Measuring what answers calls: items of a dataset, controls, verdicts, intervals. `carg.evaluate` joins them."""
