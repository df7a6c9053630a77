"""The parts of the load test: processes, proxies, load, counters, figures, report."""
